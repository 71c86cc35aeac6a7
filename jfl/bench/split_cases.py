"""What is measured of split learning: cases with fixed names."""

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class SplitStep:
    """A step of a client and a server of a network with GPT-2's defaults, beside it in one piece.

    LoRA trains in all three parts, on the layers that the original has it on.
    """

    name: str
    batch: int
    length: int
    wire: str = "f32"
    stash: int = 0
    """MiB that the server keeps from forward to backward; 0 = it computes the trunk again."""
    cut: tuple[int, int] = (2, 10)
    network: tuple[tuple[str, Any], ...] = ()
    rank: int = 8

    module: ClassVar[str] = "split_step"
    script: ClassVar[None] = None
    beside: ClassVar[str] = "unsplit"
    pairs: ClassVar[int] = 5

    @property
    def size(self) -> str:
        """Returns what it is done on, for people."""
        return f"{self.batch} x {self.length} tokens, rank {self.rank}, cut {self.cut}"

    def spec(self, data_settings: Any, arrays: str | None) -> dict[str, Any]:
        """Returns what both processes are told."""
        del data_settings, arrays
        return {
            "network": dict(self.network), "batch": self.batch, "length": self.length,
            "rank": self.rank, "cut": self.cut, "wire": self.wire, "stash": self.stash,
        }  # fmt: skip


SPLIT = tuple(
    SplitStep(f"split/gpt2-small/{batch}/{wire}" + "-stash" * bool(stash), batch, 128, wire, stash)
    for batch in (2, 8)
    for wire, stash in (
        ("f32", 0), ("bf16", 0), ("f16", 0), ("int8", 0), ("f32", 8192), ("bf16", 8192),
    )
)  # fmt: skip
"""The suite split."""

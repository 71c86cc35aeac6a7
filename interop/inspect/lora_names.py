"""What the arrays of LoRA adapters are called, and which of them belong together.

Source: huggingface/peft, tuners/lora/layer.py; microsoft/LoRA; google/flax, nnx/nn/lora.py.
"""

from dataclasses import dataclass, field

from interop.formats import peft
from interop.formats.base import Contents, Entry

_SIDES = {
    "lora_A": "a", "lora_embedding_A": "a", "lora_a": "a", "lora_B": "b", "lora_embedding_B": "b",
    "lora_b": "b", "lora_magnitude_vector": "magnitude",
}  # fmt: skip
_FLAX = ("lora_a", "lora_b")
_LEAVES = ("weight", "bias", "value")


@dataclass
class Target:
    """What a file holds for one module, under one adapter's name."""

    name: str
    adapter: str | None
    arrays: dict[str, Entry] = field(default_factory=dict)
    """By `a`, `b`, `b bias` and `magnitude`."""
    turned: bool = False
    """Whether A is [inputs, r] and B is [r, outputs], as flax has them."""

    @property
    def whole(self) -> bool:
        """Whether both matrices are there."""
        return {"a", "b"} <= self.arrays.keys()

    @property
    def lacks(self) -> str:
        """Which matrix is missing."""
        return "lora_B" if "a" in self.arrays else "lora_A"

    @property
    def shown(self) -> str:
        """Its name, for messages."""
        return self.name + (f" ({self.adapter})" if self.adapter else "")


def targets(contents: Contents) -> tuple[list[Target], list[Entry]]:
    """Returns the targets of all adapters, and the arrays that belong to none."""
    found: dict[tuple[str, str | None], Target] = {}
    others = []
    for entry in contents.entries:
        words = entry.path.split(".")
        place = max((n for n, word in enumerate(words) if word in _SIDES), default=None)
        if place is None:
            others.append(entry)
            continue
        *middle, leaf = words[place + 1 :] or ["weight"]
        if leaf not in _LEAVES:  # the adapter's name, behind which an embedding has no other
            middle, leaf = [*middle, leaf], "weight"
        name, adapter = ".".join(words[:place]), ".".join(middle) or None
        side = _SIDES[words[place]] + (" bias" if leaf == "bias" else "")
        target = found.setdefault((name, adapter), Target(name, adapter))
        if side in target.arrays or side in ("a bias", "magnitude bias"):
            others.append(entry)
            continue
        target.arrays[side] = entry
        target.turned |= words[place] in _FLAX
    return list(found.values()), others


def is_lora(path: str) -> bool:
    """Tells whether a name is one that LoRA gives."""
    return any(word.startswith("lora_") for word in path.split("."))


def is_trained(path: str, kind: str) -> bool:
    """Tells whether an array was trained beside LoRA; a state dict holds frozen ones too."""
    return not is_lora(path) and (kind == peft.KIND or ".modules_to_save." in f".{path}")

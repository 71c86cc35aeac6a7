"""What is measured of networks of language: cases with fixed names."""

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class LoraStep:
    """A local step of LoRA on a network with GPT-2's defaults, but for some settings."""

    name: str
    batch: int
    length: int
    network: tuple[tuple[str, Any], ...] = ()
    rank: int = 8

    module: ClassVar[str] = "language_training"
    script: ClassVar[str] = "torch_lora.py"
    beside: ClassVar[None] = None
    pairs: ClassVar[int] = 7

    @property
    def size(self) -> str:
        """Returns what it is done on, for people."""
        return f"{self.batch} x {self.length} tokens, rank {self.rank}"

    def spec(self, data_settings: Any, arrays: str | None) -> dict[str, Any]:
        """Returns what the process of jfl is told."""
        del data_settings, arrays
        return self._shape

    def asked(self, facts: dict[str, Any], arrays: str) -> dict[str, Any]:
        """Returns what the process of PyTorch is told."""
        del facts, arrays
        return self._shape | {"work": "step"}

    @property
    def _shape(self) -> dict[str, Any]:
        sizes = {"batch": self.batch, "length": self.length, "rank": self.rank}
        return {"network": dict(self.network), **sizes}


@dataclass(frozen=True)
class FederatedLoraStep(LoraStep):
    """The same as a step of several clients of a federation, one after another."""

    module: ClassVar[str] = "federated_lora"


@dataclass(frozen=True)
class Generation:
    """The most likely tokens after prompts of `batch` texts; where `tokens` is 0, the prompts.

    The network is that of SmolLM 2 with 135 million parameters, but for some settings.
    """

    name: str
    batch: int
    prompt: int
    tokens: int
    network: tuple[tuple[str, Any], ...] = ()

    module: ClassVar[str] = "generation"
    script: ClassVar[str] = "torch_generate.py"
    beside: ClassVar[None] = None
    pairs: ClassVar[int] = 7

    @property
    def size(self) -> str:
        """Returns what it is done on, for people."""
        prompts = f"{self.batch} x {self.prompt} tokens"
        return f"{prompts}, then a token each" if self.tokens else prompts

    def spec(self, data_settings: Any, arrays: str | None) -> dict[str, Any]:
        """Returns what the process of jfl is told."""
        del data_settings, arrays
        shape = {"batch": self.batch, "prompt": self.prompt, "tokens": self.tokens}
        return shape | {"network": dict(self.network)}

    def asked(self, facts: dict[str, Any], arrays: str) -> dict[str, Any]:
        """Returns what the process of PyTorch is told."""
        return self.spec(None, arrays) | {"network": facts["config"]}


@dataclass(frozen=True)
class Pretraining:
    """A step of pre-training a nanochat, in one part."""

    name: str
    depth: int
    batch: int
    length: int
    vocabulary: int = 4096
    half: bool = False
    """bf16, and attention by cuDNN: on cards."""
    compared: bool = True

    module: ClassVar[str] = "pretraining"
    beside: ClassVar[None] = None
    pairs: ClassVar[int] = 7

    @property
    def script(self) -> str | None:
        """Returns the name of the file that does it in PyTorch, if it is compared."""
        return "torch_pretrain.py" if self.compared else None

    @property
    def size(self) -> str:
        """Returns what it is done on, for people."""
        return f"{self.batch} x {self.length} tokens, vocabulary {self.vocabulary:,}"

    def spec(self, data_settings: Any, arrays: str | None) -> dict[str, Any]:
        """Returns what the process of jfl is told."""
        del data_settings, arrays
        names = ("depth", "batch", "length", "vocabulary", "half")
        return {name: getattr(self, name) for name in names}

    def asked(self, facts: dict[str, Any], arrays: str) -> dict[str, Any]:
        """Returns what the process of PyTorch is told."""
        return self.spec(None, arrays) | {"cuda": facts["backend"] == "gpu"}


LanguageCase = LoraStep | Generation | Pretraining

LM = (
    LoraStep("lora/gpt2-small", batch=2, length=128),
    FederatedLoraStep("federated-lora/gpt2-small", batch=2, length=128),
    Generation("decode/smollm2-135m/1", batch=1, prompt=64, tokens=32),
    Generation("decode/smollm2-135m/8", batch=8, prompt=64, tokens=32),
    Generation("prefill/smollm2-135m", batch=1, prompt=512, tokens=0),
    Pretraining("pretrain/d4", depth=4, batch=16, length=256),
    Pretraining("pretrain/d6", depth=6, batch=8, length=512),
    *(
        Pretraining(f"pretrain/d4/{b}x{n}", depth=4, batch=b, length=n, compared=False)
        for b, n in ((4, 256), (64, 256), (4, 1024))
    ),
)
"""The suite lm; those without a reference are for their memory."""
CARD = (
    Pretraining("pretrain/d12/bf16", 12, batch=32, length=2048, vocabulary=65536, half=True),
    Pretraining("pretrain/d20/bf16", 20, batch=8, length=2048, vocabulary=65536, half=True),
)
"""The suite card, which needs one of NVIDIA's."""

"""What comes out of files of other programs: networks, adapters, and parts of both."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jfl.models import base
from jfl.models.language import base as languages
from jfl.types import Params


@dataclass(frozen=True)
class Opened:
    """A model that came from a file."""

    model: base.Config
    """Which network it is."""
    params: Params
    """Nested dicts of float32 arrays."""
    tokenizer: Any
    """What makes tokens of text; None for a network that takes none."""
    template: str | None
    """How a conversation is written for it; None for a network that holds none."""
    sha256: str
    """Fingerprint of the file."""


@dataclass(frozen=True)
class Language:
    """A language network that came from a folder of transformers or a GGUF file."""

    config: dict[str, Any]
    """What its config.json says, or would say."""
    params: Params
    """Nested dicts of float32 arrays; those of layers are [L, ...], kernels [in, out]."""
    sha256: str
    """Fingerprint of config.json and the files of weights, or of the one file: that of what
    sha256sum says of them."""

    @property
    def network(self) -> languages.Config:
        """Returns the settings of jfl's network that computes it.

        Raises:
            UsageError: config.json has something that none honours.
        """
        return languages.from_hf(self.config)


@dataclass(frozen=True)
class Nanochat:
    """A network that came from a checkpoint of nanochat."""

    network: languages.Config
    """Its settings."""
    params: Params
    """Nested dicts of float32 arrays, as `Language` has them."""
    step: int
    """Of its training; 0 where nothing says it."""
    tokenizer: Path | None
    """The folder beside it that holds one."""
    notes: tuple[str, ...]
    """What people should know of how it was read."""


@dataclass(frozen=True)
class Lora:
    """How much a LoRA adapter changes each dense layer of a language network.

    Its arrays are nested dicts: at the path of a dense layer inside the layers `a` [L, in, r] and
    `b` [L, r, out], at one outside of them `a` [in, r] and `b` [r, out]. To the kernel comes
    scale * a @ b. Where ranks differ between layers r is the largest, and the smaller ones are
    filled with zeros, whose gradients are zero too.
    """

    ranks: Mapping[str, tuple[int, ...]]
    """By path, such as `layers.attention.qkv`, the rank in each layer; 0 where it is not adapted.
    One number where it is no path of layers."""
    alphas: Mapping[str, tuple[int | float, ...]]
    """The same of alpha."""
    rslora: bool = False
    """Whether scale is alpha / sqrt(rank), not alpha / rank."""
    whole: tuple[str, ...] = ()
    """Paths of arrays that were trained themselves and stand in place of the network's; where a
    tied network has `head.kernel` here, its head is no longer the embedding."""
    dropout: float = 0.0
    """Share of the inputs of `a` that training drops."""

    def scales(self, path: str) -> tuple[float, ...]:
        """Returns the factor of a @ b in each layer, 0 where it is not adapted."""
        pairs = zip(self.alphas[path], self.ranks[path], strict=True)
        root = math.sqrt if self.rslora else float
        return tuple(alpha / root(rank) if rank else 0.0 for alpha, rank in pairs)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter that came from a folder of PEFT."""

    lora: Lora
    params: Params
    """Nested dicts of float32 arrays, as `Lora` says, and those that are trained whole."""
    sha256: str
    """Fingerprint of its files, as that of `Language`."""


@dataclass(frozen=True)
class Matrices:
    """A LoRA adapter of a network that classifies, which came from a file or a folder of PEFT."""

    params: Params
    """Nested dicts of float32 arrays: at a layer `lora` with `a` [..., inputs, rank] and `b` [rank,
    outputs], or its own weights where these were trained."""
    scales: Mapping[str, float | None]
    """What the product counts, by layer; None where nothing says it."""


@dataclass(frozen=True)
class Piece:
    """One part of a GPT-2, which came from a file of its own."""

    part: str
    """bottom (with the embedding), trunk, or top (with the last norm and a head)."""
    first: int
    """The number of its first layer in the whole network."""
    last: int
    """One more than that of its last layer."""
    config: dict[str, Any]
    """config.json of the whole network."""
    params: Params
    """Nested dicts of float32 arrays, as `Language` has them."""
    sha256: str
    """Fingerprint of its files, as that of `Language`."""

"""The settings of an audit."""

from typing import Literal

from pydantic import Field

from jfl.runs.job import NAME
from jfl.runs.job import Config as JobConfig
from jfl.split import source
from jfl.split import steps as stepping
from jfl.split.client.settings import Data
from jfl.split.parts import Lora
from jfl.split.wire.tensors import Dtype


class Texts(Data):
    """The section `data`, of shorter pieces."""

    max_length: int = Field(default=32, ge=2, le=1 << 20)
    """Tokens of a piece."""


class Config(JobConfig):
    """An audit's settings."""

    name: str = Field(default="split-audit", pattern=NAME)
    """Names the folder below --out."""
    kind: Literal["split.audit"] = "split.audit"
    model: source.Config = source.Config()
    """The network; of its cut only the second place is used."""
    data: Texts = Texts()
    """The texts that are attacked."""
    cuts: tuple[int, ...] = (1, 2, 4)
    """So many layers has the bottom."""
    noises: tuple[float, ...] = (0.0, 0.5, 2.0)
    """Gaussian noise that the client adds, as a share of the features' standard deviation."""
    wires: tuple[Dtype, ...] = ("f32", "int8")
    """In what type features travel."""
    texts: int = Field(default=4, ge=1, le=1024)
    """Pieces that are attacked."""
    steps: int = Field(default=30, ge=0, le=100_000)
    """Steps of training before, in which the client's bottom leaves the public one."""
    batch_size: int = Field(default=4, ge=1)
    """Pieces of a step."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Of these steps."""
    lora: Lora = Lora()
    """What trains in them."""
    optimizer: stepping.Config = stepping.Config()
    """AdamW."""

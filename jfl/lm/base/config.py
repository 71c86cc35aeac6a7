"""The settings of pre-training, and how many steps follow from them."""

from typing import Any, Literal

from pydantic import Field, model_validator

from jfl import config as configs
from jfl.config import Section, Switch
from jfl.errors import UsageError
from jfl.lm import operations
from jfl.lm.base import placement, samples
from jfl.lm.data import source
from jfl.lm.tokenizer import saved
from jfl.lm.tokenizer.training import SMALLEST
from jfl.models.language import nanochat
from jfl.models.language.attention import Implementation
from jfl.models.language.base import Computation
from jfl.optimize import language
from jfl.runs import job, settings


class Tokenizer(Section):
    """The section `tokenizer`."""

    path: str | None = None
    """Folder of one, such as `jfl lm tok-train` makes; none = one is trained on the texts first."""
    vocab_size: int = Field(default=8192, ge=SMALLEST, le=1 << 20)
    """Tokens of one that is trained."""
    max_chars: int = Field(default=100_000_000, ge=1)
    """Letters it is trained on, at the most."""


class Train(Section):
    """The section `train`."""

    device_batch_size: int = Field(default=8, ge=1, le=1 << 20)
    """Rows that are computed at a time."""
    total_batch_size: int = Field(default=262144, ge=1, le=1 << 32)
    """Tokens of a step."""
    tokens_per_parameter: float = Field(default=20.0, gt=0, le=1e6)
    """Sets the number of steps, where neither `steps` nor `target_flops` does."""
    target_flops: float | None = Field(default=None, gt=0, le=1e30)
    """Operations of the whole training, which set the number of steps."""
    precision: Literal["float32", "bf16"] = "float32"
    """Type of features and products; parameters are float32."""
    attention: Implementation = "xla"
    """What computes attention; cudnn is for bf16 on NVIDIA's cards."""
    remat: Literal["none", "full", "dots"] = "none"
    """What of a layer is computed again for gradients."""
    deterministic: Switch = False
    """On GPUs: bit-identical repeats, at some cost in speed."""


class Evaluate(job.Evaluate):
    """The section `evaluate`."""

    every: int = Field(default=250, ge=1)
    """Measure bits per byte after every so many steps, and after the last."""
    tokens: int = Field(default=20 * 524288, ge=1, le=1 << 32)
    """Tokens of the texts held back that are measured, always the same ones."""


class Checkpoint(job.Checkpoint):
    """The section `checkpoint`."""

    every: int = Field(default=1000, ge=1)
    """Save after every so many steps, and after the last."""


class Config(job.Config):
    """Pre-training."""

    kind: Literal["lm.base"] = "lm.base"
    depth: int = Field(default=20, ge=1, le=256)
    """The one dial: layers; they are 64 times as wide."""
    context: int = Field(default=2048, ge=1, le=1 << 24)
    """Tokens of a row."""
    steps: int | None = Field(default=None, ge=1, lt=2**31)
    """Steps of training; none = by train.target_flops or train.tokens_per_parameter."""
    data: source.Config
    """The texts."""
    tokenizer: Tokenizer = Tokenizer()
    """What makes tokens of them."""
    train: Train = Train()
    """How large a step is, and how it is computed."""
    optimizer: language.Config = language.Config()
    """Rates, and how they go with the steps."""
    mesh: placement.Config = placement.Config()
    """On how many devices."""
    evaluate: Evaluate = Evaluate()
    """When it is measured, and by how much text."""
    sample: samples.Config = samples.Config()
    """When it goes on with prompts, and with which."""
    checkpoint: Checkpoint = Checkpoint()
    """When it is saved, and what is kept."""

    @model_validator(mode="after")
    def _divides(self) -> "Config":
        at_once = self.train.device_batch_size * self.context
        if self.train.total_batch_size % at_once:
            raise ValueError(
                f"train.total_batch_size={self.train.total_batch_size} must be a multiple of "
                f"{at_once}, train.device_batch_size={self.train.device_batch_size} rows of "
                f"context={self.context}"
            )
        nanochat.Config(depth=self.depth)
        return self

    @property
    def rows(self) -> int:
        """Rows of a step."""
        return self.train.total_batch_size // self.context

    def network(self, vocabulary: int) -> nanochat.Config:
        """Returns the settings of the network."""
        return nanochat.Config(depth=self.depth, vocabulary=vocabulary, context=self.context)

    @property
    def computation(self) -> Computation:
        """Returns how it is computed."""
        train = self.train
        return Computation(dtype=train.precision, attention=train.attention, remat=train.remat)


def assemble(given: dict[str, Any], changes: dict[str, Any]) -> Config:
    """Returns checked settings from settings and changes to them, with the number of steps.

    Raises:
        UsageError: the first thing wrong.
        DataError: the tokenizer cannot be read.
    """
    content = settings.layered([{"kind": "lm.base"}, given, changes])
    config: Config = configs.check(Config, configs.resolve(content))
    if config.steps is not None:
        return config
    place, train = config.tokenizer.path, config.train
    vocabulary = saved.open(place).vocabulary if place else config.tokenizer.vocab_size
    network = config.network(vocabulary)
    if train.target_flops is not None:
        a_step = operations.per_token(network).whole * train.total_batch_size
        steps = round(train.target_flops / a_step)
    else:
        tokens = train.tokens_per_parameter * operations.parameters(network)
        steps = int(tokens // train.total_batch_size)
    if not 1 <= steps < 2**31:
        raise UsageError(
            f"that makes {steps:,} steps of {train.total_batch_size:,} tokens; give steps, or "
            "change train.total_batch_size"
        )
    return config.model_copy(update={"steps": steps})

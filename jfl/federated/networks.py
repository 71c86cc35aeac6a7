"""The network of a federation: one that classifies, or one of language that tells what follows."""

from functools import cache
from typing import Any

import numpy as np
from pydantic import Field, create_model

from jfl import plugins
from jfl.config import Section
from jfl.datasets.base import Dataset
from jfl.errors import UsageError
from jfl.models import base as models
from jfl.models.base import Lowering, Model
from jfl.models.language import base as languages
from jfl.models.language import next_token

Config = models.Config | languages.Config
"""The settings of any of them."""
_SIZES = {
    "vocabulary": "Tokens the network knows; none = those of the tokenizer.",
    "context": "Tokens of the longest text; none = those of a window.",
}
_KINDS = {
    "images": ("images or features", "mlp"),
    "words": ("texts as word numbers to classify", "lstm"),
    "windows": ("windows of text", "gpt2"),
}
"""What networks take, and one that does."""


def schema(name: str) -> type[Section]:
    """Returns the settings of a network; of one of language, with sizes that the data may decide.

    Raises:
        UsageError: there is no such network, in neither kind.
    """
    if name not in plugins.names("language") or name in plugins.names("model"):
        return plugins.load("model", name).Config
    return _sized(plugins.load("language", name).Config)


@cache
def _sized(own: type[languages.Config]) -> type[languages.Config]:
    """Returns settings whose sizes may be left to the data, also where they are written out."""
    sizes = {
        size: (int | None, Field(default=None, ge=1, le=1 << 24, description=said))
        for size, said in _SIZES.items()
    }
    made: Any = create_model  # whose type does not know fields by name
    return made(own.__name__, __base__=own, __module__=own.__module__, **sizes)


def fitted(config: Config, dataset: Dataset) -> Config:
    """Returns the settings of a network as the data need it.

    Raises:
        UsageError: it takes other samples, or a size that is set is too small.
    """
    held, taken = _held(dataset), _taken(config)
    if held != taken:
        raise UsageError(
            f"{dataset.name} holds {_KINDS[held][0]}, and model.name={config.name} takes "
            f"{_KINDS[taken][0]}; set model.name={_KINDS[held][1]}"
        )
    if isinstance(config, languages.Config):
        assert dataset.vocabulary is not None
        return next_token.sized(config, dataset.vocabulary, dataset.x.shape[1] - 1)
    return config.for_words(int(dataset.x.max())) if held == "words" else config


def build(config: Config, shape: tuple[int, ...], classes: int, lowering: Lowering) -> Model:
    """Builds a network for samples of a shape; one of language knows its own classes.

    Raises:
        UsageError: there is no such network, or it cannot take samples of this shape.
    """
    if isinstance(config, languages.Config):
        return next_token.build(config, shape[0] - 1)
    return models.build(config, shape, classes, lowering)


def takes_images(config: Config) -> bool:
    """Tells whether samples are images or features, not numbers of words or tokens."""
    return _taken(config) == "images"


def _held(dataset: Dataset) -> str:
    if dataset.vocabulary is not None:
        return "windows"
    return "words" if dataset.x.dtype == np.int32 else "images"


def _taken(config: Config) -> str:
    if isinstance(config, languages.Config):
        return "windows"
    return "words" if models.takes_words(config) else "images"

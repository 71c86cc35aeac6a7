"""A trained network of language with its tokenizer, whatever it is kept in."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp

from jfl.adapters import base as adapters
from jfl.adapters import foreign
from jfl.errors import DataError, UsageError
from jfl.files import texts
from jfl.models import files
from jfl.models.language import base as languages
from jfl.models.language.base import Computation, LanguageModel
from jfl.text import tokenizers
from jfl.text.base import Tokenizer, require_fits
from jfl.text.tokenizers import hf
from jfl.types import Params

ADAPTER = "adapter_config.json"
"""What a folder of PEFT holds."""


@dataclass(frozen=True)
class Network:
    """What is needed to go on with a text, or to score one."""

    name: str
    model: LanguageModel
    params: Params
    tokenizer: Tokenizer
    doubt: str | None
    """A sentence for people, where network and tokenizer hardly belong together."""


def opened(
    place: str | os.PathLike[str],
    base: str | os.PathLike[str] | None = None,
    computation: Computation | None = None,
) -> Network:
    """Opens a folder of transformers, a GGUF file, or a folder of PEFT with its base.

    Args:
        place: the file or folder.
        base: of an adapter; None = what it names, if that is on this machine.
        computation: how it is computed.

    Raises:
        UsageError: it is nothing of these, or the base of an adapter is not known.
        DataError: there is no tokenizer, or it is of another network.
        CheckpointError: something is damaged or does not fit.
        SafetyError: it is made to attack its reader.
    """
    path = Path(os.path.expanduser(place))
    if not path.exists():
        raise UsageError(
            f"{path} is not there; give a folder with config.json, a .gguf file, or an adapter's "
            "folder with --base"
        )
    if (path / ADAPTER).is_file():
        return _adapted(path, base, computation)
    if base is not None:
        raise UsageError(f"{path} is no adapter; leave --base out")
    found = files.open_language(path)
    model = languages.build(found.network, computation)
    return made(path.name, model, found.params, _tokenizer(path))


def _adapted(
    path: Path, base: str | os.PathLike[str] | None, computation: Computation | None
) -> Network:
    below = Path(os.path.expanduser(base)) if base is not None else _named_base(path)
    found = files.open_language(below)
    settings, params = foreign.taken(files.open_adapter(path, found.config))
    adapted = adapters.build(settings, found.network)
    model = languages.build(found.network, computation)
    own = path if any((path / name).is_file() for name in _TOKENIZERS) else below
    merged = adapted.merged(params, found.params)
    return made(f"{path.name} on {below.name}", model, merged, _tokenizer(own))


_TOKENIZERS = ("tokenizer.json", "vocab.json")


def _named_base(path: Path) -> Path:
    told = json.loads(texts.read(path / ADAPTER)).get("base_model_name_or_path")
    for below in (path / str(told), Path(str(told))) if told else ():
        if below.exists():
            return below
    named = f", which it names {told}," if told else ""
    raise UsageError(f"{path} is an adapter, and its base{named} is not here; give --base DIR")


def _tokenizer(path: Path) -> Tokenizer:
    if path.is_file():
        return hf.from_content(*files.tokenizer_content(path), name=path.name, where=str(path))
    try:
        return tokenizers.open(path)
    except DataError as error:
        raise DataError(f"{error}; put the tokenizer's files beside the weights") from error


def made(name: str, model: LanguageModel, params: Params, tokenizer: Tokenizer) -> Network:
    """Returns a network of its parts.

    Raises:
        DataError: the tokenizer is of another network.
    """
    doubt = require_fits(tokenizer, model.config.vocabulary)
    return Network(name, model, jax.tree.map(jnp.asarray, params), tokenizer, doubt)

"""Texts as windows of tokens, from which a network of language learns what comes next.

Any set of texts (`jfl list texts`): a book, a corpus by genre, your own files. The texts of one
owner are put one behind the other, with an end of text between, and cut into windows that begin
where the last one ended; what is left at the end is not used.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Int32
from pydantic import BeforeValidator, Field, SerializeAsAny

from jfl import config as configs
from jfl import plugins
from jfl.datasets import base
from jfl.datasets.text import base as sets
from jfl.datasets.text import file
from jfl.datasets.text.base import Document
from jfl.errors import DataError
from jfl.text import tokenizers
from jfl.text.base import Tokenizer

TITLE = "texts"
SHAPE = None
CACHED = False
PARTITION = "natural"
_MOST = 1 << 28  # tokens of all windows


def _set(given: Any) -> Any:
    """Lets a word stand for a set of texts, and the set check its own settings."""
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        return given
    return configs.check(plugins.load("text", given["name"]).Config, given, prefix="data.texts.")


class Config(base.OwnData):
    """Which texts, whose they are, and how they become windows."""

    name: Literal["texts"] = "texts"
    texts: Annotated[SerializeAsAny[sets.Config], BeforeValidator(_set)] = file.Config()
    """The set, such as brown, or a section with its settings; `jfl list texts`. `file` is what
    data.dir names."""
    by: Literal["owner", "label", "document", "length"] = "owner"
    """Whose a window is, and its class: the text's owner, such as an author, a genre or a play; its
    label; the document; or all texts of at least so many letters, and less than twice as many."""
    tokenizer: str = "bytes"
    """A tokenizer's file or folder, or bytes."""
    window: int = Field(default=128, ge=1, le=1 << 20)
    """Tokens that a network sees at a time."""

    @property
    def given(self) -> sets.Config:
        """The set's settings, with the places of this section."""
        places = {"dir": self.texts.dir or self.dir, "cache_dir": self.cache_dir}
        return _set(self.texts.model_dump(mode="json") | places)


def find(config: base.Config) -> Path | None:
    """Returns where the texts are."""
    assert isinstance(config, Config)
    return plugins.load("text", config.given.name).find(config.given)


def load(config: Config) -> base.Dataset:
    """Reads the texts, and brings their package where it is absent.

    Raises:
        DataError: they are absent or damaged, or nobody has as much text as a window.
        UsageError: there is no such tokenizer.
    """
    texts, tokenizer = sets.load(config.given), tokenizers.open(config.tokenizer)
    owners = _owned(texts.documents, config.by)
    if not owners:
        raise DataError(
            f"{texts.name}: no text has a label; take data.by=owner, document or length"
        )
    windows = [cut(_stream(documents, tokenizer), config.window) for documents in owners.values()]
    counts = [len(rows) for rows in windows]
    if not any(counts):
        raise DataError(
            f"{texts.name}: nobody has the {config.window + 1} tokens of a whole window; lower "
            "data.window"
        )
    if sum(counts) * config.window > _MOST:
        raise DataError(f"{texts.name}: more than {_MOST:,} tokens; leave some texts out")
    x = np.concatenate(windows)
    owner = np.repeat(np.arange(len(owners), dtype=np.int32), counts)
    return base.Dataset(
        name=texts.name,
        x=x,
        y=owner,
        num_classes=len(owners),
        licence=texts.licence,
        source=texts.source,
        owner=owner,
        vocabulary=tokenizer.vocabulary,
        text_bytes=lengths(tokenizer)[x[:, 1:]].sum(axis=1, dtype=np.int32),
    )


def _owned(documents: Iterable[Document], by: str) -> dict[str, list[Document]]:
    """Returns documents by whose they are, both in the order of the set."""
    found: dict[str, list[Document]] = {}
    for document in documents:
        key = {
            "owner": document.owner,
            "label": document.label,
            "document": document.name,
            "length": f"{len(document.text).bit_length():02}",
        }[by]
        if key is not None:
            found.setdefault(key, []).append(document)
    return dict(sorted(found.items())) if by == "length" else found


def _stream(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    between = [tokenizer.eos] if tokenizer.eos is not None else []
    for document in documents:
        yield np.array(tokenizer.encode(document.text) + between, np.int32)


def cut(texts: Iterable[np.ndarray], window: int) -> Int32[np.ndarray, "n M"]:
    """Returns texts, one behind the other, as windows of M = window + 1 tokens.

    The last token of a window is the first of the next.
    """
    tokens = np.concatenate([np.zeros(0, np.int32), *texts])
    count = max(len(tokens) - 1, 0) // window
    starts = np.arange(count)[:, None] * window
    return tokens[starts + np.arange(window + 1)]


def lengths(tokenizer: Tokenizer) -> Int32[np.ndarray, " V"]:
    """Returns the bytes of text that each token stands for; special ones stand for none."""
    special = set(tokenizer.special.values())
    sizes = [0 if n in special else len(tokenizer.piece(n)) for n in range(tokenizer.vocabulary)]
    return np.array(sizes, np.int32)

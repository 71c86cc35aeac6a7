"""Tokenizers from the files that people have them in: one file of this folder each.

Each defines `recognises(place)` and `open(place)`. Nothing is ever fetched.
"""

import importlib
import os
from pathlib import Path

from jfl.errors import DataError, UsageError
from jfl.text.base import Tokenizer

KINDS = ("bytes", "words", "hf", "tiktoken", "gpt2")
"""In the order in which they are asked: a folder may hold the files of several."""


def open(place: str | os.PathLike[str]) -> Tokenizer:
    """Returns the tokenizer of a file or folder, or the one of the name `bytes`.

    Raises:
        UsageError: there is no such file.
        DataError: it holds no tokenizer, or a damaged one.
        SafetyError: it is made to fill the memory.
    """
    path = Path(os.path.expanduser(place))
    if os.fspath(place) != "bytes" and not path.exists():
        raise UsageError(
            f"tokenizer: {place} is not there; name a folder, a tokenizer.json, or `bytes`"
        )
    for kind in KINDS:
        module = importlib.import_module(f"jfl.text.tokenizers.{kind}")
        if module.recognises(path):
            return module.open(path)
    if (path / "tokenizer.model").is_file() or path.name == "tokenizer.model":
        raise DataError(
            f"{path} holds SentencePiece's tokenizer.model only; save its fast form with "
            "transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    raise DataError(
        f"{path} holds no tokenizer that jfl knows: tokenizer.json, vocab.json with merges.txt, "
        "encoder.json with vocab.bpe, a .tiktoken file, words.json or bytes.json"
    )

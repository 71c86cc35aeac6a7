"""The pieces of text a client trains on: rows of tokens, the same every time."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from jfl import plugins
from jfl.datasets.text import base as sets
from jfl.errors import DataError, UsageError
from jfl.files.strict_json import dumps
from jfl.split.client.settings import Data
from jfl.text import texts, tokenizers
from jfl.text.base import Tokenizer, require_fits
from jfl.text.blocks import shuffled
from jfl.text.windows import Windows

_PREPARED = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
_WHO = ("the old sailor", "a young baker", "my neighbour", "the quiet teacher", "her brother")
_DOES = ("walked to", "looked at", "wrote about", "painted", "remembered", "waited near", "left")
_WHAT = ("the harbour", "a small garden", "the long road", "an empty house", "the river")
_WHEN = ("in the morning", "before the rain", "last winter", "every Sunday", "without a word")


@dataclass(frozen=True)
class Rows:
    """Pieces of T tokens, each with the one behind it: W = T + 1."""

    train: Int32[np.ndarray, "N W"]
    valid: Int32[np.ndarray, "M W"]
    tokenizer: Tokenizer
    sha256: str

    def batch(self, seed: int, epoch: int, number: int, size: int) -> Int32[np.ndarray, "B W"]:
        """Returns batch `number` of an epoch, both from 0; the last one may be smaller."""
        order = shuffled(len(self.train), seed, epoch)
        return self.train[order[number * size : (number + 1) * size]]


def load(data: Data, model: str | None, rows: int, context: int, seed: int) -> Rows:
    """Returns the pieces that settings ask for.

    Args:
        data: the settings.
        model: where the network's own tokenizer lies, if it brings one.
        rows: of the network's embedding.
        context: tokens of its longest text.
        seed: of synthetic sentences.

    Raises:
        UsageError: there is no such file, or no tokenizer.
        DataError: the texts are damaged, too short, or of another tokenizer.
    """
    if data.max_length > context:
        raise UsageError(
            f"data.max_length={data.max_length} is above {context}, the longest text of the model"
        )
    place = data.tokenizer or model
    if place is None:
        raise UsageError(
            "the model brings no tokenizer; give data.tokenizer=DIR with tokenizer.json, or with "
            "vocab.json and merges.txt, or data.tokenizer=bytes"
        )
    tokenizer = tokenizers.open(place)
    require_fits(tokenizer, rows)
    wanted = data.samples + data.validation
    if data.name == "synthetic":
        found = _synthetic(tokenizer, wanted, data.max_length, seed)
    else:
        with tempfile.TemporaryDirectory(prefix="jfl-texts-") as place:
            windows = Windows(_opened(data, Path(place)), tokenizer, 1, data.max_length, epochs=1)
            taken = [window for window, _ in zip(windows, range(wanted), strict=False)]
        found = np.concatenate(taken) if taken else np.zeros((0, data.max_length + 1), np.int32)
    split = min(data.samples, len(found) - min(data.validation, len(found) // 5))
    if split < 1:
        raise DataError(
            f"{data.name} has fewer than {data.max_length + 1} tokens; give more text, or a "
            "smaller data.max_length"
        )
    sha256 = hashlib.sha256(found.tobytes()).hexdigest()
    return Rows(found[:split], found[split:], tokenizer, sha256)


def _opened(data: Data, place: Path) -> texts.Texts:
    """Returns the texts of a file or folder; those of a set that jfl knows go through a `place`."""
    for path in (Path(data.name).expanduser(), _PREPARED / data.name):
        if path.exists():
            prepared = sorted(path.rglob("features.json"))  # of TFDS: name/config/version
            return texts.find(prepared[-1].parent if prepared else path)
    known = plugins.names("text")
    if data.name not in known or data.name == "file":
        raise UsageError(
            f"data.name={data.name} is not there; put a .txt, .jsonl or .parquet file there, or a "
            "folder of them, or a copy that TFDS has prepared; or give --dataset synthetic, or "
            f"one of {', '.join(name for name in known if name != 'file')}"
        )
    found = sets.load(plugins.load("text", data.name).Config(name=data.name))
    lines = (dumps({"text": document.text}) + "\n" for document in found.documents)
    (place / "texts.jsonl").write_text("".join(lines), encoding="utf-8")
    return texts.find(place)


def _synthetic(
    tokenizer: Tokenizer, count: int, length: int, seed: int
) -> Int32[np.ndarray, "N W"]:
    """Returns pieces of made-up sentences."""
    rng = np.random.default_rng(seed)
    ids: list[int] = []
    while len(ids) < count * length + 1:
        words = (part[rng.integers(len(part))] for part in (_WHO, _DOES, _WHAT, _WHEN))
        sentence = " ".join(words)
        ids += tokenizer.encode(sentence[0].upper() + sentence[1:] + ". ")
    starts = np.arange(count)[:, None] * length
    return np.array(ids, np.int32)[starts + np.arange(length + 1)]

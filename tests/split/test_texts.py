"""The texts of a client: made up, in files, prepared by TFDS, or of a set that jfl knows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jfl import config as configs
from jfl.datasets.text import base as sets
from jfl.errors import DataError, UsageError
from jfl.split.client import texts
from jfl.split.client.settings import Data

TEXT = "The quick brown fox jumps over the lazy dog. " * 8


def loaded(**given: Any) -> texts.Rows:
    settings = {"max_length": 16, "tokenizer": "bytes", "samples": 6, "validation": 2} | given
    return texts.load(configs.check(Data, settings), None, 261, 64, 0)


def words(rows: texts.Rows) -> str:
    """What is read, but for the first token, which says that a text begins."""
    tokens = np.concatenate([rows.train[:, 1:], rows.valid[:, 1:]]).ravel()
    return rows.tokenizer.decode(tokens.tolist())


@pytest.mark.parametrize("kind", ["txt", "jsonl", "folder"])
def test_texts_in_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("texts.jsonl" if kind == "jsonl" else "texts.txt")
    path.write_text(json.dumps({"text": TEXT}) if kind == "jsonl" else TEXT)
    rows = loaded(name=str(tmp_path if kind == "folder" else path))
    assert rows.train.shape == (6, 17)
    assert rows.valid.shape == (2, 17)
    assert TEXT.startswith(words(rows)[:100])
    assert rows.sha256 == loaded(name=str(path)).sha256


def test_a_set_that_jfl_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(config: sets.Config) -> sets.Texts:
        assert config.name == "shakespeare"
        return sets.Texts("Shakespeare", (sets.Document(TEXT, "a", "b"),), "play", "none", "here")

    monkeypatch.setattr(sets, "load", load)
    assert TEXT.startswith(words(loaded(name="shakespeare"))[:100])


def test_what_is_absent_or_too_short_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"wikitext is not there; put a \.txt, \.jsonl .* TFDS"):
        loaded(name="wikitext")
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(DataError, match="fewer than 17 tokens; give more text"):
        loaded(name=str(tmp_path / "short.txt"))
    with pytest.raises(UsageError, match="above 64, the longest text of the model"):
        loaded(max_length=65)
    with pytest.raises(UsageError, match=r"brings no tokenizer; give data\.tokenizer"):
        loaded(tokenizer=None)


def test_an_order_of_its_own_for_each_epoch() -> None:
    rows = loaded()
    epochs = [np.concatenate([rows.batch(3, epoch, n, 4) for n in range(2)]) for epoch in (0, 1)]
    for epoch in epochs:
        assert sorted(map(bytes, epoch)) == sorted(map(bytes, rows.train))
    assert not np.array_equal(*epochs)
    np.testing.assert_array_equal(rows.batch(3, 0, 1, 4), epochs[0][4:])

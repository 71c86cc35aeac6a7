"""Texts as windows of tokens: whose they are, what they hold, how many bytes they stand for."""

import json
from pathlib import Path

import numpy as np
import pytest

from jfl.datasets import texts
from jfl.datasets.base import load
from jfl.errors import DataError
from jfl.text import tokenizers

EOS = 257


def jsonl(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def loaded(place: Path, **settings):
    return load(texts.Config(dir=str(place), **settings), 0)


@pytest.mark.parametrize("window", [1, 3, 7])
def test_every_token_is_told_once(window: int) -> None:
    tokens = np.split(np.arange(23, dtype=np.int32), [5, 11])
    found = texts.cut(tokens, window)
    assert found.shape == (22 // window, window + 1)
    np.testing.assert_array_equal(found[:, 1:].ravel(), np.arange(1, 1 + 22 // window * window))
    np.testing.assert_array_equal(found[:, 0], np.arange(22 // window) * window)


def test_texts_of_an_owner_are_one_behind_the_other(tmp_path: Path) -> None:
    rows = [("ann", "abc"), ("bob", "xyzw"), ("ann", "d€"), ("cy", "")]
    place = jsonl(tmp_path, [{"author": who, "text": text} for who, text in rows])
    found = loaded(place, texts={"name": "file", "owner": "author"}, window=2)
    euro = list("€".encode())
    ann = [*b"abc", EOS, *b"d", *euro, EOS]
    bob = [*b"xyzw", EOS]
    expected = [ann[0:3], ann[2:5], ann[4:7], ann[6:9], bob[0:3], bob[2:5]]
    np.testing.assert_array_equal(found.x, expected)
    np.testing.assert_array_equal(found.owner, [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(found.y, found.owner)
    np.testing.assert_array_equal(found.text_bytes, [2, 1, 2, 1, 2, 1])
    assert (found.num_classes, found.vocabulary) == (2, 261)


def test_by_document_and_by_length(tmp_path: Path) -> None:
    for name, size in (("a", 9), ("b", 70), ("c", 15), ("d", 65)):
        (tmp_path / f"{name}.txt").write_text(name * size)
    alone = loaded(tmp_path, by="document", window=4)
    assert np.bincount(alone.owner).tolist() == [2, 17, 3, 16]
    lengths = loaded(tmp_path, by="length", window=4)
    assert np.bincount(lengths.owner).tolist() == [6, 34]  # 8 to 15 letters, and 64 to 127
    assert set(lengths.x[lengths.owner == 1].ravel()) == {ord("b"), ord("d"), EOS}


def test_bytes_of_the_words_of_a_real_vocabulary(tmp_path: Path) -> None:
    text = "A naïve café — twenty-four zürich trams, 12345 and <|endoftext|> more. " * 20
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\n" + "t w\nt r\n", encoding="utf-8")
    alphabet = _alphabet()
    words = {symbol: n for n, symbol in enumerate([*alphabet, "tw", "tr", "<|endoftext|>"])}
    (tmp_path / "encoder.json").write_text(json.dumps(words), encoding="utf-8")
    found = loaded(tmp_path / "texts", tokenizer=str(tmp_path), window=10)
    tokenizer = tokenizers.open(tmp_path)
    assert found.vocabulary == tokenizer.vocabulary == 259
    for row, size in zip(found.x, found.text_bytes, strict=True):
        assert len(tokenizer.decode_bytes(row[1:][row[1:] != tokenizer.eos])) == size
    whole = tokenizer.decode_bytes([*found.x[0, :1], *found.x[:, 1:].ravel()])
    assert (text.encode() + b"<|endoftext|>").startswith(whole)


def _alphabet() -> list[str]:
    """The symbols of GPT-2's bytes: those that can be printed, and others in place of the rest."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + n) for n in range(len(rest))]


def test_absent_texts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name a file or folder of"):
        loaded(tmp_path / "nowhere")

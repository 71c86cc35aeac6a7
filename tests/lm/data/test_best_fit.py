"""Rows that begin with documents, beside a slow version, and their position."""

import json

import numpy as np
import pytest

from jfl.errors import CheckpointError, DataError
from jfl.lm.data.best_fit import BestFit
from tests.lm.data import made

BYTES = made.tokenizer_of("bytes")
LENGTHS = [int(n) for n in np.random.default_rng(3).integers(1, 60, 57)]


def slowly(documents, size, waiting, count):
    """Rows, by looking at every document that waits."""
    endless = ([BYTES.bos, *BYTES.encode(text)] for _ in range(99) for text in documents)
    held, rows = [], []
    while len(rows) < count:
        row = []
        while len(row) < size:
            while len(held) < waiting:
                held.append(next(endless))
            fits = [ids for ids in held if len(ids) <= size - len(row)]
            chosen = max(fits, key=len) if fits else min(held, key=len)
            held.pop(next(n for n, ids in enumerate(held) if ids is chosen))
            row += chosen[: size - len(row)]
        rows.append(row)
    return np.array(rows)


def test_rows_are_those_of_the_slow_version(tmp_path):
    texts, documents = made.shards(tmp_path / "shards", LENGTHS)
    rows = BestFit(texts, BYTES, 2, 30, waiting=7)
    found = np.concatenate([next(rows) for _ in range(20)])
    np.testing.assert_array_equal(found, slowly(documents, 31, 7, 40))
    assert (found[:, 0] == BYTES.bos).all()


@pytest.mark.parametrize("seed", [None, 3])
def test_it_goes_on_exactly_where_it_was(tmp_path, seed):
    texts, _ = made.shards(tmp_path / "shards", LENGTHS)
    rows = BestFit(texts, BYTES, 2, 30, seed=seed, waiting=7)
    for _ in range(25):  # more than an epoch
        state = json.loads(json.dumps(rows.state))
        again = BestFit(texts, BYTES, 2, 30, seed=seed, waiting=7, state=state)
        wanted = next(rows)
        np.testing.assert_array_equal(next(again), wanted)
        assert again.state == rows.state
    with pytest.raises(CheckpointError, match="another seed"):
        BestFit(texts, BYTES, 2, 30, seed=5, waiting=7, state=state)
    for held in (7, [["x"]], [[1, 0, 0, 0, 99]]):
        with pytest.raises(CheckpointError, match="position in the texts is damaged"):
            BestFit(texts, BYTES, 2, 30, seed=seed, waiting=7, state=state | {"held": held})


def test_an_epoch_ends_and_no_text_is_one_sentence(tmp_path):
    texts, _ = made.shards(tmp_path / "shards", [5, 9, 12])
    rows = list(BestFit(texts, BYTES, 1, 9, epochs=1))
    assert len(rows) == 2
    (tmp_path / "shards" / "shard_00000.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match=r"holds? no text"):
        next(BestFit(texts, BYTES, 1, 9))

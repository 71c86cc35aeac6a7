"""Windows and rows of texts: what is in them, and that they go on exactly where they were."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jfl.errors import CheckpointError, DataError
from jfl.text import blocks, chat, packed, texts, tokenizers
from jfl.text.tokenizers import hf
from jfl.text.windows import Windows
from tests.text import made

BYTES = tokenizers.open("bytes")


def some(folder: Path, files: int = 3, each: int = 7) -> texts.Texts:
    said = iter([text for text in made.texts() if text])
    for file in range(files):
        lines = [json.dumps({"text": next(said)}) for _ in range(each)]
        (folder / f"{file}.jsonl").write_text("\n".join(lines) + '\n{"text": ""}\n')
    return texts.find(folder)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_SIZE", 4)


def test_windows_are_the_stream_cut(tmp_path: Path) -> None:
    found = some(tmp_path)
    stream = [
        token
        for document in found.documents()
        for token in [BYTES.bos, *str(document.content).encode(), BYTES.eos]
    ]
    windows = list(Windows(found, BYTES, 2, 16, epochs=1))
    count = (len(stream) - 1) // 32
    assert len(windows) == count
    for number, window in enumerate(windows):
        for row in range(2):
            start = number * 32 + row * 16
            assert window[row].tolist() == stream[start : start + 17]


def test_one_token_that_is_bos_and_eos_stands_once(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "a"}\n{"text": "a"}')
    known = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    tokenizer = hf.from_content(made.byte_level(), known)
    letter = tokenizer.encode("a")[0]
    (window,) = Windows(texts.find(tmp_path), tokenizer, 1, 5, epochs=1)
    assert window.tolist() == [[0, letter, 0, letter, 0, letter]]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", [None, 5])
def test_windows_go_on_exactly_where_they_were(tmp_path: Path, seed: int | None) -> None:
    found = some(tmp_path)
    whole = Windows(found, BYTES, 2, 24, seed=seed)
    expected, states = [], [whole.state]
    for window in islice(whole, 60):  # more than two epochs
        expected.append(window)
        states.append(json.loads(json.dumps(whole.state)))
    assert states[-1]["epoch"] >= 2
    for number in (0, 1, 2, 3, 7, 20, 41, 59):
        rest = Windows(found, BYTES, 2, 24, seed=seed, state=states[number])
        assert rest.state == states[number]
        for window, again in zip(expected[number:], rest, strict=False):
            np.testing.assert_array_equal(window, again)
        assert rest.state == {**rest.state}
    # other windows from there on show the same stream
    other = next(Windows(found, BYTES, 1, 7, seed=seed, state=states[9]))
    np.testing.assert_array_equal(other[0], expected[9][0][:8])


@pytest.mark.usefixtures("small_blocks")
def test_a_seed_shuffles_all_and_loses_nothing(tmp_path: Path) -> None:
    found = some(tmp_path)
    given: dict[Any, list[str]] = {}
    for seed in (None, 1, 1, 2):
        documents = [d for _, b in blocks.blocks(found, seed, blocks.Place(), 2) for d in b]
        said = [str(document.content) for document in documents]
        assert said == given.get(seed, said)
        given[seed] = said
    epochs = [said[n : n + 21] for said in given.values() for n in (0, 21)]
    assert all(Counter(epoch) == Counter(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5  # without a seed both epochs are alike
    # the same on every machine and Python
    assert blocks.shuffled(8, 3, 1) == [2, 1, 6, 0, 7, 3, 4, 5]


def test_a_position_is_only_good_for_what_it_was_saved_with(tmp_path: Path) -> None:
    found = some(tmp_path)
    state = Windows(found, BYTES, 1, 8).state
    with pytest.raises(CheckpointError, match="saved with another seed: None, not 3"):
        Windows(found, BYTES, 1, 8, seed=3, state=state)
    with pytest.raises(CheckpointError, match="saved with another tokenizer"):
        Windows(found, hf.from_content(made.byte_level(), {}), 1, 8, state=state)
    with pytest.raises(CheckpointError, match="is damaged"):
        Windows(found, BYTES, 1, 8, state=state | {"row": -1})
    (tmp_path / "0.jsonl").write_text('{"text": "other"}')
    with pytest.raises(CheckpointError, match="saved with another texts"):
        Windows(texts.find(tmp_path), BYTES, 1, 8, state=state)


def test_no_text_at_all_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="holds no text; put some there"):
        next(Windows(texts.find(tmp_path), BYTES, 1, 8))


def talks(folder: Path, count: int = 30) -> texts.Texts:
    said = [text for text in made.texts(400, seed=1) if 0 < len(text) < 24]
    for file in range(2):
        lines = []
        for n in range(count // 2):
            turns = [said[(7 * n + file + m) % len(said)] for m in range(2 + 2 * (n % 3))]
            roles = ["user", "assistant"] * 3
            pairs = zip(roles, turns, strict=False)
            lines.append({"messages": [{"role": r, "content": t} for r, t in pairs]})
        (folder / f"{file}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return texts.find(folder, conversations=True)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", [None, 5])
def test_rows_hold_whole_conversations_and_go_on_where_they_were(
    tmp_path: Path, seed: int | None
) -> None:
    found = talks(tmp_path)
    form = chat.Format(BYTES, "chatml")
    whole = packed.Packed(found, BYTES, form, 3, 200, seed=seed, epochs=1)
    expected, states = [], [whole.state]
    for rows in whole:
        expected.append(rows)
        states.append(json.loads(json.dumps(whole.state)))
    seen = Counter()
    for rows in expected:
        for row in range(3):
            for number in range(1, rows.talks[row].max() + 1):
                inside = rows.talks[row] == number
                mask = rows.trained[row][inside]
                seen[tuple(rows.tokens[row][inside]), tuple(mask)] += 1
            assert (rows.tokens[row][rows.talks[row] == 0] == BYTES.pad).all()
            assert not rows.trained[row][rows.talks[row] == 0].any()
    every = [form.tokens(document.content) for document in found.documents()]
    short = [one for one in every if len(one.ids) <= 201]
    long = [one for one in every if len(one.ids) > 201]
    assert seen == Counter(
        [(tuple(c.ids[:201]), tuple(c.trained[:201])) for c in short + long if any(c.trained[:201])]
    )
    assert whole.left_out["cut"] == len(long) > 4
    for number in range(len(states)):
        rest = packed.Packed(found, BYTES, form, 3, 200, seed=seed, epochs=1, state=states[number])
        again = list(rest)
        assert len(again) == len(expected) - number
        for one, other in zip(expected[number:], again, strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)
        assert rest.left_out == whole.left_out
    with pytest.raises(CheckpointError, match="saved with another template"):
        packed.Packed(found, BYTES, chat.Format(BYTES, "x{{ messages }}"), 3, 200, seed=seed,
                      state=states[0])  # fmt: skip


def test_what_has_no_reply_in_reach_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": "x" * 200},
                {"role": "assistant", "content": "a"},
            ]
        },
        {"messages": [{"role": "user", "content": "x"}]},
        {"prompt": "a", "completion": "b"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = texts.find(tmp_path, conversations=True)
    made_ = packed.Packed(found, BYTES, chat.Format(BYTES, "chatml"), 2, 99, epochs=1)
    (only,) = made_
    assert only.talks.max(axis=1).tolist() == [1, 0]
    assert BYTES.decode(only.tokens[0][only.trained[0]]) == "b<|im_end|>"
    assert made_.left_out == {"cut": 1, "without_reply": 2}


def test_packing_is_best_fit_of_the_longest_first() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        size = int(rng.integers(4, 20))
        lengths = rng.integers(0, size + 1, rng.integers(0, 30)).tolist()
        rows, rooms = [], []
        for n in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
            if lengths[n] == 0:
                continue
            fits = [(room, r) for r, room in enumerate(rooms) if room >= lengths[n]]
            if not fits:
                rows.append([n])
                rooms.append(size - lengths[n])
                continue
            tightest = min(room for room, _ in fits)
            assert tightest >= lengths[n]
            row = next(r for room, r in reversed(fits) if room == tightest)
            rows[row].append(n)
            rooms[row] -= lengths[n]
        found = packed.pack(lengths, size)
        assert sorted(n for row in found for n in row) == [n for n, x in enumerate(lengths) if x]
        assert max((sum(lengths[n] for n in row) for row in found), default=0) <= size
        assert sorted(sum(lengths[n] for n in row) for row in found) == sorted(
            sum(lengths[n] for n in row) for row in rows
        )


def test_full_rows_are_not_the_first_ones(tmp_path: Path) -> None:
    rows = [{"prompt": "a" * (n % 7 + 1 if n % 2 else 40), "completion": "b"} for n in range(120)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = texts.find(tmp_path, conversations=True)
    form = chat.Format(BYTES, "chatml")
    (only,) = islice(packed.Packed(found, BYTES, form, 85, 80, seed=0), 1)
    several = np.flatnonzero(only.talks.max(axis=1) > 1)
    assert 36 < several.mean() < 49  # of 85; 30 where rows stand by their first conversation

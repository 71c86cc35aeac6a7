"""The records of a run."""

import json
from pathlib import Path

import numpy as np

from jfl.files.documents import tidy
from jfl.files.strict_json import plain
from jfl.runs import folder
from jfl.runs.journal import LARGEST_INLINE, Journal


def test_what_is_written_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(1, {"loss": np.float32(0.5), "per_client": np.array([1.0, np.nan]), "ids": [3]})
    journal.write(2, {"loss": float("inf")})
    first, second = journal.records()
    assert first == {"round": 1, "loss": 0.5, "per_client": [1.0, None], "ids": [3]}
    assert second == {"round": 2, "loss": None}


def test_cut_drops_later_rounds_and_a_torn_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in (1, 2, 3):
        journal.write(number, {"loss": 1 / 3 * number})
        journal.time(number, {"seconds": 1.0})
    straight = (tmp_path / "journal.jsonl").read_bytes()
    journal.cut(2)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"round": 3, "lo')
    assert [r["round"] for r in journal.records()] == [1, 2]
    journal.cut(2)
    assert [r["round"] for r in journal.timing()] == [1, 2]
    journal.write(3, {"loss": 1 / 3 * 3})
    assert (tmp_path / "journal.jsonl").read_bytes() == straight


def test_large_arrays_go_to_a_file_of_their_round(tmp_path: Path) -> None:
    journal, large = Journal(tmp_path), np.arange(LARGEST_INLINE + 1.0)
    for number in (1, 2):
        journal.write(number, {"affinity": large * number, "loss": 0.0})
    assert journal.records()[0] == {"round": 1, "loss": 0.0, "arrays": ["affinity"]}
    with np.load(tmp_path / "arrays" / "2.npz") as arrays:
        np.testing.assert_array_equal(arrays["affinity"], 2 * large)
    journal.cut(1)
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == ["1.npz"]


def test_folders_are_never_reused(tmp_path: Path) -> None:
    made = [folder.new(tmp_path, "run") for _ in range(3)]
    assert len(set(made)) == 3
    assert [path.name.rsplit("-", 1)[1] for path in made] == ["1", "2", "3"]


def test_plain_values_are_valid_json() -> None:
    mixed = {"a": (np.int64(1), [np.nan, {"b": np.array([[1.5]])}]), 3: True}
    assert json.loads(json.dumps(plain(mixed), allow_nan=False)) == {
        "a": [1, [None, {"b": [[1.5]]}]],
        "3": True,
    }


def test_half_written_files_of_a_killed_process_are_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in (".status.json.123", ".curves.png.9", ".lock", "status.json", ".hidden.txt"):
        (tmp_path / name).touch()
    tidy(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden.txt", ".lock", "status.json"]

"""TensorBoard's events, read back byte by byte as TensorBoard reads them."""

import errno
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog

from jfl.federated.pages.view import FederatedView
from jfl.report.tensorboard import Events
from jfl.runs import kinds
from tests.command_line import ENVIRONMENT, ROUNDS, copied, journal, straight, warm

TAGS = FederatedView(kinds.asked({})).tags()


def masked(data: bytes) -> int:
    checksum = crc32c(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(path: Path) -> list[Event]:
    """Reads a file of records: length, its checksum, event, its checksum."""
    rest, found = path.read_bytes(), []
    while rest:
        (length, length_sum), body = struct.unpack("<QI", rest[:12]), rest[12:]
        assert masked(rest[:8]) == length_sum
        assert struct.unpack("<I", body[length : length + 4]) == (masked(body[:length]),)
        found.append(Event.FromString(body[:length]))
        rest = body[length + 4 :]
    return found


def shown(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: (step, value) per tag, without what a later start purges."""
    scalars: dict[str, list[tuple[int, float]]] = {}
    for path in sorted((run / "tensorboard").iterdir()):
        first, *others = events(path)
        assert first.file_version == "brain.Event:2"
        for event in others:
            if event.session_log.status == SessionLog.START:
                for tag, points in scalars.items():
                    scalars[tag] = [point for point in points if point[0] < event.step]
            for value in event.summary.value:
                scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    return scalars


def test_every_round_is_on_the_disk_within_a_second_and_before_a_checkpoint(tmp_path):
    with Events(tmp_path, 0, TAGS, pytest.fail) as written:
        written.add(1, {"train_loss": 0.5, "test_accuracy": None, "cohort": [1, 2]})
        assert shown(tmp_path) == {"train/loss": [(1, 0.5)]}
        written.add(2, {"train_loss": 0.25, "test_accuracy": 0.75, "seconds": 2})
        written.flush()
        assert shown(tmp_path) == {
            "train/loss": [(1, 0.5), (2, 0.25)],
            "test/accuracy": [(2, 0.75)],
            "cost/seconds": [(2, 2.0)],
        }


def test_a_run_shows_its_journal(tmp_path):
    records, scalars = journal(straight()), shown(straight())

    assert scalars.keys() >= set(TAGS.values()) - {"cost/tokens_per_second"}
    for name in ("train_loss", "test_accuracy", "test_accuracy_worst10", "valid_accuracy"):
        expected = [(r["round"], pytest.approx(r[name], rel=1e-6)) for r in records]
        assert scalars[TAGS[name]] == expected
    timing = [json.loads(x) for x in (straight() / "timing.jsonl").read_text().splitlines()]
    rates = [pytest.approx(t["samples"] / t["train_seconds"], rel=1e-6) for t in timing]
    assert [rate for _, rate in scalars["cost/samples_per_second"]] == rates


def test_a_resumed_run_shows_no_round_twice(tmp_path):
    run = copied(tmp_path, saved=(ROUNDS - 1,))
    torn = next((run / "tensorboard").iterdir())
    before = torn.read_bytes()
    done = warm("train", "--resume", str(run), cwd=tmp_path)

    assert done.code == 0, done.err
    assert torn.read_bytes() == before
    assert len(list((run / "tensorboard").iterdir())) == 2
    scalars = shown(run)
    assert scalars["test/accuracy"] == shown(straight())["test/accuracy"]
    for points in scalars.values():
        assert [step for step, _ in points] == list(range(1, ROUNDS + 1))


def test_a_run_goes_on_where_events_cannot_be_written(tmp_path):
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    notes = []
    with Events(tmp_path, 0, TAGS, notes.append) as written:
        written.add(1, {"train_loss": 0.5})

    (note,) = notes
    assert note.startswith("no events for TensorBoard from here on: ")


@pytest.mark.parametrize(("number", "ends"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_only_a_full_disk_ends_a_run(tmp_path, monkeypatch, number, ends):
    notes = []
    with Events(tmp_path, 0, TAGS, notes.append) as written:

        def fail() -> None:
            raise OSError(number, "no more")

        monkeypatch.setattr(written._file, "flush", fail)
        if ends:
            with pytest.raises(OSError, match="no more"):
                written.add(1, {"train_loss": 0.5})
        else:
            written.add(1, {"train_loss": 0.5})
            written.add(2, {"train_loss": 0.5})

    assert len(notes) == (not ends)


def test_without_tensorboardx_there_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.proto", None)
    notes = []
    with Events(tmp_path, 0, TAGS, notes.append) as written:
        written.add(1, {"train_loss": 0.5})

    assert len(notes) == 1
    assert not (tmp_path / "tensorboard").exists()


def test_torch_is_not_imported_for_it(tmp_path):
    code = f"""
import sys
from pathlib import Path
from jfl.report.tensorboard import Events
before = "tensorboardX" in sys.modules
with Events(Path({str(tmp_path)!r}), 0, {{}}, print):
    print(before, sorted({{"torch", "tensorflow", "tensorboardX"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "False ['tensorboardX']\n"

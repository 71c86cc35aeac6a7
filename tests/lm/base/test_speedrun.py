"""The ready experiment for two cores: better than counting, and its texts are its own.

The training takes ten minutes of two quiet cores. JFL_SPEEDRUN=RUN measures one that is there.
"""

import os
from pathlib import Path

import pytest

pytest.importorskip("rustbpe")

from jfl.lm import named, opened
from jfl.lm.data import source
from tests.command_line import jfl
from tests.lm import quality


def test_quality_is_measured_by_hand():
    trained = "the cat sat on the mat and the dog sat on the cat"
    found = quality.of(["x the cat sat on the zebra x", "x on the mat on the mat x"], trained)
    assert found.known == pytest.approx(11 / 12)
    assert found.copied == len(" the cat sat on the ") - 1
    assert found.distinct == pytest.approx(7 / 10)
    assert quality.longest("zzz", trained) == 0


@pytest.mark.release
def test_ten_minutes_of_two_cores_beat_counting(tmp_path):
    run = os.environ.get("JFL_SPEEDRUN")
    if run is None:
        done = jfl("lm", "base-train", "speedrun_cpu", "--json", cwd=tmp_path, timeout=7200)
        assert done.code == 0, done.err
        run = str(tmp_path / done.answer["run"])
    place = Path(run).resolve().parents[2]
    measured = jfl("lm", "base-loss", run, "--baselines", "--json", cwd=place, timeout=1200).answer
    found = opened.opened(named.named(run, None, None, None, "outputs"))
    os.chdir(place)
    assert found.config is not None
    train, _ = source.find(found.config.data)
    text = "\n".join(str(document.content) for document in train.documents())
    told = quality.of(quality.drawn(opened.network(found), 20, 100, 0), text)
    print(measured, told)  # noqa: T201 - for docs/results.md, with -s
    assert measured["valid_bpb"] <= measured["baselines"]["byte_trigram"] - 0.3
    assert told.known >= 0.9
    assert told.copied <= 60
    assert told.distinct > 0.5

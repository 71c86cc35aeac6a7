"""`jfl lm base-train` and `base-loss` as people run them."""

import signal
import time

import pytest

pytest.importorskip("rustbpe")

from tests.command_line import begin, end, jfl
from tests.lm import base_runs


def only(folder):
    (run,) = folder.glob("outputs/tiny/*")
    return run


@pytest.mark.slow
def test_killed_and_resumed_it_ends_in_the_same_bits(tmp_path):
    (tmp_path / "other.py").write_text("depth = 1\nmatrix_lr = 0.03\nuse_dummy_wandb = True\n")
    ran = []
    for name in ("straight", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        path = base_runs.config(folder)
        words = "lm", "base-train", path, "../other.py", "--num_iterations=40"
        if name == "straight":
            done = jfl(*words, "--json", cwd=folder)
            assert done.code == 0, done.err
            assert "note: use_dummy_wandb" in done.err
            assert done.answer["steps"] == 40
        else:
            process = begin(*words, cwd=folder)
            until = time.monotonic() + 120
            while not list(folder.glob("outputs/*/*/checkpoints/4")):
                assert process.poll() is None, end(process).err
                assert time.monotonic() < until
                time.sleep(0.01)
            process.kill()
            assert end(process).code == -signal.SIGKILL
            done = jfl("train", "--resume", str(only(folder)), "--json", cwd=folder)
            assert done.code == 0, done.err
        ran.append((only(folder), done.answer))
    (run, straight), (other, killed) = ran
    assert (run / "journal.jsonl").read_bytes() == (other / "journal.jsonl").read_bytes()
    assert straight["params_sha256"] == killed["params_sha256"]

    folder = tmp_path / "straight"
    found = jfl("lm", "base-loss", f"--base_checkpoint={run}", "--json", cwd=folder)
    assert found.code == 0, found.err
    assert found.answer["valid_bpb"] == pytest.approx(straight["bpb"])
    assert 0 < found.answer["train_bpb"] < 4
    assert jfl("lm", "base-loss", cwd=folder).error.startswith("name a run, as in ")
    assert "bpb" in jfl("eval", str(run), "--json", cwd=folder).answer


def test_a_dry_run_trains_nothing(tmp_path):
    words = "lm", "base-train", base_runs.config(tmp_path), "depth=2", "--dry-run", "--json"
    done = jfl(*words, cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.answer["parameters"] == 2 * 290 * 128 + 12 * 2 * 128**2
    assert not (tmp_path / "outputs").exists()

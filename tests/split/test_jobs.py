"""Clients and servers are runs of the house: in the background, listed, read, stopped."""

import time
from pathlib import Path

import pytest

from jfl.runs import lock, overview
from tests import command_line
from tests.split import processes, servers

pytestmark = pytest.mark.slow


def warm(place: Path, *words: str) -> command_line.Done:
    done = command_line.warm(*words, cwd=place)
    assert done.code == 0, done.err
    return done


def test_both_ends_as_runs(tmp_path: Path) -> None:
    model = ["--model", str(servers.model()), "--cut", "1", "3", "--device", "cpu"]
    begun = command_line.jfl("split", "serve", *model, "--port", "0", "--detach", cwd=tmp_path)
    assert begun.code == 0, begun.err
    late = time.monotonic() + 120
    while not (found := sorted(tmp_path.glob("outputs/split-server/*/address.json"))):
        assert time.monotonic() < late
        time.sleep(0.05)
    server = found[0].parent
    try:
        address = found[0].read_text().split('"address": "')[1].split('"')[0]
        train = [
            "split", "train", *model, "--tokenizer", "bytes", "--max-length", "7", "--server",
            address, "--trunk", "own", "--wire", "bf16", "--detach", "checkpoint.every=3",
        ]  # fmt: skip
        begun = command_line.jfl(*train, cwd=tmp_path)
        assert begun.code == 0, begun.err
        client = processes.until(tmp_path, "outputs/split/*", 10)
        while not overview.closed(client) or lock.holder(client) is not None:
            assert time.monotonic() < late
            time.sleep(0.05)
        listed = {row["run"]: row for row in warm(tmp_path, "runs", "--json").answer["items"]}
        states = {Path(run).parent.name: row["state"] for run, row in listed.items()}
        assert states == {"split-server": "running", "split": "finished"}
        assert "epoch 1: loss mean" in warm(tmp_path, "logs", str(client)).out
        assert "listens at" in warm(tmp_path, "logs", str(server)).out
    finally:
        stopped = command_line.warm("stop", str(server), cwd=tmp_path)
    assert stopped.code == 0, stopped.err
    assert processes.told(server)["answered"] > 10 * 3
    told = processes.told(client)
    assert told["saved"] == [f"lora_checkpoints/{part}_lora" for part in ("bottom", "trunk", "top")]
    assert told["first_loss"] >= told["lowest_loss"] > 0
    seen = warm(tmp_path, "inspect", str(client), "--verify", "--json").answer
    assert seen["verified"]
    assert any(tensor["path"].endswith("lora.b") for tensor in seen["tensors"])
    for run in (client, server):
        warm(tmp_path, "report", str(run))
        page = (run / "report.html").read_text(encoding="utf-8")
        assert run.parent.name in page
    again = warm(tmp_path, "split", "train", "--resume", str(client), "--json").answer
    assert again["params_sha256"] == told["params_sha256"]  # it is finished: the result once more
    refused = command_line.warm(
        "split", "train", "--resume", str(client), "batch_size=4", cwd=tmp_path
    )
    assert refused.code == 2
    assert "batch_size" in refused.error

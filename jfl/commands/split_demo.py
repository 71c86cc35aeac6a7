"""`jfl split demo`: a server and a client as two processes."""

import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from jfl.commands import split
from jfl.errors import JflError

_PATIENCE = 300.0
"""Seconds in which the server must listen."""


def run(flags: dict[str, Any]) -> int:
    """Runs both; the server ends with the client, however that ends."""
    from jfl.report.screen import Screen
    from jfl.runs import detach

    screen = Screen(stderr=flags["as_json"])
    common = [*(["--device", flags["device"]] if flags["device"] else [])]
    served = {key: flags[key] for key in ("model", "cut")}
    trunk = "own" if flags["trunk"] in (None, "frozen") else flags["trunk"]
    if flags["save_dir"] is None:
        flags["save_dir"] = "lora_checkpoints"
    with tempfile.TemporaryDirectory(prefix="jfl-split-") as place:
        words = [
            "split", "serve", "--port", "0", "--trunk", trunk, "--out", place, *common,
            "--state", str(Path(place) / "state"), *split.changes(served), "--json",
        ]  # fmt: skip
        log = Path(place) / "server.txt"
        with log.open("w") as file:
            server = subprocess.Popen(
                detach.command(words), stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )
        try:
            address = _address(server, Path(place), log)
            screen.say(f"server: process {server.pid}, {address}")
            given = split.changes(flags | {"server": address})
            words = ["split", "train", "--out", flags["out"], *common, *given]
            words += ["--json"] if flags["as_json"] else []
            client = subprocess.Popen(detach.command(words))
            code = _waited(client)
        finally:
            server.send_signal(signal.SIGTERM)
            ended = server.wait(60)
        answered = _last(log).get("answered", 0)
        screen.say(f"server: answered {answered} calls, stopped with {ended}")
    return code


def _address(server: subprocess.Popen[bytes], place: Path, log: Path) -> str:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        for path in place.glob("*/*/address.json"):
            return json.loads(path.read_text(encoding="utf-8"))["address"]
        if server.poll() is not None:
            break
        time.sleep(0.1)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = next((line for line in lines if line.startswith("jfl: ")), "it did not listen in time")
    raise JflError(f"the server did not start: {said.removeprefix('jfl: ')}")


def _waited(client: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return client.wait()
        except KeyboardInterrupt:  # the client has it too, saves and ends
            continue


def _last(log: Path) -> dict[str, Any]:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}

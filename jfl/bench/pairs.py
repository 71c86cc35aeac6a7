"""Runs cases: jfl and the reference in processes of their own, which take turns."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jfl.bench.cases import AnyCase, SplitStep
from jfl.errors import UsageError
from jfl.files.strict_json import dumps

REFERENCES = Path(__file__).parents[2] / "tests" / "reference"
"""Where a checkout has the lean PyTorch versions; a wheel does not have them."""


class Worker:
    """A process that works once whenever it is asked to."""

    def __init__(self, process: "subprocess.Popen[str]", what: str) -> None:
        self._process, self._what = process, what
        self.facts = self._read()

    def once(self) -> dict[str, Any]:
        """Has the work done once and returns what the process says of it."""
        assert self._process.stdin
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; what it said last is asked for now
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{") or line == "ready\n":
                return json.loads(line) if line.startswith("{") else {}
        said = Path(self._what).with_suffix(".err").read_text(encoding="utf-8").strip()
        reason = said.split("\n")[-1] or f"exit code {self._process.wait()}"
        raise UsageError(f"the bench of {Path(self._what).stem} ended early: {reason}")


@contextmanager
def worker(command: Sequence[str], spec: dict[str, Any], place: Path) -> Iterator[Worker]:
    """Starts a process on a spec, and ends it."""
    place.write_text(dumps(spec), encoding="utf-8")
    with place.with_suffix(".err").open("w") as errors:
        process = subprocess.Popen(
            [*command, str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    try:
        yield Worker(process, str(place))
    finally:
        process.kill()
        process.communicate()


def run(
    cases: Sequence[AnyCase],
    device: str | None,
    *,
    say: Callable[[str], None],
    data_settings: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Returns one row per case, measured in turns with the reference where there is one."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as processes:
        spec = {"module": "peak", "device": device}
        peak = processes.enter_context(worker(_own(), spec, Path(scratch) / "peak.json"))
        rows = []
        for number, case in enumerate(cases):
            say(f"{number + 1}/{len(cases)}  {case.name}, {case.size}")
            place = Path(scratch) / f"{number}-{case.name.replace('/', '-')}.json"
            rows.append(_row(case, peak, place, device, data_settings))
        return rows


def _own() -> list[str]:
    return [sys.executable, "-P", "-m", "jfl.bench.worker"]


def _row(
    case: AnyCase,
    peak: Worker,
    place: Path,
    device: str | None,
    data_settings: Sequence[str],
) -> dict[str, Any]:
    script = REFERENCES / case.script if case.script else None
    compared = script is not None and script.is_file() and find_spec("torch") is not None
    arrays = str(place.with_suffix(".npz"))
    spec = case.spec(data_settings, arrays if compared else None)
    with ExitStack() as processes:
        shared = {"device": device, "folder": str(place.parent), **spec}
        told = {"module": case.module, **shared}
        ours = processes.enter_context(worker(_own(), told, place))
        theirs = None
        if isinstance(case, SplitStep):  # in turns with jfl's own network in one piece
            told = {"module": case.beside, **shared}
            place = place.with_name(f"{place.stem}-{case.beside}.json")
            theirs = processes.enter_context(worker(_own(), told, place))
        elif compared:
            command, asked = [sys.executable, str(script)], case.asked(ours.facts, arrays)
            place = place.with_name(f"{place.stem}-torch.json")
            theirs = processes.enter_context(worker(command, asked, place))
        replies, reference, peaks = [], [], []
        for _ in range(case.pairs):
            peaks.append(peak.once())
            replies.append(ours.once())
            if theirs:
                reference.append(theirs.once())
    return _summary(case, ours.facts, replies, reference, peaks)


def _summary(
    case: AnyCase,
    facts: dict[str, Any],
    replies: Sequence[dict[str, Any]],
    reference: Sequence[dict[str, Any]],
    peaks: Sequence[dict[str, float]],
) -> dict[str, Any]:
    parts, at_once = facts.get("parts", 1), facts.get("at_once", 1)
    seconds = [reply["seconds"] / parts for reply in replies]
    theirs = [reply["seconds"] * at_once / parts for reply in reference]
    ratios = [b / a for a, b in zip(seconds, theirs, strict=False)]
    median = statistics.median(seconds)
    bound = "bytes" if "bytes" in facts else "flops"
    # of cards that are known by their data sheets: a share of that is what others call MFU
    peak = facts.get("peak_flops") or max(peak[bound] for peak in peaks)
    return {
        "name": case.name,
        "backend": facts["backend"],
        "size": case.size,
        "embedded": facts["embedded"],
        "plan": facts["plan"],
        "seconds": median,
        "reference": case.beside or (("torch" if reference else "absent") if case.script else None),
        "reference_seconds": statistics.median(theirs) if theirs else None,
        "speedup": statistics.median(ratios) if ratios else None,
        "speedup_range": [min(ratios), max(ratios)] if ratios else None,
        "peak_fraction": facts[bound] / median / peak,
        f"peak_{bound}": peak,
        "reference_peak_flops": max((r.get("peak_flops", 0) for r in reference), default=0) or None,
        "peak_rss_mb": replies[-1]["peak_rss_mb"],
        "padding": facts["padding"],
    } | _wire(replies)


def _wire(replies: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns, of steps across a wire, its share of their time, and its speed beside gRPC alone."""
    if "wire_seconds" not in replies[0]:
        return {}
    shares = [reply["wire_seconds"] / reply["seconds"] for reply in replies]
    speeds, raw = ([reply["wire_bytes"] / reply[f"{of}_seconds"] / 1e6 for reply in replies]
                   for of in ("wire", "raw"))  # fmt: skip
    return {
        "wire_share": statistics.median(shares),
        "wire_bytes": replies[-1]["wire_bytes"],
        "wire_mb_per_second": statistics.median(speeds),
        "raw_mb_per_second": statistics.median(raw),
    }


def tuned(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the yaml of the plan whose local step was the fastest."""
    steps = [row for row in rows if row["name"].count("/") == 2 and row["name"].startswith("step/")]
    totals: dict[str, float] = {}
    for row in steps:
        variant = row["name"].split("/")[2]
        totals[variant] = totals.get(variant, 0.0) + row["seconds"]
    if not totals:
        raise UsageError("--tune needs the suite step, which measures every plan")
    loop, lowering = min(totals, key=lambda name: totals[name]).split("-")
    plan = f"plan: {{loop: {loop}, lowering: {lowering}}}"
    return f"# the fastest local steps on this machine, by jfl bench\n{plan}\n"

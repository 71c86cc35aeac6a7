"""A run from start to end: made or resumed, watched, interrupted or finished, summed up."""

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax
from rich.console import Console
from rich.panel import Panel

from jfl import experiment as experiments
from jfl import federate
from jfl import folder as folders
from jfl import mesh as meshes
from jfl.checkpoint import check_space, needed_bytes
from jfl.errors import DataError, JflError, UsageError
from jfl.experiment import Experiment
from jfl.federation import Federation, prepare
from jfl.folder import RunFolder
from jfl.report import summary, tables
from jfl.report.journal import Journal, new_folder, plain, write_text
from jfl.report.progress import RunProgress

INTERRUPTED = 130


def start(
    names: Sequence[str],
    changes: Sequence[str],
    console: Console,
    *,
    out: str = "outputs",
    device: str | None = None,
    dry_run: bool = False,
) -> tuple[dict[str, Any], int]:
    """Starts a new run.

    Returns:
        Its summary and exit code: 0 done, 130 interrupted.

    Raises:
        JflError: whatever is wrong, before a folder is made where that can be known.
    """
    experiment = experiments.load(names, changes)
    _start_jax(experiment, device, experiment.plan.devices or meshes.cores())
    clock = CompileClock()
    federation = prepare(experiment)
    _introduce(federation, console)
    needed = _disk_needs(federation)
    if dry_run:
        console.print(f"checkpoints take up to {needed / 2**20:,.0f} MiB; nothing was trained")
        return _dry_summary(federation, needed), 0
    path = new_folder(Path(out), experiment.name)
    try:
        check_space(path, needed)
        folder = folders.fill(path, federation)
    except JflError:
        _remove_empty(path)
        raise
    console.print(f"run folder: {path}", soft_wrap=True, highlight=False)
    with folder.held():
        return _train(federation, folder, console, clock, None)


def resume(
    path: str,
    changes: Sequence[str],
    console: Console,
    *,
    device: str | None = None,
    replan: bool = False,
    dry_run: bool = False,
) -> tuple[dict[str, Any], int]:
    """Goes on from a run's last good checkpoint; a finished run prints its result again.

    Raises:
        JflError: it cannot go on, or not as it was.
    """
    folder = RunFolder(Path(path))
    experiment = folders.changed_experiment(folder, changes)
    finished = _finished(folder, experiment)
    if finished is not None:
        console.print(tables.result_table(f"{path} is finished", finished))
        return finished, 0
    plan = folder.plan
    _start_jax(experiment, device or plan.backend, plan.devices)
    clock = CompileClock()
    if not replan:
        folders.check_plan(plan)
    with folder.held():
        federation = prepare(experiment, folder.partition, None if replan else plan)
        if federation.dataset.sha256 != folder.environment["data"]["sha256"]:
            raise DataError(f"the data of {path} have changed since it started; put back the old")
        _introduce(federation, console)
        last, warnings = folder.checkpoints.newest_good()
        for warning in warnings:
            console.print(f"warning: {warning}", soft_wrap=True, highlight=False)
        where = "there is no checkpoint yet: it starts again" if last is None else f"round {last}"
        console.print(f"resumes {path}: {where}", soft_wrap=True, highlight=False)
        if dry_run:
            return _dry_summary(federation, 0), 0
        if replan:
            Journal(folder.path).cut(last or 0)
            Journal(folder.path).write(last or 0, {"replanned": federation.plan.describe()})
            write_text(folder.path / "plan.json", federation.plan.to_json())
        return _train(federation, folder, console, clock, last)


def _train(
    federation: Federation,
    folder: RunFolder,
    console: Console,
    clock: "CompileClock",
    resume_from: int | None,
) -> tuple[dict[str, Any], int]:
    experiment, path = federation.experiment, folder.path
    with stop_signals() as stopped:
        folder.write_status(state="running", round=resume_from or 0, rounds=experiment.rounds)
        try:
            with RunProgress(console, experiment.rounds, resume_from or 0) as progress:
                watch = _Watch(folder, experiment.rounds, progress, stopped)
                outcome = federate.run(federation, path, watch, resume_from)
        except BaseException as error:
            reached = max((r["round"] for r in Journal(path).records()), default=0)
            folder.write_status(
                state="failed", round=reached, rounds=experiment.rounds, error=str(error)
            )
            raise
        result = _summary(federation, path, outcome, clock)
        interrupted = outcome.round < experiment.rounds
        state = "interrupted" if interrupted else "finished"
        pictures = summary.draw(path, folders.title(federation))
        if not interrupted:
            write_text(path / "result.json", json.dumps(result, indent=1))
        folder.write_status(state=state, round=outcome.round, rounds=experiment.rounds)
    title = f"{folders.title(federation)}, round {outcome.round}"
    console.print(tables.result_table(title, result))
    shown = ", ".join(picture.name for picture in [path / "partition.png", *pictures])
    console.print(f"in {path}: {shown}, journal.jsonl", soft_wrap=True, highlight=False)
    if interrupted:
        console.print(
            f"saved after round {outcome.round}; go on with: jfl train --resume {path}",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    return result, INTERRUPTED if interrupted else 0


def _start_jax(experiment: Experiment, device: str | None, cpu_devices: int) -> None:
    if experiment.train.deterministic:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = flags.strip()
    meshes.start(device, cpu_devices)


def _introduce(federation: Federation, console: Console) -> None:
    dataset = federation.dataset
    if dataset.embedded:
        words = (
            f"{dataset.name} is not on this machine, so this run uses the 1,797 real handwritten "
            f"digits that come with scikit-learn: digits, not {dataset.name}. For the real thing "
            "give --data-dir."
        )
        console.print(Panel(words, title="embedded data", title_align="left", width=90))
    for note in federation.notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False)
    sizes = folders.data_record(federation)
    console.print(
        f"{federation.experiment.algorithm.name} on {dataset.title}: "
        f"{federation.experiment.clients} clients, {federation.experiment.cohort_size} a round, "
        f"{sizes['train_samples']}/{sizes['valid_samples']}/{sizes['test_samples']} samples to "
        f"train/validate/test, seed {federation.experiment.seed}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    console.print(f"plan: {federation.plan.describe()}", soft_wrap=True, highlight=False)


def _disk_needs(federation: Federation) -> int:
    state = jax.eval_shape(lambda: federation.initial()._asdict())
    return needed_bytes(state, federation.experiment.checkpoint, federation.experiment.rounds)


def _dry_summary(federation: Federation, disk: int) -> dict[str, Any]:
    return {
        "plan": json.loads(federation.plan.to_json()),
        "parameters": federation.model_bytes // 4,
        "checkpoint_bytes": disk,
        "clients": federation.experiment.clients,
        "cohort": federation.experiment.cohort_size,
        "rounds": federation.experiment.rounds,
        "data": folders.data_record(federation),
    }


def _finished(folder: RunFolder, experiment: Experiment) -> dict[str, Any] | None:
    """Returns the result of a run that is done with all the rounds asked for."""
    path = folder.path / "result.json"
    if not path.is_file():
        return None
    result = json.loads(path.read_text(encoding="utf-8"))
    return result if result["rounds"] >= experiment.rounds else None


def _summary(
    federation: Federation, path: Path, outcome: federate.Outcome, clock: "CompileClock"
) -> dict[str, Any]:
    experiment = federation.experiment
    known = {
        "run": str(path),
        "algorithm": experiment.algorithm.name,
        "clients": experiment.clients,
        "cohort": experiment.cohort_size,
        "seed": experiment.seed,
        "compile_seconds": round(clock.seconds, 3),
        "params_sha256": outcome.params_sha256,
        "data": folders.data_record(federation),
    }
    return plain(known | summary.summarise(path))


def _remove_empty(path: Path) -> None:
    for leftover in path.iterdir():
        leftover.unlink()
    path.rmdir()


class _Watch(federate.Watch):
    """Shows a run's rounds and keeps its status file true."""

    def __init__(
        self, folder: RunFolder, rounds: int, progress: RunProgress, stopped: threading.Event
    ) -> None:
        self._folder, self._rounds = folder, rounds
        self._progress, self._stopped = progress, stopped

    def round_done(self, number: int, record: Mapping[str, Any], rate: float) -> None:
        self._progress.update(number, plain(record), rate)
        self._folder.write_status(
            state="running", round=number, rounds=self._rounds, samples_per_second=rate
        )

    def note(self, text: str) -> None:
        self._progress.note(text)

    def stop(self) -> bool:
        return self._stopped.is_set()


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turns Ctrl-C and SIGTERM into a wish to stop after the round; a second one stops at once."""
    wish = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if wish.is_set():
            raise KeyboardInterrupt
        wish.set()

    before = {s: signal.signal(s, on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class CompileClock:
    """Counts the seconds JAX compiles, from its making on."""

    def __init__(self) -> None:
        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds += duration_secs


def check_arguments(names: Sequence[str], resume_path: str | None) -> None:
    """Refuses neither or both of configs and --resume.

    Raises:
        UsageError: with the remedy.
    """
    if resume_path is None and not names:
        raise UsageError("give a config, as in `jfl train tiny_fomo`, or --resume RUN")
    if resume_path is not None and names:
        raise UsageError(f"--resume takes the config of the run; leave out {names[0]}")

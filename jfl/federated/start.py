"""A run from start to end: made or resumed, watched, interrupted or finished, summed up."""

import json
import os
import shlex
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
from rich.panel import Panel

from jfl import config as configs
from jfl import mesh as meshes
from jfl import plugins
from jfl.errors import CheckpointError, UsageError
from jfl.federated import experiment as experiments
from jfl.federated import federate
from jfl.federated import folder as folders
from jfl.federated.experiment import Experiment
from jfl.federated.federation import Federation, prepare
from jfl.federated.folder import RunFolder
from jfl.files import documents
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps, plain
from jfl.report import summary, tables
from jfl.report.pages import page
from jfl.report.progress import RunProgress
from jfl.report.screen import Screen
from jfl.report.tensorboard import Events
from jfl.runs import compiled, detach, overview, seal, small_files
from jfl.runs.checkpoint import check_space, needed_bytes
from jfl.runs.compiled import CompileClock
from jfl.runs.interrupt import stop_signals
from jfl.runs.journal import Journal, new_folder
from jfl.runs.lock import hold

INTERRUPTED = 130
ROOM = "what was saved before is kept: make room and go on with --resume"


def start(
    names: Sequence[str],
    changes: Sequence[str],
    screen: Screen,
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
    _introduce(federation, screen)
    needed = _disk_needs(federation)
    if dry_run:
        screen.say(f"checkpoints take up to {needed / 2**20:,.0f} MiB; nothing was trained")
        return _dry_summary(federation, needed), 0
    path = new_folder(Path(out), experiment.name)
    try:
        check_space(path, needed)
        with folders.writing(path, "make room or give another --out"):
            folder = folders.fill(path, federation)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    with hold(path):
        screen.keep_log(path / "log.txt")
        screen.say(f"run folder: {path}")
        detach.announce(str(path))
        return _train(federation, folder, screen, clock, None)


def resume(
    path: str,
    changes: Sequence[str],
    screen: Screen,
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
    seal.check(folder.path, without=("plan.json",))  # which is honoured, or made anew
    experiment = folders.changed_experiment(folder, changes)
    finished = _finished(folder, experiment)
    if finished is not None:
        seal.check(folder.path)
        _close(folder, finished, dry_run=dry_run)
        screen.say(tables.result_table(f"{path} is finished", finished))
        return finished, 0
    plan = None if replan else folder.plan
    if plan is None:
        _start_jax(experiment, device, experiment.plan.devices or meshes.cores())
    else:
        try:
            _start_jax(experiment, device or plan.backend, plan.devices)
        except UsageError as error:
            if device:
                raise
            there = f"the run was planned on {plan.backend}, which is not here"
            raise UsageError(f"{there}; {folders.REPLAN}") from error
        folders.check_plan(plan)
        seal.check(folder.path)
    clock = CompileClock()
    with hold(folder.path):
        if not dry_run:
            folder.tidy()
            screen.keep_log(folder.path / "log.txt")
        federation = prepare(experiment, folder.partition, plan)
        folders.check_data(folder, federation)
        if plugins.fingerprint() != folder.environment.get("plugins", {}):
            screen.say("warning: the plugins have changed since the run started")
        _introduce(federation, screen)
        last = _last_good(folder, screen)
        if dry_run:
            return _dry_summary(federation, 0), 0
        detach.announce(path)
        with folders.writing(folder.path, ROOM):
            # a resume that is itself interrupted must know what this one was asked for; the status
            # comes first, or a finished run would seem to have done all rounds it now asks for
            folder.write_status(state="running", round=last or 0, rounds=experiment.rounds)
            seal.adopt(folder.path)
            seal.replace(folder.path, seal.CONFIG, configs.dump(experiment))
            if replan:
                Journal(folder.path).cut(last or 0)
                Journal(folder.path).write(last or 0, {"replanned": federation.plan.describe()})
                seal.replace(folder.path, "plan.json", federation.plan.to_json())
        return _train(federation, folder, screen, clock, last)


def _last_good(folder: RunFolder, screen: Screen) -> int | None:
    """Returns the round to go on from, None where nothing was saved yet.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    last, warnings = None, []
    for number in reversed(folder.checkpoints.rounds()):
        problems = seal.problems(folder.path, number)
        if not problems:
            last = number
            break
        warnings.append(f"checkpoint {number} is skipped: {problems[0]}")
    for warning in warnings:
        screen.say(f"warning: {warning}")
    if last is None and warnings:
        raise CheckpointError(
            f"every checkpoint of {folder.path} is damaged ({warnings[0]}): put back a copy of "
            f"one, or start again with jfl train {shlex.quote(str(folder.path / 'config.yaml'))}"
        )
    where = "there is no checkpoint yet: it starts again" if last is None else f"round {last}"
    screen.say(f"resumes {folder.path}: {where}")
    return last


def _train(
    federation: Federation,
    folder: RunFolder,
    screen: Screen,
    clock: CompileClock,
    resume_from: int | None,
) -> tuple[dict[str, Any], int]:
    experiment, path = federation.experiment, folder.path
    with stop_signals() as stopped, _failure_noted(folder, screen), folders.writing(path, ROOM):
        folder.write_status(state="running", round=resume_from or 0, rounds=experiment.rounds)
        done = resume_from or 0
        with (
            RunProgress(screen, experiment.rounds, done) as progress,
            Events(path, done, progress.note) as events,
        ):
            watch = _Watch(folder, experiment.rounds, progress, events, stopped)
            outcome = federate.run(federation, path, watch, resume_from)
        result = _summary(federation, path, outcome, clock)
        interrupted = outcome.round < experiment.rounds
        state = "interrupted" if interrupted else "finished"
        if not interrupted:
            write_text(path / "result.json", dumps(result, indent=1), durable=True)
        written = page.write(path)
        folder.write_status(state=state, round=outcome.round, rounds=experiment.rounds)
    title = f"{folders.title(federation)}, round {outcome.round}"
    screen.say(tables.result_table(title, result))
    shown = ", ".join(file.name for file in written)
    screen.say(f"in {path}: {shown}, partition.png, journal.jsonl")
    if interrupted:
        command = f"jfl train --resume {shlex.quote(str(path))}"
        screen.say(f"saved after round {outcome.round}; go on with: {command}")
    return result, INTERRUPTED if interrupted else 0


@contextmanager
def _failure_noted(folder: RunFolder, screen: Screen) -> Iterator[None]:
    """Leaves word of what ended a run in its status and log."""
    try:
        yield
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = str(error) or "at once, by a second signal"
        screen.log(f"{state}: {reason}")
        reached = max((r["round"] for r in Journal(folder.path).records()), default=0)
        with suppress(OSError):
            folder.write_status(state=state, round=reached, error=reason)
        raise


def _start_jax(experiment: Experiment, device: str | None, cpu_devices: int) -> None:
    if experiment.train.deterministic:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = flags.strip()
    meshes.start(device, cpu_devices)
    if experiment.data.cache:
        compiled.keep()


def _introduce(federation: Federation, screen: Screen) -> None:
    dataset = federation.dataset
    if dataset.embedded:
        words = (
            f"{dataset.name} is not on this machine, so this run uses the 1,797 real handwritten "
            f"digits that come with scikit-learn: digits, not {dataset.name}. For the real thing "
            "give --data-dir."
        )
        screen.say(Panel(words, title="embedded data", title_align="left", width=90))
    for note in federation.notes:
        screen.say(f"note: {note}")
    sizes = folders.data_record(federation)
    screen.say(
        f"{federation.experiment.algorithm.name} on {dataset.title}: "
        f"{federation.experiment.clients} clients, {federation.experiment.cohort_size} a round, "
        f"{sizes['train_samples']}/{sizes['valid_samples']}/{sizes['test_samples']} samples to "
        f"train/validate/test, seed {federation.experiment.seed}"
    )
    screen.say(f"plan: {federation.plan.describe()}")


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
    """Returns the result of a run that is done with all the rounds asked for, and undamaged."""
    result = documents.sound(folder.path / "result.json", small_files.Result)
    if not result or result["rounds"] < experiment.rounds:
        return None
    last = result["rounds"]
    if last in folder.checkpoints.rounds() and seal.problems(folder.path, last):
        return None  # the rounds from the last good one on are trained again
    return result | {"run": str(folder.path)}


def _close(folder: RunFolder, result: Mapping[str, Any], *, dry_run: bool) -> None:
    """Does what a kill after the last round left undone: the report, its pictures, the status."""
    if dry_run or overview.closed(folder.path):
        return
    with hold(folder.path), folders.writing(folder.path, ROOM):
        folder.tidy()
        done = {"round": result["rounds"], "rounds": result["rounds"]}
        folder.write_status(state="running", **done)  # it may be damaged, and is on the page
        page.write(folder.path)
        folder.write_status(state="finished", **done)


def _summary(
    federation: Federation, path: Path, outcome: federate.Outcome, clock: CompileClock
) -> dict[str, Any]:
    experiment = federation.experiment
    known = {
        "run": str(path),
        "algorithm": experiment.algorithm.name,
        "clients": experiment.clients,
        "cohort": experiment.cohort_size,
        "seed": experiment.seed,
        **clock.record(),
        "params_sha256": outcome.params_sha256,
        "data": folders.data_record(federation),
    }
    return plain(known | summary.summarise(path))


class _Watch(federate.Watch):
    """Shows a run's rounds, in TensorBoard too, and keeps its status file true."""

    def __init__(
        self,
        folder: RunFolder,
        rounds: int,
        progress: RunProgress,
        events: Events,
        stopped: threading.Event,
    ) -> None:
        self._folder, self._rounds = folder, rounds
        self._progress, self._events, self._stopped = progress, events, stopped

    def round_done(self, number: int, record: Mapping[str, Any], costs: Mapping[str, Any]) -> None:
        rate = costs["samples"] / costs["train_seconds"]
        self._progress.update(number, plain(record), rate)
        self._events.add(number, {**record, **costs, "samples_per_second": rate})
        self._folder.write_status(
            state="running", round=number, rounds=self._rounds, samples_per_second=rate
        )

    def note(self, text: str) -> None:
        self._progress.note(text)

    def stop(self) -> bool:
        return self._stopped.is_set()


def check_arguments(names: Sequence[str], resume_path: str | None, *, replan: bool) -> None:
    """Refuses neither or both of configs and --resume, and --replan without it.

    Raises:
        UsageError: with the remedy.
    """
    if resume_path is None and not names:
        raise UsageError("give a config, as in `jfl train tiny_fomo`, or --resume RUN")
    if resume_path is not None and names:
        raise UsageError(f"--resume takes the config of the run; leave out {names[0]}")
    if replan and resume_path is None:
        raise UsageError("--replan goes with --resume RUN: a new run is planned anyhow")

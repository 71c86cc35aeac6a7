"""A run of any job from start to end: made or gone on with, watched, interrupted or finished."""

import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jfl import config as configs
from jfl import mesh as meshes
from jfl import plugins
from jfl.errors import UsageError
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps, plain
from jfl.runs import backend, detach, folder, kinds, loop, overview, resume, seal, settings, summary
from jfl.runs.checkpoint import check_space, needed_bytes
from jfl.runs.compiled import CompileClock
from jfl.runs.folder import RunFolder
from jfl.runs.interrupt import stop_signals
from jfl.runs.job import Job
from jfl.runs.journal import Journal
from jfl.runs.lock import hold
from jfl.runs.patience import Patience
from jfl.runs.progress import Kept, Watch

INTERRUPTED = 130
ROOM = "what was saved before is kept: make room and go on with --resume"


def start(
    names: Sequence[str],
    changes: Sequence[str],
    watch: Watch,
    *,
    out: str = "outputs",
    device: str | None = None,
    dry_run: bool = False,
) -> tuple[dict[str, Any], int]:
    """Starts a new run of the job that the config names.

    Args:
        names: yaml files, by path or by the name of a packaged one; later ones win.
        changes: `key=value` words.
        watch: told of all that happens.
        out: the folder in which the run gets its own.
        device: cpu, cuda, cuda:1, tpu; None = the best.
        dry_run: only say what would run.

    Returns:
        Its summary and exit code: 0 done, 130 interrupted.

    Raises:
        JflError: whatever is wrong, before a folder is made where that can be known.
    """
    given = settings.layered([settings.read(names), settings.changes(changes)])
    kind = kinds.asked(given)
    config = kind.load(names, changes)
    backend.start(device, cpu_devices(config), **computing(config))
    clock = CompileClock()
    job: Job = kind.build(config)
    _introduce(job, watch)
    needed = _disk_needs(job)
    if dry_run:
        watch.say(f"checkpoints take up to {needed / 2**20:,.0f} MiB; nothing was trained")
        return _dry_summary(job, needed), 0
    path = folder.new(Path(out), config.name)
    try:
        check_space(path, needed)
        with folder.writing(path, "make room or give another --out"):
            made = folder.fill(path, job)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    with hold(path):
        watch.keep_log(path / "log.txt")
        watch.say(f"run folder: {path}")
        detach.announce(str(path))
        return _train(job, made, watch, clock, None)


def go_on(
    path: str,
    changes: Sequence[str],
    watch: Watch,
    *,
    device: str | None = None,
    replan: bool = False,
    dry_run: bool = False,
) -> tuple[dict[str, Any], int]:
    """Goes on from a run's last good checkpoint; a finished run prints its result again.

    Raises:
        JflError: it cannot go on, or not as it was.
    """
    run = RunFolder(Path(path))
    # what says how it is computed is honoured, or made anew
    seal.check(run.path, without=(backend.FILE, backend.BEFORE))
    config = resume.changed(run, changes)
    finished = resume.finished(run, config)
    if finished is not None:
        seal.check(run.path)
        if not dry_run:
            _close(run, finished, watch)
        watch.result(run, f"{path} is finished", finished)
        return finished, 0
    if replan:
        backend.start(device, cpu_devices(config), **computing(config))
    else:
        backend.start_again(backend.read(run.path), device, **computing(config))
    clock = CompileClock()
    with hold(run.path):
        if not dry_run:
            run.tidy()
            watch.keep_log(run.path / "log.txt")
        job: Job = run.kind.build(config, run, replan=replan)
        if not replan:
            seal.check(run.path)
        if plugins.fingerprint() != run.environment.get("plugins", {}):
            watch.say("warning: the plugins have changed since the run started")
        _introduce(job, watch)
        last = resume.last_good(run, watch.say)
        if dry_run:
            return _dry_summary(job, 0), 0
        detach.announce(path)
        with folder.writing(run.path, ROOM):
            # a resume that is itself interrupted must know what this one was asked for; the status
            # comes first, or a finished run would seem to have done all rounds it now asks for
            run.write_status("running", last or 0, job.total)
            seal.adopt(run.path)
            seal.replace(run.path, seal.CONFIG, configs.dump(config))
            if replan:
                _replan(run, job, last or 0)
        return _train(job, run, watch, clock, last)


def cpu_devices(config: Any) -> int:
    """Returns how many devices a CPU is to show."""
    if (mesh := getattr(config, "mesh", None)) is not None:
        return mesh.devices or 1
    return getattr(getattr(config, "plan", None), "devices", None) or meshes.cores()


def computing(config: Any) -> dict[str, bool]:
    """Returns what settings say of how JAX is started."""
    train, data = getattr(config, "train", None), getattr(config, "data", None)
    return {
        "deterministic": getattr(train, "deterministic", False),
        "cache": getattr(data, "cache", True),
    }


def _replan(run: RunFolder, job: Job, last: int) -> None:
    Journal(run.path).cut(last)
    Journal(run.path, job.unit).write(last, {"replanned": job.replanned()})
    computes = backend.here(job.devices, deterministic=job.deterministic)
    # first, as an older plan.json says both
    seal.replace(run.path, backend.FILE, computes.to_json())
    for name, text in job.plans().items():
        seal.replace(run.path, name, text)


def _train(
    job: Job,
    run: RunFolder,
    watch: Watch,
    clock: CompileClock,
    resume_from: int | None,
) -> tuple[dict[str, Any], int]:
    path, done = run.path, resume_from or 0
    with stop_signals() as stopped, _failure_noted(run, job, watch), folder.writing(path, ROOM):
        run.write_status("running", done, job.total)
        with watch.steps(job, run, done) as shown:
            place = loop.of_run(job, path)
            if resume_from is not None:
                loop.restore(job, place.checkpoints, resume_from)
            reached = loop.run(job, place, Kept(run, job, shown, stopped), done)
        early = reached != job.total and Patience(job, place.journal.records()).over
        result = plain(
            {"run": str(path), **job.about(), **clock.record(), **job.ended()}
            | summary.summarise(path, run.kind)
            | ({"stopped_early": job.patience} if early else {})
        )
        interrupted = job.total is not None and reached < job.total and not early
        state = "interrupted" if interrupted else "finished"
        if not interrupted:
            write_text(path / "result.json", dumps(result, indent=1), durable=True)
        written = watch.draw(path)
        run.write_status(state, reached, job.total)
    watch.result(run, f"{job.title}, {job.unit} {reached}", result)
    shown = ", ".join([*(file.name for file in written), "journal.jsonl"])
    watch.say(f"in {path}: {shown}")
    if early:
        watch.say(
            f"ended early: {job.patience} evaluations in a row were not the best on validation "
            "samples; the best is saved"
        )
    if interrupted:
        command = f"jfl train --resume {shlex.quote(str(path))}"
        watch.say(f"saved after {job.unit} {reached}; go on with: {command}")
    return result, INTERRUPTED if interrupted else 0


@contextmanager
def _failure_noted(run: RunFolder, job: Job, watch: Watch) -> Iterator[None]:
    """Leaves word of what ended a run in its status and log."""
    try:
        yield
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = str(error) or "at once, by a second signal"
        watch.log(f"{state}: {reason}")
        with suppress(OSError):
            run.write_status(state, Journal(run.path).last(), job.total, error=reason)
        raise


def _introduce(job: Job, watch: Watch) -> None:
    if job.notice:
        watch.notice(job.notice)
    for line in job.lines:
        watch.say(line)


def _disk_needs(job: Job) -> int:
    checkpoint = getattr(job.config, "checkpoint", None)
    every = min(job.saves, job.evaluates) if job.saves_first else job.saves
    return needed_bytes(job.shapes(), checkpoint, job.total, every) if checkpoint else 0


def _dry_summary(job: Job, disk: int) -> dict[str, Any]:
    return plain({**job.about(), **job.planned(), "checkpoint_bytes": disk} | (
        {f"{job.unit}s": job.total}
    ))  # fmt: skip


def _close(run: RunFolder, result: Mapping[str, Any], watch: Watch) -> None:
    """Does what a kill after the last step left undone: the report, its pictures, the status."""
    if overview.closed(run.path):
        return
    with hold(run.path), folder.writing(run.path, ROOM):
        run.tidy()
        done = result[run.kind.total]
        run.write_status("running", done, done)  # it may be damaged, and is on the page
        watch.draw(run.path)
        run.write_status("finished", done, done)


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

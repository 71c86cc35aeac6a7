"""Which trained network a command means: by its place, or by stage, name and step.

A place is a run, a folder of runs or of a run's checkpoints, or what others left: a file, or a
folder of them. Stage, name and step are nanochat's way: `-i base -g d12 -s 1000`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jfl import plugins
from jfl.errors import UsageError
from jfl.runs import kinds, overview, seal, small_files

LAST = "last"
_KIND = "lm.{}"
_EXAMPLE = "name a run, as in outputs/d12/2026-01-31-1, or -i base -g d12 -s 1000"


class Named(NamedTuple):
    """A run, or a file or folder of others, and which of what it holds."""

    path: Path
    step: str


def named(
    place: str | None, stage: str | None, name: str | None, step: str | None, out: str
) -> Named:
    """Returns what the words of a command line mean.

    Args:
        place: a path.
        stage: what was trained: base.
        name: what the run is called, or d and its depth; None = the deepest there is.
        step: which checkpoint: a number, best or last.
        out: the folder of runs, for a stage.

    Raises:
        UsageError: they mean nothing, or two things.
    """
    if (place is None) == (stage is None and name is None):
        what = f"{place} is one network, and -i and -g another; give one" if place else _EXAMPLE
        raise UsageError(what)
    if place is not None:
        return _placed(Path(place).expanduser(), step)
    return Named(_staged(stage or "base", name, Path(out).expanduser()), step or LAST)


def _placed(path: Path, step: str | None) -> Named:
    if not path.exists():
        raise UsageError(f"{path} is not there; {_EXAMPLE}")
    if path.name.isdecimal() and (path.parent.parent / seal.CONFIG).is_file():
        if step not in (None, path.name):
            raise UsageError(f"{path} is step {path.name}, not {step}; leave --step out")
        return Named(path.parent.parent, path.name)
    inside = path.parent if path.name == "checkpoints" else path
    if (inside / seal.CONFIG).is_file():
        return Named(inside, step or LAST)
    if path.is_dir() and (runs := _saved(overview.find(path))):
        return Named(runs[-1], step or LAST)
    return Named(path, step or LAST)


def _staged(stage: str, name: str | None, out: Path) -> Path:
    kind = _KIND.format(stage)
    if kind not in plugins.names("job"):
        known = ", ".join(n.removeprefix("lm.") for n in plugins.names("job") if "lm." in n)
        raise UsageError(f"-i {stage} is no stage that jfl trains; there are: {known}")
    runs = [run for run in _saved(overview.find(out)) if _kind(run) == kind]
    called = [run for run in runs if name is not None and run.parent.name == name]
    deep = [run for run in runs if name is not None and f"d{_depth(run)}" == name]
    if found := called or deep:
        return found[-1]
    if name is None and runs:
        most = max(map(_depth, runs))
        return [run for run in runs if _depth(run) == most][-1]
    of = f" called {name}" if name else ""
    raise UsageError(f"{out} holds no run of {stage}{of} with a checkpoint; give --out DIR")


def _saved(runs: Sequence[Path]) -> list[Path]:
    """Returns the runs that have a complete checkpoint."""
    return [run for run in runs if seal.rounds(run)]


def _kind(run: Path) -> str:
    return kinds.of(small_files.settings(run), run / seal.CONFIG).name


def _depth(run: Path) -> int:
    depth = small_files.settings(run).get("depth")
    return depth if isinstance(depth, int) else 0

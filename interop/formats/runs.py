"""A run folder of jfl, read without JAX: its rounds, the arrays of one, and its hashes."""

from pathlib import Path
from typing import Any

from interop.formats import orbax
from interop.formats.base import Contents
from jfl.errors import CheckpointError, UsageError
from jfl.runs import manifest, small_files
from jfl.runs.manifest import NO_BEST

_ARRAYS = "arrays"


def is_run(path: Path) -> bool:
    """Tells whether a folder is a run."""
    return (path / "config.yaml").is_file()


def is_checkpoint(path: Path) -> bool:
    """Tells whether a folder is one round of a run."""
    return (path / manifest.NAME).is_file() and (path / _ARRAYS).is_dir()


def rounds(run: Path) -> dict[int, dict[str, Any]]:
    """Returns the manifest of every complete checkpoint, by round."""
    folder = run / "checkpoints"
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.isdigit() and (path / manifest.NAME).is_file():
            found[int(path.name)] = path
    made = {}
    for number, path in sorted(found.items()):
        try:
            made[number] = manifest.read(path)
        except CheckpointError:
            made[number] = {}  # damaged; `--verify` and a choice of it say so
    return made


def chosen(run: Path, which: str) -> int:
    """Returns the saved round that `N`, `best` or `last` names.

    Raises:
        CheckpointError: nothing is saved, there is no such round, or no round has a score.
        UsageError: it is no such word.
    """
    found = rounds(run)
    place = run / "checkpoints"
    if not found:
        raise CheckpointError(f"{place} holds no complete checkpoint yet")
    if which == "last":
        return max(found)
    if which == "best":
        number = manifest.best(found)
        if number is None:
            raise CheckpointError(NO_BEST.format(place=place))
        return number
    if not which.isdigit():
        raise UsageError(f"--round {which} is not a round; give a number, best or last")
    if int(which) not in found:
        known = ", ".join(map(str, found))
        raise CheckpointError(f"{place} has no checkpoint of round {which}; there are: {known}")
    return int(which)


def read(run: Path, which: str) -> Contents:
    """Returns one round of a run.

    Raises:
        CheckpointError: there is none, or its files cannot be read.
    """
    number = chosen(run, which)
    found = rounds(run)
    inner = read_checkpoint(run / "checkpoints" / str(number))
    about = inner.about | {
        "rounds": list(found),
        "algorithm": _what(small_files.settings(run)),
        "best": manifest.best(found),
        "unfinished": orbax.leftovers(run / "checkpoints"),
    }
    return Contents("jfl run", inner.entries, about, inner.clients)


def _what(config: dict[str, Any]) -> str:
    """Returns what a run runs: the algorithm of a federation, or the name of another job."""
    return config["algorithm"]["name"] if "algorithm" in config else str(config.get("kind"))


def read_checkpoint(path: Path) -> Contents:
    """Returns the arrays of one checkpoint folder.

    Raises:
        CheckpointError: its files cannot be read.
    """
    content = manifest.read(path)
    inner = orbax.read(path / _ARRAYS)
    about = {"round": manifest.number(content), "unit": content.get("unit", manifest.UNIT)}
    about |= {"score": manifest.score(content), "committed": True}
    return Contents("jfl checkpoint", inner.entries, about, content.get("clients"))

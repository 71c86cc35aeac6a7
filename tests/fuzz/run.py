"""Damaged files, thousands of them, each read by a command in a process of its own.

    python -m tests.fuzz.run --count 20000 --seed 1
    python -m tests.fuzz.run --seed 1 --only 417
    python -m tests.fuzz.run --again FOLDER

A number and the seed make an input (but for the time in files of Orbax); where it ends otherwise
than it may, it is kept in a folder.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from tests.command_line import CHECKOUT, ENVIRONMENT
from tests.fuzz import endings, forms, seeds
from tests.fuzz.endings import Ended, Limits
from tests.fuzz.seeds import Seed

AT_ONCE = 500
"""Inputs in memory."""
HOW = "how.json"
KEPT = Path(tempfile.gettempdir()) / "jfl-fuzz-found"


@dataclass(frozen=True)
class Case:
    """An input and the command that reads it."""

    number: int
    kind: str
    files: dict[str, bytes]
    command: str

    @property
    def makes(self) -> str:
        """A pattern of the files that the command makes."""
        words = self.command.split()
        files = [] if "--dry-run" in words else [w for w in words if w.startswith("made.")]
        made = "|".join(rf"{word}(/.*)?" for word in files)
        return made + r"|given/run/.*\.png" * (words[0] == "report")


@dataclass(frozen=True)
class Failure:
    """A case that ended as none may."""

    case: Case
    fault: str
    ended: Ended

    def __str__(self) -> str:
        last = self.ended.err.strip().splitlines()[-1:] or self.ended.changed
        return (
            f"{self.case.number} {self.case.kind} {self.fault}: jfl {self.case.command}: "
            f"code {self.ended.code}, {self.ended.cpu:.1f} s, {self.ended.memory:.0f} MiB: {last}"
        )


def case(seed: int, number: int, known: dict[str, list[Seed]]) -> Case:
    """Makes the input of a number."""
    rng = np.random.default_rng([seed, number])
    kind = list(known)[number % len(known)]
    chosen = known[kind][rng.integers(len(known[kind]))]
    target = _one(rng, chosen.damaged or tuple(chosen.files))
    lender = known[kind][rng.integers(len(known[kind]))]
    other = lender.files[_one(rng, tuple(lender.files))]
    files = chosen.files | {target: forms.mutant(rng, chosen.files[target], other)}
    return Case(number, kind, files, _one(rng, chosen.commands))


def first(count: int, known: dict[str, list[Seed]]) -> list[int]:
    """The first numbers whose kind has seeds."""
    each = [bool(of_kind) for of_kind in known.values()]
    return [number for number in range(count * len(each)) if each[number % len(each)]][:count]


def _one(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[rng.integers(len(words))]


class Server:
    """One process of tests/fuzz/server.py, and the folder its commands run in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._home = home = self._folder / "home"
        home.mkdir(parents=True)
        own = ("HOME", "TMPDIR", "XDG_STATE_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR")
        single = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "COLUMNS": "100"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.server"],
            cwd=CHECKOUT,
            env=ENVIRONMENT | single | dict.fromkeys(own, str(home)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Waits until all is imported."""
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"

    def run(self, tried: Case, limits: Limits, plant: str | None = None) -> Ended:
        """Lays the files out and runs the command on them."""
        place = self._folder / "place"
        if place.exists():
            shutil.rmtree(place)
        lay(tried, place / "given")
        before = _content(place) | _content(self._home)
        words = [word.replace("FILE", "given") for word in tried.command.split()]
        request = {"folder": str(self._folder), "words": words, "plant": plant}
        request |= {"cpu": limits.cpu, "wall": limits.wall}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        after = _content(place) | _content(self._home)
        changed = sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))
        return endings.told(answer, changed)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def lay(tried: Case, folder: Path) -> None:
    """Writes the files of a case."""
    for name, content in tried.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _content(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@contextmanager
def servers(jobs: int) -> Iterator["queue.Queue[Server]"]:
    """Starts some servers; who takes one puts it back."""
    with tempfile.TemporaryDirectory(prefix="jfl-fuzz-") as scratch:
        free: queue.Queue[Server] = queue.Queue()
        places = [Path(scratch) / str(number) for number in range(jobs)]
        for started in [Server(place) for place in places]:
            started.wait()
            free.put(started)
        try:
            yield free
        finally:
            for _ in range(jobs):
                free.get().close()


def attempt(
    tried: Case, free: "queue.Queue[Server]", limits: Limits, plant: str | None = None
) -> Failure | None:
    """Runs a case on a free server; returns what was wrong."""
    server = free.get()
    try:
        ended = server.run(tried, limits, plant)
    finally:
        free.put(server)
    fault = endings.fault(ended, limits, tried.makes)
    return Failure(tried, fault, ended) if fault else None


def campaign(
    seed: int, numbers: Sequence[int], known: dict[str, list[Seed]], free: "queue.Queue[Server]"
) -> Iterator[Failure]:
    """Yields what is wrong, in the order of the numbers."""
    with ThreadPoolExecutor(free.qsize()) as pool:
        for start in range(0, len(numbers), AT_ONCE):
            made = (case(seed, number, known) for number in numbers[start : start + AT_ONCE])
            for failure in pool.map(lambda one: attempt(one, free, Limits()), made):
                if failure:
                    yield failure


def keep(failure: Failure, seed: int, folder: Path) -> Path:
    """Keeps an input, and how it ended; `--again` tries it."""
    kept = folder / f"{seed}-{failure.case.number}-{failure.case.kind}-{failure.fault}"
    if kept.exists():
        shutil.rmtree(kept)
    lay(failure.case, kept / "given")
    content = {name: getattr(failure.case, name) for name in ("number", "kind", "command")}
    content |= {"fault": failure.fault, "ended": asdict(failure.ended)}
    (kept / HOW).write_text(json.dumps(content, indent=1))
    return kept


def kept_case(folder: Path) -> Case:
    """Reads an input that was kept."""
    how = json.loads((folder / HOW).read_text())
    return Case(how["number"], how["kind"], _content(folder / "given"), how["command"])


@click.command()
@click.option("--count", default=300, show_default=True, help="How many inputs.")
@click.option("--first", default=0, help="Number of the first.")
@click.option("--seed", default=0, show_default=True)
@click.option("--jobs", default=os.cpu_count() or 1, help="Processes at once.")
@click.option("--only", type=int, help="Try this number alone.")
@click.option("--again", type=click.Path(path_type=Path, exists=True), help="Try a kept input.")
@click.option("--keep", "folder", default=KEPT, type=click.Path(path_type=Path))
def main(
    count: int, first: int, seed: int, jobs: int, only: int | None, again: Path | None, folder: Path
) -> None:
    """Reads damaged files; exits with 1 where one ended as none may."""
    if again:
        with servers(1) as free:
            failure = attempt(kept_case(again), free, Limits())
        click.echo(str(failure) if failure else "as it should be")
        sys.exit(1 if failure else 0)
    numbers = range(first, first + count) if only is None else [only]
    known = seeds.made(trained=True)
    found: Counter[str] = Counter()
    with servers(jobs) as free:
        for failure in campaign(seed, numbers, known, free):
            kept = keep(failure, seed, folder)
            found[f"{failure.case.kind}: {failure.fault}"] += 1
            click.echo(f"{failure}\n    python -m tests.fuzz.run --again {kept}")
    click.echo(f"{len(numbers)} inputs of seed {seed}: {dict(found) or 'all as they should be'}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

"""The names a pickle holds, found by walking its operations; nothing is built."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from interop.pickles import names
from interop.pickles.archive import Archive
from jfl.errors import JflError
from jfl.sources.pickles import budget
from jfl.sources.pickles.budget import Budget
from jfl.sources.pickles.machine import dotted
from jfl.sources.pickles.regions import File, Latin, Memory, Region, Text
from jfl.sources.pickles.tokens import Tape, tokens

_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_BYTES = {"BINBYTES", "BINBYTES8", "SHORT_BINBYTES", "BYTEARRAY8", "BINSTRING", "SHORT_BINSTRING"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_DEEPEST = 3
_SHORTEST = 16  # bytes of a pickle that names something
_NEW_NAME = 200  # units of a name that is listed, and shown


def listed(path: Path, classes: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Returns each name with its first byte offset, how often it is named, and its verdict.

    Raises:
        JflError: the file is not there, or no such file.
    """
    found: dict[str, dict[str, Any]] = {}
    with budget.held(path) as work:
        for name, position, depth in _walk_file(path, work):
            work.spend(len(name) // 64)
            known = found.get(name)
            if known is None:
                work.spend(_NEW_NAME)
                known = found[name] = {
                    "name": name,
                    "position": position,
                    "nested": depth,
                    "times": 0,
                    "verdict": names.verdict(name, classes),
                }
            known["times"] += 1
    return sorted(found.values(), key=lambda entry: entry["name"])


def needed(path: Path, classes: Sequence[str]) -> list[str]:
    """Returns the prefixes that would make records of all names that are plain classes."""
    try:
        verdicts = {entry["verdict"] for entry in listed(path, classes)}
    except JflError:
        return []
    return sorted(verdicts - {"data", "record", "refused"})[:20]


def _walk_file(path: Path, work: Budget) -> Iterator[tuple[str, int, int]]:
    file = File(path)
    region = file.whole()
    if region.read(0, min(4, region.length)) == b"PK\x03\x04":
        yield from _walk(Tape(Archive(file).region("data.pkl")), work, 0)
    else:
        yield from _walk_all(region, work, 0)


def _walk_all(region: Region, work: Budget, depth: int) -> Iterator[tuple[str, int, int]]:
    """Walks the pickles that stand one behind another at the start of a region."""
    tape = Tape(region)
    for _ in range(5):  # legacy torch.save writes so many, then raw numbers
        if region.length - tape.position < 2 or region.read(tape.position, 1) != b"\x80":
            return
        yield from _walk(tape, work, depth)


def _walk(tape: Tape, work: Budget, depth: int) -> Iterator[tuple[str, int, int]]:
    words: list[Any] = []
    memo: dict[int, Any] = {}
    start = tape.region.start if depth == 0 else 0
    for position, name, argument in tokens(tape, work, tape.region.where):
        if name in ("GLOBAL", "INST"):
            module, _, word = argument.partition(" ")
            words.append(None)
            yield dotted(module, word), start + position, depth
        elif name == "STACK_GLOBAL":
            module, word = words[-2:] if len(words) > 1 else (None, None)
            words = [None]
            yield dotted(str(module), str(word)), start + position, depth
        elif name in _TEXTS:
            words.append(argument if isinstance(argument, str) else None)
        elif name in _GETS:
            words.append(memo.get(argument))
        elif name in _PUTS:
            work.spend(2)
            memo[len(memo) if argument is None else argument] = words[-1] if words else None
        elif name not in ("PROTO", "FRAME", "MARK"):
            words.append(None)
        if len(words) > 64:
            del words[:-8]
        if depth < _DEEPEST and (name in _BYTES or name in _TEXTS):
            inner = _pickle_in(argument, tape.region.where)
            if inner is not None:
                try:
                    yield from _walk_all(inner, work, depth + 1)
                except JflError:
                    continue  # bytes that only look like a pickle


def _pickle_in(argument: Any, where: str) -> Region | None:
    """Returns bytes that look like a pickle."""
    if isinstance(argument, str):
        try:
            argument = argument.encode("latin-1")
        except UnicodeEncodeError:
            return None
    if isinstance(argument, bytes | bytearray):
        argument = Memory(bytes(argument), where).whole()
    elif isinstance(argument, Text):
        if argument.read(0, 2) != b"\xc2\x80":
            return None
        argument = Latin(argument)
    if not isinstance(argument, Region) or argument.length < _SHORTEST:
        return None
    head = argument.read(0, 2)
    return argument if head[0] == 0x80 and 1 <= head[1] <= 5 else None

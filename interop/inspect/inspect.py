"""What `jfl inspect` finds: headers by default, numbers only where a flag asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from interop.formats import find, runs
from interop.formats.base import Contents, Entry
from interop.gguf import network as gguf
from interop.inspect import clients, diff, heads, heat, lora, numbers, stats
from interop.language import folder as language
from interop.pickles import listing
from jfl.errors import CheckpointError
from jfl.federated.heads.seal import everything
from jfl.runs import manifest, seal, small_files
from jfl.sources import zips
from jfl.sources.expansion import Expansion
from jfl.sources.pickles import budget

AFFINITY = "shared.affinity"


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for beside the headers."""

    which: str = "last"
    client: int | None = None
    glob: str | None = None
    other: str | None = None
    stats: bool = False
    clients: bool = False
    lora: bool = False
    verify: bool = False
    classes: tuple[str, ...] = ()


def run(path: Path, wanted: Wanted) -> dict[str, Any]:
    """Returns the answer of the command.

    Raises:
        JflError: the path cannot be read, is refused, or is damaged.
    """
    with budget.held(path, *([] if wanted.other is None else [Path(wanted.other)])):
        return _looked(path, wanted)


def _looked(path: Path, wanted: Wanted) -> dict[str, Any]:
    contents = find.read(path, wanted.which, wanted.classes)
    verified = verify(path, contents, wanted.which) if wanted.verify else None
    whole = contents
    if wanted.client is not None:
        contents = clients.only(contents, wanted.client)
    chosen = [e for e in contents.entries if _matches(e.path, wanted.glob)]
    result = {
        "path": str(path),
        "kind": contents.kind,
        "parameters": _parameters(path, contents, wanted),
        "bytes": sum(e.nbytes for e in _distinct(chosen)),
        "clients": _count(whole),
        "tensors": [_described(entry, numbers=wanted.stats) for entry in chosen],
        "verified": verified,
        "ties": _ties(chosen),
        **contents.about,
    }
    told = heads.said(path, whole)
    if told is not None:
        result["heads"] = told
    network = gguf.said(path) if contents.kind == "gguf" else language.said(path)
    if network is not None:
        result["network"] = network
    if wanted.clients:
        result["client_stats"] = clients.table(whole)
        result["heat"] = _heat(whole)
    if wanted.lora:
        result |= lora.table(contents, {entry.path for entry in chosen})
    if wanted.other is not None:
        result["diff"] = _diff(path, contents, wanted)
    return result


def names(path: Path, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the names a pickle or torch file holds; nothing of it is built.

    Raises:
        JflError: it is no such file.
    """
    return listing.listed(path, classes)


def verify(path: Path, contents: Contents, which: str) -> bool | None:
    """Returns True where every byte is as it was written, None where a format cannot tell.

    Raises:
        CheckpointError: a file has changed.
    """
    if contents.kind == "jfl run":
        return _run_is_whole(path, contents.about["round"], which)
    if (path / manifest.NAME).is_file():
        run = path.resolve().parent.parent
        ours = runs.is_run(run) and path.resolve().name.isdecimal()
        ours = ours and path.resolve().parent.name == "checkpoints"
        found = seal.problems(run, int(path.resolve().name)) if ours else manifest.problems(path)
        if found:
            raise CheckpointError(f"the checkpoint {path} is damaged: {found[0]}; put back a copy")
        return True
    if contents.kind in ("torch zip", "npz"):
        return all([_zip_is_whole(file) for file in contents.files or (path,)])
    for entry in contents.entries:  # what damage shows by itself
        if entry.rows is not None:
            for _ in entry.blocks():
                pass
    return None


def _run_is_whole(run: Path, number: int, which: str) -> bool:
    """Looks at all of a run or, where a round was asked for, at what that one needs."""
    if which == "last":
        everything(run)
    else:
        seal.check(run, number)
    return True


def _zip_is_whole(path: Path) -> bool:
    try:
        with zips.opened(path) as archive:
            held = sum(info.file_size for info in archive.infolist())
            Expansion(str(path), path.stat().st_size).require(held)
            broken = archive.testzip()
    except zips.DAMAGED as error:
        raise CheckpointError(f"{path} is damaged ({str(error)[:100]})") from error
    if broken is not None:
        raise CheckpointError(f"{path} is damaged: {broken} does not match its checksum")
    return True


def _matches(path: str, glob: str | None) -> bool:
    return glob is None or fnmatchcase(path, glob)


def _described(entry: Entry, *, numbers: bool) -> dict[str, Any]:
    basic = {
        "path": entry.path,
        "shape": list(entry.shape),
        "dtype": entry.dtype,
        "bytes": entry.nbytes,
    }
    return basic | (stats.describe(entry) if numbers and entry.rows is not None else {})


def _distinct(entries: list[Entry]) -> list[Entry]:
    seen: set[Any] = set()
    kept = []
    for entry in entries:
        if entry.place is None or entry.place not in seen:
            kept.append(entry)
            seen.add(entry.place)
    return kept


def _ties(entries: list[Entry]) -> list[list[str]]:
    groups: dict[Any, list[str]] = {}
    for entry in entries:
        if entry.place is not None and entry.numel:
            groups.setdefault(entry.place, []).append(entry.path)
    return [paths for paths in groups.values() if len(paths) > 1]


def _count(contents: Contents) -> int | None:
    return contents.clients or len(clients.numbered(contents)) or None


def _parameters(path: Path, contents: Contents, wanted: Wanted) -> int:
    """Returns the numbers in one model of a run, or in all arrays of anything else."""
    if contents.kind == "jfl run" and wanted.client is None:
        known = _environment(path).get("parameters")
        if known:
            return known
        # of a run without that, a count of what the checkpoint holds will do
    entries = contents.entries
    if contents.kind.startswith("jfl"):
        own = [e for e in entries if e.path.startswith((clients.OWN, "shared.params."))]
        count = contents.clients if wanted.client is None else 1
        stacked = any(e.path.startswith(clients.OWN) for e in own)
        return sum(e.numel for e in own) // ((count or 1) if stacked else 1)
    return sum(e.numel for e in _distinct(entries))


def _heat(contents: Contents) -> list[str]:
    named = contents.named()
    for path in (AFFINITY, "P"):
        entry = named.get(path)
        if entry is not None and len(entry.shape) == 2 and entry.shape[0] == entry.shape[1]:
            value = entry.read()
            if numbers.are(value.dtype):
                return heat.lines(np.real(numbers.wide(value)).astype(float))
    return []


def _diff(path: Path, contents: Contents, wanted: Wanted) -> dict[str, Any]:
    other = Path(wanted.other or "")
    theirs = find.read(other, wanted.which, wanted.classes)
    if wanted.client is not None and _count(theirs):
        theirs = clients.only(theirs, wanted.client)
    shape = next((s for s in map(_input_shape, (path, other)) if s), None)
    parts = [_part(side, wanted) for side in (contents, theirs)]
    return diff.compare(parts[0], parts[1], shape)


def _part(contents: Contents, wanted: Wanted) -> Contents:
    kept = [e for e in contents.entries if _matches(e.path, wanted.glob)]
    count = contents.clients if wanted.client is None else None
    return replace(contents, entries=kept, clients=count)


def _input_shape(path: Path) -> tuple[int, ...] | None:
    return tuple(_environment(path).get("data", {}).get("shape", ())) or None


def _environment(path: Path) -> dict[str, Any]:
    """Returns what is known of a run; nothing of anything else."""
    return small_files.environment(path) if runs.is_run(path) else {}

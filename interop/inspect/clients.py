"""The clients of a run or snapshot: slices of stacked arrays, or objects one after another."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from interop.formats.base import Contents, Entry
from interop.inspect import numbers
from jfl.errors import CheckpointError, UsageError

OWN = "own.params."
_NUMBERED = re.compile(r"^(?P<before>.*?)(?<!\d)(?P<client>\d{1,18})\.(?P<rest>.*)$")
_REAL = ("float", "bfloat", "complex")
_FAR = 5.0  # robust standard deviations
_ROBUST = 1.4826  # from a median of absolute deviations to a standard deviation
_FEWEST = 4  # clients among which one can be far


def only(contents: Contents, client: int) -> Contents:
    """Returns the arrays of one client.

    Raises:
        UsageError: there is no such client.
    """
    stacked = [entry for entry in contents.entries if entry.path.startswith("own.")]
    if stacked:
        count = stacked[0].shape[0]
        if not 0 <= client < count:
            raise UsageError(f"--client {client} is not there; clients are 0 to {count - 1}")
        return replace(contents, entries=[slice_of(entry, client) for entry in stacked])
    groups = numbered(contents)
    if client not in groups:
        known = f"clients are 0 to {max(groups)}" if groups else "there are no clients"
        raise UsageError(f"--client {client} is not there; {known}")
    return replace(contents, entries=list(groups[client].values()))


def slice_of(entry: Entry, client: int) -> Entry:
    """Returns one client's part of a stacked array."""

    def rows(first: int, last: int) -> np.ndarray:
        value = entry.read(client, client + 1)[0]
        return value[first:last] if value.ndim else value

    count = max(entry.shape[0], 1)
    return Entry(entry.path, entry.shape[1:], entry.dtype, entry.nbytes // count, rows)


def models(contents: Contents) -> dict[int, dict[str, Entry]]:
    """Returns each client's own model, as far as the names say."""
    stacked = [entry for entry in contents.entries if entry.path.startswith(OWN)]
    if stacked:
        return {
            client: {e.path.removeprefix(OWN): slice_of(e, client) for e in stacked}
            for client in range(stacked[0].shape[0])
        }
    groups = numbered(contents)
    own = {n: {k: e for k, e in g.items() if k.startswith("model.")} for n, g in groups.items()}
    return own if all(own.values()) else groups


def numbered(contents: Contents) -> dict[int, dict[str, Entry]]:
    """Returns arrays by the first number in their path, where all have the same names.

    Raises:
        CheckpointError: two arrays are the same client's same one.
    """
    found: dict[str, dict[int, dict[str, Entry]]] = {}
    for entry in contents.entries:
        parts = _NUMBERED.match(entry.path)
        if parts and re.search(r"client", parts["before"]):
            group = found.setdefault(parts["before"], {})
            named = group.setdefault(int(parts["client"]), {})
            if parts["rest"] in named:  # client 7 and client 07
                raise CheckpointError(
                    f"client {int(parts['client'])} has two arrays named {parts['rest'][:80]}, and "
                    "one would hide the other; save it again with one number a client"
                )
            named[parts["rest"]] = entry
    return max(found.values(), key=len, default={})


def table(contents: Contents) -> list[dict[str, Any]]:
    """Returns norm, distance to the mean and whether it is far off, for each client.

    Raises:
        UsageError: there are no clients in the file.
    """
    known = models(contents)
    if not known:
        raise UsageError("--clients needs a run or a snapshot; here are no clients")
    norms, distances = dict.fromkeys(known, 0.0), dict.fromkeys(known, 0.0)
    broken = dict.fromkeys(known, 0)
    first = next(iter(known.values()))
    for path in [p for p, e in first.items() if e.dtype.startswith(_REAL)]:
        total: Any = 0.0
        finite = 0
        for client, value in _values(known, path):
            bad = int((~np.isfinite(value)).sum())
            broken[client] += bad
            norms[client] = _beside(norms[client], value)
            if not bad:
                total, finite = total + value, finite + 1
        mean = total / max(finite, 1)
        for client, value in _values(known, path):
            distances[client] = _beside(distances[client], value - mean)
    rows = [
        {
            "id": client,
            "norm": numbers.plain(norms[client]),
            "distance": numbers.plain(distances[client]),
            "not_finite": broken[client],
        }
        for client in known
    ]
    return [row | {"outlier": far} for row, far in zip(rows, _far(rows), strict=True)]


def _values(known: dict[int, dict[str, Entry]], path: str) -> Iterator[tuple[int, np.ndarray]]:
    for client, entries in known.items():
        if path in entries:
            value = numbers.wide(entries[path].read())
            if value.shape != next(iter(known.values()))[path].shape:
                raise UsageError(
                    f"--clients needs models of one shape; {path} of client {client} has "
                    f"{list(value.shape)}"
                )
            yield client, value


def _beside(norm: float, values: np.ndarray) -> float:
    """Returns the norm of an array beside others of the given norm, NaN where it is not finite."""
    if not np.isfinite(values).all():
        return math.nan
    return math.hypot(norm, float(numbers.length(values)))


def _far(rows: list[dict[str, Any]]) -> list[bool]:
    """Tells whose distance or norm is far from the others', or not finite."""
    far = [row["not_finite"] > 0 for row in rows]
    for key in ("distance", "norm"):
        values = np.array([row[key] for row in rows if row[key] is not None])
        if len(values) < _FEWEST:
            continue
        middle = float(np.median(values))
        spread = _ROBUST * float(np.median(np.abs(values - middle)))
        limit = _FAR * max(spread, 1e-9 * middle)
        far = [
            known or (row[key] is not None and abs(row[key] - middle) > limit)
            for known, row in zip(far, rows, strict=True)
        ]
    return far

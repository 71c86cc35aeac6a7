"""What differs between two sets of weights, also where one is jfl's and the other torch's."""

from typing import Any

import numpy as np

from interop import torch_state
from interop.formats.base import Contents, Entry
from interop.inspect import clients, numbers
from jfl.errors import CheckpointError, UsageError

_SHARED = "shared.params."
_NOTHING = dict.fromkeys(("differ", "not_finite", "largest", "relative", "cosine"))
"""What is known of bytes that are no numbers."""


def compare(
    ours: Contents, theirs: Contents, input_shape: tuple[int, ...] | None = None
) -> dict[str, Any]:
    """Returns the names only one has, and how far the others are apart.

    Where no name is in both, each is taken as a model: `left_out` names what is no part of it.

    Raises:
        CheckpointError: an array cannot be read.
    """
    first, second = ours.named(), theirs.named()
    left_out: list[str] = []
    if not first.keys() & second.keys():
        (first, rest), (second, more) = (
            _as_jfl(contents, input_shape) for contents in (ours, theirs)
        )
        left_out = sorted({*rest, *more})
    both = sorted(first.keys() & second.keys())
    rows = [{"path": path, **_difference(first[path], second[path])} for path in both]
    return {
        "added": sorted(second.keys() - first.keys()),
        "removed": sorted(first.keys() - second.keys()),
        "equal": sum(row["equal"] for row in rows),
        "changed": [row for row in rows if not row["equal"]],
        "left_out": left_out,
    }


def _model(contents: Contents) -> tuple[dict[str, Entry], list[str]]:
    """Returns the one model of a run, or all arrays of a file, without a prefix, and what is left.

    Raises:
        UsageError: a run has many models and none was chosen.
    """
    named = contents.named()
    shared = {p: e for p, e in named.items() if p.startswith(_SHARED)}
    own = {p: e for p, e in named.items() if p.startswith(clients.OWN)}
    if own and contents.clients is not None:
        raise UsageError("a run with a model for each client is compared with --client N")
    chosen, prefix = (shared, _SHARED) if shared else (own, clients.OWN)
    if not chosen:
        return named, []
    rest = [path for path in named if path not in chosen]
    return {path.removeprefix(prefix): entry for path, entry in chosen.items()}, rest


def _as_jfl(
    contents: Contents, input_shape: tuple[int, ...] | None
) -> tuple[dict[str, Any], list[str]]:
    """Returns a torch state dict under jfl's names and layout, other weights as they are."""
    model, rest = _model(contents)
    try:
        made = torch_state.from_torch(model, None, input_shape)
    except (CheckpointError, UsageError):
        return dict(model), rest
    return dict(made.params), [*rest, *made.skipped]


def _difference(ours: Any, theirs: Any) -> dict[str, Any]:
    if tuple(ours.shape) != tuple(theirs.shape):
        return {"equal": False, "shapes": [list(ours.shape), list(theirs.shape)]}
    if any(isinstance(value, Entry) and value.rows is None for value in (ours, theirs)):
        return _listed(ours, theirs)
    a, b = (value if isinstance(value, np.ndarray) else value.read() for value in (ours, theirs))
    if a.dtype == b.dtype and a.tobytes() == b.tobytes():
        return {"equal": True}
    types = {} if a.dtype == b.dtype else {"dtypes": [str(a.dtype), str(b.dtype)]}
    known = _apart(a, b) if numbers.are(a.dtype) and numbers.are(b.dtype) else _NOTHING
    return {"equal": False} | types | known


def _listed(ours: Any, theirs: Any) -> dict[str, Any]:
    """Compares arrays that are only listed by their bytes, where both files give them."""
    if ours.dtype != theirs.dtype:
        return {"equal": False, "dtypes": [str(ours.dtype), str(theirs.dtype)]} | _NOTHING
    if ours.raw is None or theirs.raw is None:
        return {"equal": False, "unread": ours.dtype} | _NOTHING
    return {"equal": True} if ours.raw() == theirs.raw() else {"equal": False} | _NOTHING


def _apart(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Returns how many numbers differ and how far; where one is not finite, it is only counted."""
    differ = ~numbers.same(a, b)
    x, y = numbers.wide(a), numbers.wide(b)
    finite = np.isfinite(x) & np.isfinite(y)
    with np.errstate(over="ignore"):  # what is too far apart has no number
        gap = np.where(finite, x, 0) - np.where(finite, y, 0)
        size, other = (numbers.length(np.where(finite, v, 0)) for v in (x, y))
        apart = numbers.length(gap) if np.isfinite(gap).all() else np.inf
    cosine = np.vdot(x[finite] / size, y[finite] / other).real if size and other else None
    return {
        "differ": int(differ.sum()),
        "not_finite": int((differ & ~finite).sum()),
        "largest": _largest(a, b, gap),
        "relative": numbers.plain(apart / size) if size else None,
        "cosine": numbers.plain(cosine),
    }


def _largest(a: np.ndarray, b: np.ndarray, gap: np.ndarray) -> Any:
    """Returns the largest difference, exact where both are whole numbers."""
    if not gap.size:
        return 0.0
    place = np.unravel_index(np.argmax(np.abs(gap)), gap.shape)
    if a.dtype.kind in "ui" and b.dtype.kind in "ui":
        return abs(int(a[place]) - int(b[place]))
    return numbers.plain(np.abs(gap[place]))

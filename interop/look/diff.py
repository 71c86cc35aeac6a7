"""What differs between two sets of weights, also where one is jfl's and the other torch's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from interop import torch_state
from interop.formats.base import Contents, Entry
from interop.look import clients
from jfl.errors import CheckpointError, UsageError

_SHARED = "shared.params."


def compare(
    ours: Contents, theirs: Contents, input_shape: tuple[int, ...] | None = None
) -> dict[str, Any]:
    """Returns the names only one has, and how far the others are apart.

    Raises:
        CheckpointError: an array cannot be read.
    """
    first, second = ours.named(), theirs.named()
    if not first.keys() & second.keys():
        first, second = (_as_jfl(_model(c), input_shape) for c in (ours, theirs))
    both = sorted(first.keys() & second.keys())
    rows = [{"path": path, **_difference(first[path], second[path])} for path in both]
    return {
        "added": sorted(second.keys() - first.keys()),
        "removed": sorted(first.keys() - second.keys()),
        "equal": sum(row["equal"] for row in rows),
        "changed": [row for row in rows if not row["equal"]],
    }


def _model(contents: Contents) -> dict[str, Entry]:
    """Returns the one model of a run, or all arrays of a file, without a prefix.

    Raises:
        UsageError: a run has many models and none was chosen.
    """
    named = contents.named()
    shared = {p.removeprefix(_SHARED): e for p, e in named.items() if p.startswith(_SHARED)}
    own = {p.removeprefix(clients.OWN): e for p, e in named.items() if p.startswith(clients.OWN)}
    if own and contents.clients is not None:
        raise UsageError("a run with a model for each client is compared with --client N")
    return shared or own or named


def _as_jfl(model: Mapping[str, Entry], input_shape: tuple[int, ...] | None) -> dict[str, Any]:
    """Returns a torch state dict under jfl's names and layout, other weights as they are."""
    try:
        return dict(torch_state.from_torch(model, None, input_shape).params)
    except (CheckpointError, UsageError):
        return dict(model)


def _difference(ours: Any, theirs: Any) -> dict[str, Any]:
    if tuple(ours.shape) != tuple(theirs.shape):
        return {"equal": False, "shapes": [list(ours.shape), list(theirs.shape)]}
    a, b = (value if isinstance(value, np.ndarray) else value.read() for value in (ours, theirs))
    if a.dtype == b.dtype and a.tobytes() == b.tobytes():
        return {"equal": True}
    types = {} if a.dtype == b.dtype else {"dtypes": [str(a.dtype), str(b.dtype)]}
    a, b = a.astype(np.float64), b.astype(np.float64)
    apart, size = float(np.linalg.norm(a - b)), float(np.linalg.norm(a))
    other = float(np.linalg.norm(b))
    return types | {
        "equal": False,
        "largest": float(np.abs(a - b).max(initial=0.0)),
        "relative": apart / size if size else None,
        "cosine": float((a * b).sum() / (size * other)) if size and other else None,
    }

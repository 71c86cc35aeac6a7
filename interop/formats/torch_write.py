"""Files that torch.load reads; the only thing that torch itself is needed for."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interop.formats.base import Writable
from jfl.errors import CheckpointError, UsageError
from jfl.sources.pickles.values import is_extended


def require(path: Path) -> None:
    """Refuses to write a torch file where torch is absent.

    Raises:
        UsageError: names the extra, and the format that does without.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"{path.name} would be written by torch, which is not installed: pip install "
            f"'jfl[torch]', or give {path.stem}.safetensors, which torch users read too"
        ) from error


def write(path: Path, arrays: Mapping[str, Writable]) -> None:
    """Saves a state dict that `torch.load(path, weights_only=True)` takes.

    Raises:
        UsageError: torch is absent.
        CheckpointError: the file cannot be written.
    """
    require(path)
    import torch

    state = {}
    for name, given in arrays.items():
        array = np.asarray(given)
        kind = getattr(torch, str(array.dtype), None)
        if kind is None:
            raise CheckpointError(f"{name} holds {array.dtype}, which torch does not have")
        bits = f"u{array.itemsize}" if is_extended(array.dtype) else None  # as bfloat16
        made = torch.tensor(array.view(bits) if bits else array)
        state[name] = made.view(kind) if bits else made
    try:
        torch.save(state, path)
    except RuntimeError as error:
        raise CheckpointError(f"{path} cannot be written ({str(error)[:100]})") from error

"""Files of weights in the format of their names, written beside their place and read back."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from interop.aside import written_aside
from interop.formats import npz, safetensors, torch_file, torch_write
from interop.formats.base import Contents, Writable
from jfl.errors import CheckpointError, UsageError

TORCH = (".pt", ".pth", ".bin")
SUFFIXES = (".safetensors", ".npz", *TORCH)
State = Mapping[str, Writable]


def write(path: Path, state: State) -> int:
    """Writes a state dict in the format of the name, reads it back, and returns its bytes.

    Raises:
        UsageError: no such format, a file of that name, or torch is needed and absent.
        CheckpointError: it cannot be written, or was not written as it is.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path} must end in one of {', '.join(SUFFIXES)}")
    if suffix in TORCH:
        torch_write.require(path)
    if path.parent.name:
        path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        named = aside.with_name(aside.name + suffix)
        try:
            _WRITERS[suffix](named, state)
            _check(READERS[suffix](named), state, path)
            named.rename(aside)
        finally:
            named.unlink(missing_ok=True)
    return path.stat().st_size


_WRITERS: dict[str, Callable[[Path, State], None]] = {
    ".safetensors": safetensors.write,
    ".npz": npz.write,
    **dict.fromkeys(TORCH, torch_write.write),
}
READERS: dict[str, Callable[[Path], Contents]] = {
    ".safetensors": safetensors.read,
    ".npz": npz.read,
    **dict.fromkeys(TORCH, torch_file.read),
}


def _check(written: Contents, state: State, path: Path) -> None:
    found = written.named()
    if found.keys() != state.keys():
        raise CheckpointError(f"{path} was written with other names than it should have")
    for name, array in state.items():
        there = found[name].read()
        if there.shape != array.shape or there.tobytes() != np.ascontiguousarray(array).tobytes():
            raise CheckpointError(f"{path}: {name} was not written as it is")

"""Which format a path is, by what it starts with rather than by its name."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interop.formats import gguf, hdf5, npz, orbax, peft, runs, safetensors, steps, torch_file
from interop.formats.base import Contents, distinct
from interop.pickles.regions import File
from jfl import manifest
from jfl.errors import CheckpointError, UsageError

_MODELS = (".safetensors", ".npz", ".pt", ".pth", ".bin")


def read(path: Path, which: str = "last", classes: Sequence[str] = ()) -> Contents:
    """Returns what a file or folder holds; only headers are read.

    Raises:
        UsageError: it is not there.
        CheckpointError: it is damaged, or of no known format.
        SafetyError: it is made to attack its reader.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there; give a run, a checkpoint or a file of weights")
    return _folder(path, which) if path.is_dir() else _file(path, classes)


def _file(path: Path, classes: Sequence[str]) -> Contents:
    file = File(path)
    head = file.read(0, min(16, file.size))
    if head.startswith(b"GGUF"):
        return gguf.read(path)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) and path.suffix.lower() == ".npz":
        return npz.read(path)
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < file.size:
        return safetensors.read(path)
    hdf5.refuse(path)
    try:
        return torch_file.read(path, classes)
    except CheckpointError as error:
        if "is no pickle" not in str(error):
            raise
        raise CheckpointError(
            f"{path} is of no format jfl knows; there are torch files, pickles, .safetensors, "
            ".npz, .gguf, PEFT and Orbax folders, and runs"
        ) from error


def _folder(path: Path, which: str) -> Contents:
    if runs.is_run(path):
        return runs.read(path, which)
    if runs.is_checkpoint(path):
        return runs.read_checkpoint(path)
    if peft.is_adapter(path):
        return peft.read(path)
    if (path / "model.safetensors.index.json").is_file():
        return safetensors.read_folder(path)
    if (path / "model.safetensors").is_file():
        return safetensors.read(path / "model.safetensors")
    if orbax.steps(path):
        return steps.read(path, which)
    if orbax.items(path):
        return orbax.read(path)
    models = sorted(p for p in path.iterdir() if p.suffix.lower() in _MODELS)
    if (path / manifest.NAME).is_file() and models:
        return _models(path, models)
    peft.refuse_several(path)
    raise UsageError(f"{path} is not a run folder, and holds no checkpoint and no weights")


def _models(path: Path, models: list[Path]) -> Contents:
    """Returns the files that `jfl convert` wrote, one a client."""
    held = [(model, entry) for model in models for entry in _file(model, ()).entries]
    exact = ((f"{m.stem}.{entry.path}", f"[{m.name!r}].{entry.path}") for m, entry in held)
    entries = [
        replace(entry, path=name, place=entry.place and (model.name, entry.place))
        for name, (model, entry) in zip(distinct(str(path), exact), held, strict=True)
    ]
    clients = manifest.read(path).get("clients")
    return Contents("model files", entries, {"files": len(models)}, clients)

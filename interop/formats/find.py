"""Which format a path is, by what it starts with rather than by its name."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interop.formats import (
    gguf,
    hdf5,
    npz,
    orbax,
    peft,
    runs,
    safetensors,
    shards,
    steps,
    torch_file,
)
from interop.formats.base import Contents, distinct
from interop.pickles import files
from jfl.errors import CheckpointError, UsageError
from jfl.runs import manifest
from jfl.sources.pickles.regions import File

_MODELS = (".safetensors", ".npz", ".pt", ".pth", ".bin", ".ckpt", ".gguf")
_NO_MODEL = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state\w*)\.\w+")
"""What HuggingFace's trainer keeps beside the weights."""
_SHOWN = 5  # names in a message
_HEAD = 264  # bytes that tell a format
_FOREIGN = (
    (0, b"\x93NUMPY", "one array of numpy.save; give one of numpy.savez, whose arrays have names"),
    (0, b"\x1f\x8b", "compressed with gzip; unpack it with gunzip"),
    (257, b"ustar", "a tar archive; unpack it, or where torch 0.1 wrote it, torch.load and "
                    "torch.save it anew"),
)  # fmt: skip
"""Place, mark and what to do of formats that are taken for those jfl reads."""


def read(path: Path, which: str = "last", classes: Sequence[str] = ()) -> Contents:
    """Returns what a file or folder holds; only headers are read.

    Raises:
        UsageError: it is not there.
        CheckpointError: it is damaged, or of no known format.
        SafetyError: it is made to attack its reader.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there; give a run, a checkpoint or a file of weights")
    return _folder(path, which, classes) if path.is_dir() else _file(path, classes)


def is_pickle(path: Path) -> bool:
    """Tells whether a path is one file of torch or pickle, which may hold more than arrays."""
    if not path.is_file() or _form(File(path)) != "torch":
        return False
    try:
        files.kind(path)
    except CheckpointError:
        return False
    return True


def _form(file: File) -> str:
    """Returns which reader a file needs, by its first bytes; torch's takes what is left."""
    head = file.read(0, min(_HEAD, file.size))
    suffix = file.path.suffix.lower()
    if head.startswith(b"GGUF"):
        return "gguf"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) and suffix == ".npz":
        return "npz"
    headed = head[8:9] == b"{" and int.from_bytes(head[:8], "little") < file.size
    if headed or suffix == ".safetensors":
        return "safetensors"
    hdf5.refuse(file.path)
    for place, mark, what in _FOREIGN:
        if head[place:].startswith(mark):
            raise CheckpointError(f"{file.path} is {what}")
    return "torch"


def _file(path: Path, classes: Sequence[str]) -> Contents:
    readers = {"gguf": gguf.read, "npz": npz.read, "safetensors": safetensors.read}
    form = _form(File(path))
    if form in readers:
        return readers[form](path)
    try:
        return torch_file.read(path, classes)
    except CheckpointError as error:
        if "is no pickle" not in str(error):
            raise
        raise CheckpointError(
            f"{path} is of no format jfl knows; there are torch files, pickles, .safetensors, "
            ".npz, .gguf, PEFT and Orbax folders, and runs"
        ) from error


def _folder(path: Path, which: str, classes: Sequence[str]) -> Contents:
    if runs.is_run(path):
        return runs.read(path, which)
    if runs.is_checkpoint(path):
        return runs.read_checkpoint(path)
    if peft.is_adapter(path):
        return peft.read(path, classes)
    model = shards.read(path, classes)
    if model is not None:
        return model
    if orbax.steps(path):
        return steps.read(path, which)
    if orbax.items(path):
        return orbax.read(path)
    models = sorted(p for p in path.iterdir() if p.suffix.lower() in _MODELS)
    if (path / manifest.NAME).is_file() and models:
        return _models(path, models)
    models = [p for p in models if not _NO_MODEL.fullmatch(p.name)]
    if len(models) == 1:
        return replace(_file(models[0], classes), files=(models[0],))
    if models:
        names = ", ".join(p.name for p in models[:_SHOWN]) + ", ..." * (len(models) > _SHOWN)
        raise UsageError(f"{path} holds several files of weights: {names}; give one of them")
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

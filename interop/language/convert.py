"""What `jfl convert` does with folders of transformers and PEFT: other files, the same numbers."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interop.aside import written_aside
from interop.formats import peft
from interop.formats import write as files
from interop.formats.base import Writable
from interop.inspect import lora_names, lora_settings
from interop.language import adapter_read, adapter_settings, merge, numbers, write
from interop.language import folder as folders
from interop.language.adapter_read import BASE
from interop.language.folder import CONFIG, DTYPES
from jfl.errors import CheckpointError, UsageError
from jfl.files import texts
from jfl.files.strict_json import dumps

SUFFIXES = (".safetensors", ".bin")


def takes(source: Path, target: Path, suffix: str | None) -> bool:
    """Tells whether a source is such a folder, and the target is to be one."""
    if not source.is_dir() or target.suffix.lower() in files.SUFFIXES:
        return False
    known = peft.is_adapter(source) or folders.is_language(source)
    return known and suffix in (None, *SUFFIXES)


def run(
    source: Path, target: Path, *, base: Path | None, suffix: str | None, dry: bool
) -> dict[str, Any]:
    """Converts a folder into another, or puts an adapter into its base; returns the answer.

    Args:
        source: a network's folder, or an adapter's.
        target: a new folder.
        base: the folder of the network that an adapter is put into.
        suffix: .safetensors or .bin; None = .safetensors.
        dry: whether nothing is written.

    Raises:
        JflError: whatever is wrong, before or without leaving half a folder.
    """
    suffix = suffix or SUFFIXES[0]
    if base is not None:
        if not peft.is_adapter(source):
            raise UsageError(f"{source} is no folder of PEFT; --into takes an adapter")
        if suffix not in SUFFIXES or target.suffix.lower() in files.SUFFIXES:
            raise UsageError(f"--into makes a folder, of .safetensors or .bin; {target} is none")
        done = _merged(source, base, target, suffix, dry=dry)
    elif peft.is_adapter(source):
        done = _adapter(source, target, suffix, dry=dry)
    else:
        done = _network(source, target, suffix, dry=dry)
    return {"source": str(source), "destination": str(target), "clients": 0} | done


def _network(source: Path, target: Path, suffix: str, *, dry: bool) -> dict[str, Any]:
    opened = folders.opened(source)
    numbers.require_tied(opened)
    arrays = merge.plain(opened)
    if not dry:
        write.folder(
            target, texts.read(source / CONFIG), arrays, suffix=suffix,
            companions=write.companions(source),
        )  # fmt: skip
    skipped = [*opened.passed_over, *([opened.head.path] if opened.head else [])]
    notes = [f"{opened.head.path} is the embedding, to which it is tied"] if opened.head else []
    return answer("transformers folder", arrays, dry=dry, skipped=skipped, notes=notes)


def _merged(source: Path, base: Path, target: Path, suffix: str, *, dry: bool) -> dict[str, Any]:
    opened = folders.opened(base)
    numbers.require_tied(opened)
    lora, params, _ = adapter_read.read(source, opened.architecture)
    arrays = merge.merged(opened, lora, params)
    config = opened.config
    notes = []
    if opened.architecture.tied and "head.kernel" in lora.whole:
        config = config | {"tie_word_embeddings": False}
        notes.append("the head is no longer tied to the embedding: the adapter has one of its own")
    if not dry:
        write.folder(
            target, dumps(config, indent=2) + "\n", arrays, suffix=suffix,
            companions=write.companions(base),
        )  # fmt: skip
    return answer("transformers folder", arrays, dry=dry, notes=notes)


def _adapter(source: Path, target: Path, suffix: str, *, dry: bool) -> dict[str, Any]:
    """Writes an adapter anew; of which network it is need not be known."""
    about = adapter_settings.read(source)
    contents = peft.read(source)
    pairs, others = lora_names.targets(contents)
    settings = lora_settings.read(about, [pair.name for pair in pairs])
    for pair, setting in zip(pairs, settings, strict=True):
        if not pair.whole or len(pair.arrays) > 2 or pair.adapter or pair.turned:
            raise CheckpointError(f"{source} has of {pair.shown[:80]} no lora_A and lora_B alone")
        a, b = (pair.arrays[side].shape for side in "ab")
        if not len(a) == len(b) == 2 or {a[0], b[1]} != {setting.rank}:
            raise CheckpointError(
                f"{source} contradicts itself: {pair.shown[:80]} is {list(a)} and {list(b)}, but "
                f"by {peft.CONFIG} its rank is {setting.rank}"
            )
    saved = tuple(adapter_settings.words(about, "modules_to_save"))
    for entry in others:
        if not any(f"{word}." in entry.path for word in saved):
            raise CheckpointError(
                f"{source} holds {entry.path[:80]}, which {peft.CONFIG} does not ask for"
            )
    for entry in contents.entries:
        if not entry.path.startswith(BASE) or entry.dtype not in DTYPES:
            raise CheckpointError(
                f"{source} holds {entry.path[:80]} ({entry.dtype}); no LoRA is so"
            )
    arrays = {entry.path: merge.later(entry, source) for entry in contents.entries}
    if not dry:
        with written_aside(target) as aside:
            aside.mkdir()
            files.write(aside / f"adapter_model{suffix}", arrays)
            for path in (source / peft.CONFIG, *write.companions(source)):
                shutil.copyfile(path, aside / path.name)
    return answer(peft.KIND, arrays, dry=dry)


def answer(
    kind: str, arrays: Mapping[str, Writable], *, dry: bool, skipped: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Returns what the command answers of arrays that were written, or would be."""
    lines = [f"{k}  {' x '.join(map(str, a.shape))}  {a.dtype}" for k, a in arrays.items()]
    return {
        "kind": kind, "tensors": len(arrays), "bytes": sum(a.nbytes for a in arrays.values()),
        "verified": None if dry else True, "skipped": list(skipped),
        "notes": list(notes),
    } | ({"mapping": lines} if dry else {})  # fmt: skip

"""What `jfl convert` does with a GGUF file: a folder of transformers, tokenizer and all."""

from pathlib import Path
from typing import Any

from interop.formats import write as files
from interop.gguf import network, tokenizer
from interop.language import convert, merge, write
from jfl.errors import CheckpointError, UsageError
from jfl.files.strict_json import dumps
from jfl.sources.pickles.regions import File


def takes(source: Path, target: Path, suffix: str | None) -> bool:
    """Tells whether a source is such a file, and the target is to be a folder."""
    if not source.is_file() or target.suffix.lower() in files.SUFFIXES:
        return False
    file = File(source)
    head = file.read(0, min(4, file.size))
    return head == b"GGUF" and suffix in (None, *convert.SUFFIXES)


def run(source: Path, target: Path, *, suffix: str | None, dry: bool) -> dict[str, Any]:
    """Writes the network as float32 with its tokenizer and template; returns the answer.

    Args:
        source: the file.
        target: a new folder.
        suffix: .safetensors or .bin; None = .safetensors.
        dry: whether nothing is written.

    Raises:
        JflError: whatever is wrong, before or without leaving half a folder.
    """
    suffix = suffix or convert.SUFFIXES[0]
    if target.suffix.lower() == ".gguf":
        raise UsageError(f"{target}: jfl writes no .gguf; give a new folder")
    found = network.opened(source)
    arrays = merge.plain(found.folder)
    texts, notes = {}, []
    try:
        whole, about = tokenizer.content(found.header)
        texts = {"tokenizer.json": whole, "tokenizer_config.json": dumps(about, indent=2) + "\n"}
    except CheckpointError as error:
        notes.append(f"no tokenizer was written: {error}")
    if not dry:
        config = dumps(found.folder.config, indent=2) + "\n"
        write.folder(target, config, arrays, suffix=suffix, texts=texts)
    done = convert.answer(
        "transformers folder", arrays, dry=dry, skipped=found.folder.passed_over, notes=notes
    )
    return {"source": str(source), "destination": str(target), "clients": 0} | done

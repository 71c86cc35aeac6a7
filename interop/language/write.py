"""Folders as transformers writes them: config.json and weights, the large ones in several files.

Source: huggingface/transformers, modeling_utils.py and configuration_utils.py; huggingface_hub,
serialization/_base.py, for the names of the files and the index.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interop.aside import written_aside
from interop.formats import write as files
from interop.formats.base import Writable
from interop.language import numbers
from interop.language.architecture import of
from interop.language.folder import CONFIG, DTYPES
from jfl.errors import CheckpointError
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps

LIMIT = 5_000_000_000
"""Bytes of a file of weights, unless one array has more."""
STEMS = {".safetensors": "model", ".bin": "pytorch_model"}
COMPANIONS = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "chat_template.jinja",
)  # fmt: skip
"""Files beside the weights that hold no code and go with them to another folder."""


def from_params(
    target: Path, config: Mapping[str, Any], params: Mapping[str, Any], limit: int = LIMIT
) -> int:
    """Writes a network of jfl, and returns the bytes of its files; see `folder`.

    Args:
        target: a new folder.
        config: what config.json is to say. Whether the head is tied and which type numbers have
            is said as the arrays have it, whatever stands there.
        params: nested dicts of float32, float16 or bfloat16 arrays, as `numbers.params` has them.
        limit: bytes of a file.

    Raises:
        UsageError: the target exists.
        CheckpointError: the arrays are not of that network, or cannot be written.
    """
    made = of({**config, "tie_word_embeddings": "head" not in params})
    arrays = dict(numbers.named(made, params))
    dtypes = {str(array.dtype) for array in arrays.values()}
    if len(dtypes) > 1 or not dtypes <= {*DTYPES}:
        raise CheckpointError(
            f"{target} would hold {', '.join(sorted(dtypes))}; give one of {', '.join(DTYPES)}"
        )
    settings = {key: value for key, value in config.items() if key != "torch_dtype"} | {
        "architectures": [made.model], "dtype": dtypes.pop(), "tie_word_embeddings": made.tied,
    }  # fmt: skip
    return folder(target, dumps(settings, indent=2) + "\n", arrays, limit=limit)


def folder(
    target: Path, config: str, arrays: Mapping[str, Writable], *, suffix: str = ".safetensors",
    limit: int = LIMIT, companions: Iterable[Path] = (), texts: Mapping[str, str] | None = None,
) -> int:  # fmt: skip
    """Writes a folder whole or not at all, and returns the bytes of its files.

    Args:
        target: a new folder.
        config: the text of config.json.
        arrays: by the names of transformers; each is made when it is written.
        suffix: .safetensors or .bin.
        limit: bytes of a file.
        companions: small files that are copied into it.
        texts: by name, what further small files hold.

    Raises:
        UsageError: the target exists, or torch is needed and absent.
        CheckpointError: it cannot be written, or was not written as it is.
    """
    parts = _parts(arrays, limit)
    whole = f"{STEMS[suffix]}{suffix}"
    with written_aside(target) as aside:
        aside.mkdir()
        placed = {}
        for number, names in enumerate(parts, start=1):
            last = f"{STEMS[suffix]}-{number:05}-of-{len(parts):05}{suffix}"
            name = whole if len(parts) == 1 else last
            files.write(aside / name, {array: arrays[array] for array in names})
            placed |= dict.fromkeys(names, name)
        if len(parts) > 1:
            size = sum(array.nbytes for array in arrays.values())
            count = sum(int(np.prod(array.shape)) for array in arrays.values())
            about = {"total_parameters": count, "total_size": size}
            index = {"metadata": about, "weight_map": dict(sorted(placed.items()))}
            write_text(aside / f"{whole}.index.json", dumps(index, indent=2) + "\n")
        for name, text in {CONFIG: config, **(texts or {})}.items():
            write_text(aside / name, text)
        for path in companions:
            shutil.copyfile(path, aside / path.name)
    return sum(path.stat().st_size for path in target.iterdir())


def companions(source: Path) -> list[Path]:
    """Returns the files of a folder that go with its weights, such as its tokenizer's."""
    return [source / name for name in COMPANIONS if (source / name).is_file()]


def _parts(arrays: Mapping[str, Writable], limit: int) -> Sequence[Sequence[str]]:
    """Returns names in their order, in groups that have no more bytes than the limit."""
    parts: list[list[str]] = [[]]
    room = limit
    for name, array in arrays.items():
        if parts[-1] and array.nbytes > room:
            parts.append([])
            room = limit
        parts[-1].append(name)
        room -= array.nbytes
    return parts

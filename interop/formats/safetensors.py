"""safetensors files: a JSON header and raw numbers; read and written here, without the library.

Source: the format's own description, huggingface/safetensors, README.md, section "Format".
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from interop.formats.base import MOST_ARRAYS, Contents, Entry, Writable, parsed, stored
from jfl.errors import CheckpointError
from jfl.sources.npy import numbers
from jfl.sources.pickles.regions import File

_DTYPES = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16), "I64": np.dtype("<i8"), "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U64": np.dtype("<u8"), "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn), "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "C64": np.dtype("<c8"), "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
}  # fmt: skip
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}  # of a number, packed without gaps: only listed
_WORD = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
_WORDS = {dtype: word for word, dtype in _DTYPES.items()}
_LONGEST_HEADER = 100 << 20  # bytes, the format's own limit


def read(path: Path) -> Contents:
    """Returns the arrays of a file, checked to fill it without gap or overlap.

    Raises:
        CheckpointError: it is damaged or no such file.
    """
    file = File(path)
    if file.size < 8:
        raise CheckpointError(f"{path} is no safetensors file: it has {file.size} bytes")
    length = int.from_bytes(file.read(0, 8), "little")
    if not 2 <= length <= min(_LONGEST_HEADER, file.size - 8):
        raise CheckpointError(
            f"{path} is no safetensors file, or truncated: a header of {length:,}"
        )
    try:
        header = parsed(file.read(8, length))
        about = header.pop("__metadata__", {})
        if len(header) > MOST_ARRAYS:
            raise ValueError(f"{len(header):,} arrays, more than the {MOST_ARRAYS:,} that are read")
        spans = [(name, *_span(entry)) for name, entry in header.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} has a damaged header ({str(error)[:80]})") from error
    end = 0
    for name, _, _, start, stop in sorted(spans, key=lambda span: (span[3], span[4])):
        if start != end:
            raise CheckpointError(f"{path} is damaged: {name[:80]} starts at {start}, not {end}")
        end = stop
    if end != file.size - 8 - length:
        raise CheckpointError(f"{path} is truncated or too long: its arrays end at {end:,}")
    entries = [_entry(file, 8 + length, *span) for span in spans]
    return Contents("safetensors", entries, {"metadata": about} if about else {})


def write(path: Path, arrays: Mapping[str, Writable], about: Mapping[str, str] = {}) -> None:
    """Writes arrays in C order, sorted by name; the numbers start at a multiple of 8.

    Raises:
        CheckpointError: a type of numbers the format does not have.
    """
    if "__metadata__" in arrays:
        raise CheckpointError(
            "an array named __metadata__ cannot be a safetensors file's, which calls its notes so; "
            "give .npz"
        )
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **about}}
    place = 0
    for name in sorted(arrays):
        array = arrays[name]
        word = _WORDS.get(array.dtype)
        if word is None:
            raise CheckpointError(f"{name} holds {array.dtype}, which safetensors do not have")
        header[name] = {
            "dtype": word,
            "shape": list(array.shape),
            "data_offsets": [place, place + array.nbytes],
        }
        place += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(arrays):
            file.write(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())


def _span(entry: dict[str, Any]) -> tuple[str, tuple[int, ...], int, int]:
    word, shape = entry["dtype"], tuple(entry["shape"])
    start, stop = entry["data_offsets"]
    if any(type(n) is not int or n < 0 for n in (start, stop)) or start > stop:
        raise ValueError("numbers that are no sizes")
    count = numbers(shape)
    bits = _DTYPES[word].itemsize * 8 if word in _DTYPES else _BITS.get(word)
    if bits is not None and (stop - start) * 8 != count * bits:
        raise ValueError(f"{stop - start} bytes for the shape {list(shape)}")
    if bits is None and not _WORD.fullmatch(word):  # a newer one is listed, with the room it has
        raise ValueError(f"the type {word:.40}")
    return word, shape, start, stop


def _entry(
    file: File, base: int, name: str, word: str, shape: tuple[int, ...], start: int, stop: int
) -> Entry:
    dtype = _DTYPES.get(word)
    if dtype is None:
        size = stop - start
        return Entry(name, shape, word, size, raw=lambda: file.read(base + start, size))
    return stored(file, base + start, name, shape, dtype)

"""GGUF files: what their header says; numbers in blocks are listed, not read.

Source: ggml-org/ggml, docs/gguf.md, and the block sizes of its types.
"""

import math
import struct
from pathlib import Path
from typing import Any

from interop.formats.base import Contents, Entry, distinct
from interop.pickles.regions import File
from interop.pickles.tokens import Tape
from jfl.errors import CheckpointError

_SIMPLE = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_TEXT, _LIST = 8, 9
# name, numbers in a block, bytes of a block
_TYPES = {
    0: ("float32", 1, 4), 1: ("float16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 24: ("int8", 1, 1), 25: ("int16", 1, 2),
    26: ("int32", 1, 4), 27: ("int64", 1, 8), 28: ("float64", 1, 8), 30: ("bfloat16", 1, 2),
}  # fmt: skip
_MOST = 1_000_000  # arrays or settings
_LONGEST = 1 << 20  # bytes of a text that is kept
_SHOWN = 64  # settings


def read(path: Path) -> Contents:
    """Returns the arrays of a file and its settings.

    Raises:
        CheckpointError: it is damaged or no such file.
    """
    tape = Tape(File(path).whole())
    try:
        if tape.take(4) != b"GGUF":
            raise ValueError("it does not start as one")
        version, count, settings = struct.unpack("<IQQ", tape.take(20))
        if version not in (2, 3) or max(count, settings) > _MOST:
            raise ValueError(f"version {version}, {count} arrays, {settings} settings")
        about = {}
        for _ in range(settings):
            key = _text(tape)
            (kind,) = struct.unpack("<I", tape.take(4))
            about[key] = _value(tape, kind)
        entries = [_entry(tape) for _ in range(count)]
    except (ValueError, struct.error, RecursionError) as error:
        raise CheckpointError(f"{path} is no GGUF file, or damaged ({str(error)[:100]})") from error
    distinct(str(path), [(entry.path, entry.path) for entry in entries])
    shown = {key: value for key, value in list(about.items())[:_SHOWN] if value is not None}
    return Contents("gguf", entries, {"metadata": shown})


def _entry(tape: Tape) -> Entry:
    name = _text(tape)
    (axes,) = struct.unpack("<I", tape.take(4))
    if axes > 8:
        raise ValueError(f"{axes} axes")
    shape = tuple(reversed(struct.unpack(f"<{axes}Q", tape.take(8 * axes))))
    kind, _ = struct.unpack("<IQ", tape.take(12))
    word, numbers, size = _TYPES.get(kind, (f"type {kind}", 1, 0))
    return Entry(name, shape, word, -(-math.prod(shape) // numbers) * size)


def _text(tape: Tape) -> str:
    (length,) = struct.unpack("<Q", tape.take(8))
    if length > _LONGEST:
        raise ValueError(f"a text of {length} bytes")
    return tape.take(length).decode("utf-8", errors="replace")


def _value(tape: Tape, kind: int, depth: int = 0) -> Any:
    """Returns a setting, None for a list, which is only passed over."""
    if kind in _SIMPLE:
        (value,) = struct.unpack(_SIMPLE[kind], tape.take(struct.calcsize(_SIMPLE[kind])))
        return value
    if kind == _TEXT:
        return _text(tape)
    if kind != _LIST or depth > 4:
        raise ValueError(f"a setting of type {kind}")
    inner, length = struct.unpack("<IQ", tape.take(12))
    if inner in _SIMPLE:
        tape.skip(length * struct.calcsize(_SIMPLE[inner]))
        return None
    if length > 64 * _MOST:
        raise ValueError(f"a list of {length}")
    for _ in range(length):
        _value(tape, inner, depth + 1)
    return None

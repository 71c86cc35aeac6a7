"""GGUF files: what their header says; numbers in blocks are listed, plain ones can be read.

Source: ggml-org/ggml, docs/gguf.md, and the block sizes of its types.
"""

import math
from pathlib import Path

import ml_dtypes
import numpy as np

from interop.formats.base import Contents, Entry, stored
from interop.gguf import header as headers
from interop.gguf.header import Header, Listed, Span
from jfl.sources.npy import numbers
from jfl.sources.pickles.regions import File

_PLAIN = {
    0: np.dtype("<f4"), 1: np.dtype("<f2"), 24: np.dtype("i1"), 25: np.dtype("<i2"),
    26: np.dtype("<i4"), 27: np.dtype("<i8"), 28: np.dtype("<f8"), 30: np.dtype(ml_dtypes.bfloat16),
}  # fmt: skip
# name, numbers in a block, bytes of a block; 31 to 33 and 36 to 38 are of older programs
_BLOCKS = {
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56), 31: ("Q4_0_4_4", 32, 18),
    32: ("Q4_0_4_8", 32, 18), 33: ("Q4_0_8_8", 32, 18), 34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66), 36: ("IQ4_NL_4_4", 32, 18), 37: ("IQ4_NL_4_8", 32, 18),
    38: ("IQ4_NL_8_8", 32, 18), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
}  # fmt: skip
_SHOWN = 64  # settings


def read(path: Path) -> Contents:
    """Returns the arrays of a file and its settings; the file must hold all their numbers.

    Raises:
        CheckpointError: it is damaged, cut short, or no such file.
    """
    header = headers.read(path)
    shown = [(k, v) for k, v in list(header.settings.items())[:_SHOWN] if type(v) is not Listed]
    return Contents("gguf", entries(header), {"metadata": dict(shown)})


def entries(header: Header) -> list[Entry]:
    """Returns the arrays of a file, in its order; those in blocks have `raw` and no rows.

    Raises:
        CheckpointError: the file does not hold all their numbers, or holds some twice.
    """
    try:
        return _entries(header.file, header.base, header.spans)
    except ValueError as error:
        raise headers.damaged(header.file.path, error) from error


def _entries(file: File, base: int, spans: list[Span]) -> list[Entry]:
    """Returns the arrays, checked to lie in the file and not over one another."""
    known = {span: _size(span) for span in spans}
    ordered = sorted(spans, key=lambda span: (span.start, known[span] or 0))
    rooms = dict.fromkeys(spans, 0)
    for span, after in zip(ordered, [*ordered, None][1:], strict=True):
        end = file.size - base if after is None else after.start
        rooms[span] = end - span.start
        if rooms[span] < (known[span] or 0):
            what = f"ends at {file.size:,}" if after is None else f"has {after.name[:80]} there"
            raise ValueError(
                f"{span.name[:80]} takes {known[span] or 0:,} bytes from byte "
                f"{base + span.start:,}, but the file {what}; download it again"
            )
    # an array of a type that is newer than jfl fills what room it has
    sizes = {span: rooms[span] if size is None else size for span, size in known.items()}
    return [_entry(file, base, span, sizes[span]) for span in spans]


def _size(span: Span) -> int | None:
    """Returns the bytes of an array, None where its type is not known."""
    if span.kind in _PLAIN:
        return math.prod(span.shape) * _PLAIN[span.kind].itemsize
    if span.kind not in _BLOCKS:
        return None
    word, block, size = _BLOCKS[span.kind]
    if (span.shape[-1] if span.shape else 1) % block:
        raise ValueError(f"{span.name[:80]} has rows of {word} that are no whole blocks")
    return math.prod(span.shape) // block * size


def _entry(file: File, base: int, span: Span, size: int) -> Entry:
    numbers(span.shape)  # the type may be unknown, and an axis of none hides others
    dtype = _PLAIN.get(span.kind)
    if dtype is not None:
        return stored(file, base + span.start, span.name, span.shape, dtype)
    word = _BLOCKS[span.kind][0] if span.kind in _BLOCKS else f"type {span.kind}"
    return Entry(span.name, span.shape, word, size, raw=lambda: file.read(base + span.start, size))

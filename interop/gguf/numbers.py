"""The numbers of a GGUF file as float32, those in blocks by way of the gguf package."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from interop.formats.base import Entry
from interop.layout import Array
from jfl.errors import CheckpointError, UsageError

PLAIN = ("float32", "float16", "bfloat16")
BLOCKS = ("Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K")


def readable(entry: Entry, where: str) -> Entry:
    """Returns an array that reads as float32, one array at a time.

    Raises:
        CheckpointError: jfl does not read its type.
        UsageError: the gguf package is needed and absent.
    """
    if entry.dtype in PLAIN:
        return replace(entry, dtype="float32", rows=_rows(lambda: entry.read().astype(np.float32)))
    if entry.dtype not in BLOCKS or len(entry.shape) != 2:
        known = ", ".join((*(dtype for dtype in ("F32", "F16", "BF16")), *BLOCKS))
        raise CheckpointError(
            f"{where} holds {entry.path[:80]} as {entry.dtype}; jfl reads {known}, so quantise it "
            "otherwise with llama.cpp's llama-quantize"
        )
    unpacked = _unpacked(entry, where)
    return replace(entry, dtype="float32", rows=_rows(unpacked), stream=None)


def _rows(whole: Callable[[], Array]) -> Callable[[int, int], Array]:
    return lambda first, last: whole()[first:last]


def _unpacked(entry: Entry, where: str) -> Callable[[], Array]:
    try:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize
    except ImportError as error:
        raise UsageError(
            f"reading {where} needs gguf; install jfl's extra `lm`, as in JFL_EXTRAS=lm"
        ) from error

    def whole() -> Array:
        assert entry.raw is not None
        blocks = np.frombuffer(entry.raw(), np.uint8).reshape(entry.shape[0], -1)
        with np.errstate(all="ignore"):  # scales that are not finite are refused by who reads
            return dequantize(blocks, GGMLQuantizationType[entry.dtype]).reshape(entry.shape)

    return whole

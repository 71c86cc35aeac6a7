"""Numbers of GGUF's blocks, one at a time, from the C structures of ggml-quants.

Source: ggml-org/ggml, src/ggml-common.h for the structures, and src/ggml-quants.c,
dequantize_row_q4_0 and so on, for what they mean.
"""

import numpy as np


def _half(content: bytes) -> float:
    return float(np.frombuffer(content, "<f2")[0])


def _q8_0(block: bytes) -> list[float]:
    scale = _half(block[:2])
    return [scale * int(np.int8(np.uint8(byte))) for byte in block[2:]]


def _q4_0(block: bytes) -> list[float]:
    scale = _half(block[:2])
    numbers = [byte & 15 for byte in block[2:]] + [byte >> 4 for byte in block[2:]]
    return [scale * (number - 8) for number in numbers]


def _q4_1(block: bytes) -> list[float]:
    scale, least = _half(block[:2]), _half(block[2:4])
    numbers = [byte & 15 for byte in block[4:]] + [byte >> 4 for byte in block[4:]]
    return [scale * number + least for number in numbers]


def _q4_k(block: bytes) -> list[float]:
    scale, least, packed, quants = _half(block[:2]), _half(block[2:4]), block[4:16], block[16:]
    found = []
    for part in range(8):
        if part < 4:
            factor, offset = packed[part] & 63, packed[part + 4] & 63
        else:
            factor = (packed[part + 4] & 15) | (packed[part - 4] >> 6 << 4)
            offset = (packed[part + 4] >> 4) | (packed[part] >> 6 << 4)
        for place in range(32):
            byte = quants[part // 2 * 32 + place]
            number = byte >> 4 if part % 2 else byte & 15
            found.append(scale * factor * number - least * offset)
    return found


def _q6_k(block: bytes) -> list[float]:
    low, high, scales, scale = block[:128], block[128:192], block[192:208], _half(block[208:])
    found = [0.0] * 256
    for half in range(2):
        for place in range(32):
            first, second = low[half * 64 + place], low[half * 64 + place + 32]
            top = high[half * 32 + place]
            numbers = (
                (first & 15) | ((top & 3) << 4), (second & 15) | ((top >> 2 & 3) << 4),
                (first >> 4) | ((top >> 4 & 3) << 4), (second >> 4) | ((top >> 6 & 3) << 4),
            )  # fmt: skip
            for row, number in enumerate(numbers):
                factor = int(np.int8(np.uint8(scales[half * 8 + place // 16 + 2 * row])))
                found[half * 128 + row * 32 + place] = scale * factor * (number - 32)
    return found


BLOCKS = {"Q8_0": (34, _q8_0), "Q4_0": (18, _q4_0), "Q4_1": (20, _q4_1), "Q4_K": (144, _q4_k),
          "Q6_K": (210, _q6_k)}  # fmt: skip
"""Bytes of a block, and what reads one."""


def numbers(kind: str, row: bytes) -> np.ndarray:
    """The numbers of a row."""
    size, read = BLOCKS[kind]
    found = [number for at in range(0, len(row), size) for number in read(row[at : at + size])]
    return np.array(found, np.float32)

"""Pickles written opcode by opcode, as Python 2 wrote CIFAR's archives (protocol 2)."""

import struct

import numpy as np


def batch(x: np.ndarray, labels: list[int], label_key: bytes) -> bytes:
    """A CIFAR batch: {batch_label, <label_key>, data, filenames}."""
    items = [
        text(b"batch_label") + text(b"testing batch 1 of 1"),
        text(label_key) + numbers(labels),
        text(b"data") + array(x),
        text(b"filenames") + b"](" + b"".join(text(b"a.png") for _ in labels) + b"e",
    ]
    return b"\x80\x02}q\x01(" + b"".join(items) + b"u."


def text(content: bytes) -> bytes:
    """A short string of Python 2."""
    return b"U" + bytes([len(content)]) + content


def numbers(values: list[int]) -> bytes:
    """A list of small numbers."""
    return b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"


def array(x: np.ndarray) -> bytes:
    """An array of bytes, as NumPy 1 pickled it under Python 2."""
    shape = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in x.shape) + b"t"
    dtype = (
        b"cnumpy\ndtype\nq\x05(" + text(b"u1") + b"K\x00K\x01tRq\x06"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    content = x.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03(K\x00t" + text(b"b")
        + b"\x87Rq\x04(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(content))
        + content + b"tb"
    )  # fmt: skip

"""Tensors on the wire: exact or as exact as their type, and refused where they lie."""

import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jfl.split.wire import frames, messages
from jfl.split.wire.tensors import DTYPES, Malformed, decode, encode

RNG = np.random.default_rng(0)
ERRORS = {"f32": 0.0, "bf16": 2**-8, "f16": 2**-11, "int8": 1 / 253}
"""Largest error, for int8 as a share of the largest number of a token."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_what_comes_back_is_as_exact_as_its_type(dtype: str, size: float) -> None:
    array = (size * RNG.normal(size=(2, 5, 16))).astype(np.float32)
    sent = encode(array, dtype)
    found = decode(messages.message("Tensor").FromString(sent.SerializeToString()), (2, None, 16))
    per_token = np.abs(array).max(-1, keepdims=True)
    room = ERRORS[dtype] * (per_token if dtype == "int8" else np.abs(array))
    smallest = per_token.max() * 2.0**-38 if dtype == "f16" else 0  # below it f16 loses digits
    assert (np.abs(found - array) <= room + smallest).all()
    assert found.dtype == np.float32
    widths = {"f32": 4, "bf16": 2, "f16": 2, "int8": 1}
    assert len(sent.data) == array.size * widths[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_and_arrays_in_any_order_of_memory(dtype: str) -> None:
    zeros = np.zeros((1, 2, 3), np.float32)
    np.testing.assert_array_equal(decode(encode(zeros, dtype)), zeros)
    turned = np.arange(24, dtype=np.float32).reshape(2, 3, 4).T[::-1]
    np.testing.assert_array_equal(decode(encode(turned, "f32")), turned)


def test_bf16_rounds_to_nearest() -> None:
    found = decode(encode(np.array([1 + 2**-8 + 2**-12], np.float32), "bf16"))
    assert found[0] == 1 + 2**-7


def liars() -> dict[str, tuple[dict, str]]:
    return {
        "dtype": ({"dtype": 9}, "dtype 9 is none of"),
        "axes": ({"shape": [1, 1, 1, 2, 12]}, "5 axes"),
        "none": ({"shape": []}, "0 axes"),
        "long": ({"shape": [2, 13]}, "that has 96 bytes"),
        "huge": ({"shape": [2**32 - 1] * 4}, "that has 96 bytes"),
        "other": ({"shape": [3, 8]}, r"but \[any, 12\] was to come"),
        "scale": ({"scale": b"1234"}, "4 of scales"),
        "crc": ({"crc32": 7}, "checksum"),
        "empty": ({"shape": [0, 12], "data": b""}, "was to come"),
    }


@pytest.mark.parametrize("name", liars())
def test_a_header_that_lies_is_refused(name: str) -> None:
    changes, said = liars()[name]
    tensor = encode(np.ones((2, 12), np.float32), "f32")
    for field, value in changes.items():
        if field == "shape":
            del tensor.shape[:]
            tensor.shape.extend(value)
        else:
            setattr(tensor, field, value)
    shape = (None, 12) if name in ("other", "empty") else None
    with pytest.raises(Malformed, match=said):
        decode(tensor, shape)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_that_are_none_are_refused_on_both_sides(bad: float, dtype: str) -> None:
    with pytest.raises(Malformed, match="NaN or infinite"):
        encode(np.array([[1, bad]], np.float32), dtype)
    if dtype != "int8":
        tensor = encode(np.array([[1, 2]], np.float32), dtype)
        width = len(tensor.data) // 2
        tensor.data = tensor.data[:width] + b"\xff" * width
        tensor.crc32 = zlib.crc32(tensor.scale, zlib.crc32(tensor.data))
        with pytest.raises(Malformed, match="NaN or infinite"):
            decode(tensor)


@pytest.mark.parametrize("size", [0, 1, frames.PIECE - 1, frames.PIECE, 2 * frames.PIECE + 1])
def test_messages_in_pieces_are_whole_again(size: int) -> None:
    message = messages.message("Call")(session="a")
    message.input.data = RNG.bytes(size)
    pieces = list(frames.cut(message))
    assert max(len(piece.data) for piece in pieces) <= frames.PIECE
    assert frames.joined(pieces, "Call", 1 << 23) == message


def test_pieces_that_lie_are_refused() -> None:
    message = messages.message("Call")(session="a" * 100)
    frame = messages.message("Frame")
    (piece,) = frames.cut(message)
    for given_pieces, said in (
        ([], "0 bytes of a message of 0"),
        ([frame(total=1 << 40, data=b"a")], "up to 1000 are taken"),
        ([frame(total=200, data=piece.data)], "bytes of a message of 200"),
        ([piece, piece], "bytes of a message of"),
        ([frame(total=104, data=b"\xff" * 104)], "no Call of"),
        ([frame(total=9, data=b""), frame(total=9, data=b"a" * 9)], "0 bytes of a message of 9"),
    ):
        with pytest.raises(Malformed, match=said):
            frames.joined(given_pieces, "Call", 1000)


@given(st.binary(max_size=200), st.integers(0, 150))
def test_any_bytes_are_read_or_refused(content: bytes, place: int) -> None:
    good = messages.message("Call")(session="s", step=3, input=encode(np.ones((1, 2, 3)), "int8"))
    raw = good.SerializeToString()
    for sent in (content, raw[:place] + content + raw[place + len(content) :]):
        with suppress(Malformed):
            assert decode(frames.parsed(sent, "Call").input, (None, None, 3)).shape[2] == 3

"""What tokens of a tokenizer.json stand for, as bytes, by the decoder that it names."""

from collections.abc import Callable
from functools import cache
from typing import Any

from jfl.errors import DataError

Decode = Callable[[str, bool], bytes]
"""A token's string, and whether it is the first of a text, to bytes."""

_SPACE = "\u2581"


def of(decoder: Any, where: str) -> Decode:
    """Returns the function for a decoder as tokenizer.json has it.

    Raises:
        DataError: jfl does not know it.
    """
    steps = _flat(decoder)
    kinds = [step.get("type") for step in steps]
    if not kinds:
        return _joined
    if kinds == ["ByteLevel"]:
        return _byte_level
    if kinds == ["WordPiece"]:
        return _word_piece(str(steps[0].get("prefix", "##")))
    if set(kinds) <= {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        return _sentence_piece(steps, where)
    raise DataError(f"{where} decodes with {', '.join(map(str, kinds))}, which jfl does not know")


def _flat(decoder: Any) -> list[dict[str, Any]]:
    if not isinstance(decoder, dict):
        return []
    if decoder.get("type") == "Sequence" and isinstance(decoder.get("decoders"), list):
        return [step for inner in decoder["decoders"] for step in _flat(inner)]
    return [decoder]


@cache
def alphabet() -> dict[str, int]:
    """Returns the bytes by the letters that GPT-2's files write for them."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(256 + n): byte for n, byte in enumerate(others)
    }


def _byte_level(token: str, first: bool) -> bytes:  # noqa: ARG001 - alike everywhere
    known = alphabet()
    try:
        return bytes([known[letter] for letter in token])
    except KeyError:
        return token.encode()


def _joined(token: str, first: bool) -> bytes:
    return (token if first else f" {token}").encode()


def _word_piece(mark: str) -> Decode:
    def decode(token: str, first: bool) -> bytes:
        if token.startswith(mark) and not first:
            return token[len(mark) :].encode()
        return _joined(token, first)

    return decode


def _sentence_piece(steps: list[dict[str, Any]], where: str) -> Decode:
    fallback, strip, drop, swaps = False, False, False, []
    for step in steps:
        match step:
            case {"type": "ByteFallback"}:
                fallback = True
            case {"type": "Strip", "content": " ", "start": 0 | 1 as start, "stop": 0}:
                strip = bool(start)
            case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)} if old:
                swaps.append((old, new))
            case {"type": "Metaspace"}:
                swaps.append((str(step.get("replacement", _SPACE)), " "))
                drop = step.get("prepend_scheme", "always") != "never"
            case {"type": "Fuse"}:
                pass
            case _:
                raise DataError(f"{where} decodes with {step!r:.100}, which jfl does not know")

    def decode(token: str, first: bool) -> bytes:
        if fallback and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            try:
                return bytes([int(token[3:5], 16)])
            except ValueError:
                pass
        for old, new in swaps:
            token = token.replace(old, "" if drop and first else new)
        return token.removeprefix(" ").encode() if strip and first else token.encode()

    return decode

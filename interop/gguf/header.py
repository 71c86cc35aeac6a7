"""What the header of a GGUF file says: its settings, and where each array lies.

Source: ggml-org/ggml, docs/gguf.md.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from interop.formats.base import MOST_ARRAYS, distinct
from jfl.errors import CheckpointError
from jfl.sources.pickles.regions import File
from jfl.sources.pickles.tokens import Tape

_SIMPLE = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_TEXT, _LIST = 8, 9
_MOST = 1_000_000  # settings
_LISTED = 1 << 22  # values of a list
_LONGEST = 1 << 20  # bytes of a text
_ALIGNMENT = 32  # bytes, where the file says no other


class Span(NamedTuple):
    """An array of the header; `start` counts from where the numbers begin."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int


class Listed(NamedTuple):
    """A list that was passed over."""

    kind: int
    length: int
    position: int


@dataclass(frozen=True)
class Header:
    """The header of a file, checked as far as it goes."""

    file: File
    settings: dict[str, Any]
    """Numbers and texts as they are, lists as `Listed`."""
    spans: list[Span]
    base: int
    """The byte at which the numbers begin."""

    @property
    def where(self) -> str:
        """The file, for messages."""
        return str(self.file.path)

    def values(self, key: str) -> list[Any] | None:
        """Returns the numbers or texts of a list; None where there is no such list.

        Raises:
            CheckpointError: it is of another kind, or holds a text that is not UTF-8.
        """
        place = self.settings.get(key)
        if place is None:
            return None
        if not isinstance(place, Listed) or place.kind == _LIST:
            raise CheckpointError(f"{self.where} has a {key} that is no list of numbers or texts")
        tape = Tape(self.file.whole(), place.position)
        try:
            if place.kind == _TEXT:
                return [_bytes(tape).decode() for _ in range(place.length)]
            form = f"<{place.length}{_SIMPLE[place.kind]}"
            return list(struct.unpack(form, tape.take(struct.calcsize(form))))
        except ValueError as error:
            raise CheckpointError(f"{self.where} has a {key} with a text that is none") from error


def read(path: Path) -> Header:
    """Returns the header of a file.

    Raises:
        CheckpointError: it is damaged, cut short, or no such file.
    """
    file = File(path)
    tape = Tape(file.whole())
    try:
        if tape.take(4) != b"GGUF":
            raise ValueError("it does not start as one")
        version, count, settings = struct.unpack("<IQQ", tape.take(20))
        if version not in (2, 3) or count > MOST_ARRAYS or settings > _MOST:
            raise ValueError(f"version {version}, {count} arrays, {settings} settings")
        about: dict[str, Any] = {}
        for _ in range(settings):
            key = _text(tape)
            if key in about:
                raise ValueError(f"{key[:80]} stands twice")
            (kind,) = struct.unpack("<I", tape.take(4))
            about[key] = _value(tape, kind)
        spans = [_span(tape) for _ in range(count)]
        distinct(str(path), [(span.name, span.name) for span in spans])
        alignment = about.get("general.alignment", _ALIGNMENT)
        if type(alignment) is not int or alignment < 1:
            raise ValueError(f"general.alignment={alignment}")
    except (ValueError, struct.error, RecursionError) as error:
        raise damaged(path, error) from error
    return Header(file, about, spans, -(-tape.position // alignment) * alignment)


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Returns the error that says so."""
    return CheckpointError(f"{path} is no GGUF file, or damaged ({str(error)[:200]})")


def _span(tape: Tape) -> Span:
    name = _text(tape)
    (axes,) = struct.unpack("<I", tape.take(4))
    if axes > 8:
        raise ValueError(f"{axes} axes")
    shape = tuple(reversed(struct.unpack(f"<{axes}Q", tape.take(8 * axes))))
    return Span(name, shape, *struct.unpack("<IQ", tape.take(12)))


def _bytes(tape: Tape) -> bytes:
    (length,) = struct.unpack("<Q", tape.take(8))
    if length > _LONGEST:
        raise ValueError(f"a text of {length} bytes")
    return tape.take(length)


def _text(tape: Tape) -> str:
    return _bytes(tape).decode("utf-8", errors="replace")


def _value(tape: Tape, kind: int, depth: int = 0) -> Any:
    """Returns a setting; a list is only passed over."""
    if kind in _SIMPLE:
        form = f"<{_SIMPLE[kind]}"
        (value,) = struct.unpack(form, tape.take(struct.calcsize(form)))
        return value
    if kind == _TEXT:
        return _text(tape)
    if kind != _LIST or depth > 4:
        raise ValueError(f"a setting of type {kind}")
    inner, length = struct.unpack("<IQ", tape.take(12))
    place = Listed(inner, length, tape.position)
    if inner in _SIMPLE:
        tape.skip(length * struct.calcsize(f"<{_SIMPLE[inner]}"))
    elif length > _LISTED:
        raise ValueError(f"a list of {length}")
    else:
        for _ in range(length):
            if inner == _TEXT:
                _bytes(tape)
            else:
                _value(tape, inner, depth + 1)
    return place

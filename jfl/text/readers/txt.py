"""Plain text: a file is one document, read in pieces that end where a line does.

Each piece is a row with `text`, `begins` and `ends`: whether the document does with it. Pieces are
cut between a line's end and a letter, where tokenizers that split texts at blanks cut as well.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path

from jfl.errors import DataError
from jfl.files import texts
from jfl.text.readers.base import Row

ENDINGS = (".txt",)
_PIECE = 1 << 20  # letters
_CHUNK = 1 << 16  # bytes


def rows(path: Path, start: int) -> Iterator[Row]:
    """Yields the pieces of a file from number `start` on.

    Raises:
        DataError: it cannot be read, or is no text.
    """
    held, number = "", 0
    for more in _letters(path):
        held += more
        while len(held) > _PIECE and (end := _end(held)):
            if number >= start:
                yield {"text": held[:end], "begins": number == 0, "ends": False}
            held, number = held[end:], number + 1
    if held and number >= start:
        yield {"text": held, "begins": number == 0, "ends": True}


def _end(text: str) -> int:
    """Returns where the first piece of a text ends; 0 where more has to be read to know that."""
    place = _PIECE
    while (place := text.rfind("\n", 0, place)) >= 0:
        if not text[place + 1].isspace():
            return place + 1
    return _PIECE if len(text) > 2 * _PIECE else 0


def _letters(path: Path) -> Iterator[str]:
    """Yields a text file's letters; line ends of Windows are as others."""
    done, chunk = 0, b""
    try:
        with path.open("rb") as file:
            encoding = texts.encoding(file.read(4))
            file.seek(0)
            decoder = codecs.getincrementaldecoder(encoding)("strict")
            after = ""
            while chunk := file.read(_CHUNK):
                text = after + decoder.decode(chunk)
                done += len(chunk)
                after = "\r" if text.endswith("\r") else ""
                text = text.removesuffix(after)
                yield text.replace("\r\n", "\n").replace("\r", "\n")
            yield after.replace("\r", "\n") + decoder.decode(b"", final=True)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        place = (
            done + error.start - (len(error.object) - len(chunk) if chunk else len(error.object))
        )
        raise DataError(
            f"{path} is no UTF-8 text (byte {max(0, place):,}); save it as UTF-8"
        ) from error

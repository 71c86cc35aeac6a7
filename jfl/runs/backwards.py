"""The lines of a file from its end, for who needs only the newest of many."""

from collections.abc import Iterator
from pathlib import Path

_BLOCK = 1 << 16  # bytes that are read at once


def lines_backwards(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields the lines of a file, the last one first, each with the place of its first byte.

    What follows the last end of a line comes first, and may be empty.
    """
    with path.open("rb") as file:
        place = file.seek(0, 2)
        parts: list[bytes] = []  # of a line whose beginning was not read yet, the last one first
        while place > 0:
            size = min(_BLOCK, place)
            place -= size
            file.seek(place)
            block = file.read(size)
            end = len(block)
            while (cut := block.rfind(b"\n", 0, end)) >= 0:
                yield place + cut + 1, b"".join([block[cut + 1 : end], *reversed(parts)])
                parts, end = [], cut
            parts.append(block[:end])
        yield 0, b"".join(reversed(parts))

"""Members of a folder, a zip, tar or deb file, read into memory: their names are no paths."""

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import Any

from jfl.errors import DataError, SafetyError
from jfl.sources import debs, zips
from jfl.sources.expansion import ARCHIVES, Counted, Expansion

Wanted = Callable[[str], bool]

_MOST = 150_000  # members of a tar file; IMDB's has 100,000
_HEADERS = 1 << 20  # bytes that say where the next one is, and what it is called
_PACKED: dict[bytes, Callable[[Any], BufferedIOBase]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""How files begin that are compressed, and what reads them."""


def read(
    place: Path, versions: list[list[str]], limit: int, spent: Expansion | None = None
) -> dict[str, bytes]:
    """Returns the files of the first version that is complete, in its order.

    Args:
        place: a folder (then the files lie in it), or a zip or tar file with any folders.
        versions: file names without folders.
        limit: bytes a file may have at most.
        spent: counts what comes out of an archive; none = for this one alone.

    Raises:
        DataError: the archive is damaged, no version is complete, or a file is there twice.
        SafetyError: it unpacks to far more than it honestly can.
    """
    known = {name for version in versions for name in version}
    if place.is_dir():
        found = {name: b"" for name in known if (place / name).is_file()}
    else:
        found = {}
        for path, content in members(place, lambda path: _last(path) in known, limit, spent):
            if _last(path) in found:
                raise DataError(f"{place} holds {_last(path)} twice; take the original archive")
            found[_last(path)] = content
    complete = [version for version in versions if found.keys() >= set(version)]
    if not complete:
        most = max(versions, key=lambda version: len(found.keys() & set(version)))
        absent = ", ".join(name for name in most if name not in found)
        raise DataError(f"{place} holds no {absent}; download it again")
    if place.is_dir():
        return {name: _file(place / name, name, place, limit) for name in complete[0]}
    return {name: found[name] for name in complete[0]}


def _last(path: str) -> str:
    return PurePosixPath(path).name


def _file(path: Path, name: str, place: Path, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return _limited(file.read, name, place, limit, path.stat().st_size)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})") from error


def members(
    place: Path, wanted: Wanted, limit: int, spent: Expansion | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yields path inside the archive and content of every regular file that is wanted.

    Links, devices and folders are passed over. Of a folder all levels are walked.

    Raises:
        DataError: the archive is damaged or a member is larger than `limit` bytes.
        SafetyError: it unpacks to far more than it honestly can.
    """
    try:
        if place.is_dir():
            yield from _folder(place, wanted, limit)
        else:
            if spent is None:
                spent = Expansion(str(place), place.stat().st_size, ARCHIVES)
            kind = _zip if zips.is_one(place) else _tar
            yield from kind(place, wanted, limit, spent)
    except (*zips.DAMAGED, tarfile.TarError, lzma.LZMAError) as error:
        raise DataError(f"{place} cannot be read ({error}); download it again") from error


def _folder(place: Path, wanted: Wanted, limit: int) -> Iterator[tuple[str, bytes]]:
    for folder, below, files in os.walk(place):
        below.sort()
        for name in sorted(files):
            path = Path(folder, name)
            inside = path.relative_to(place).as_posix()
            if wanted(inside):
                yield inside, _file(path, inside, place, limit)


def _zip(place: Path, wanted: Wanted, limit: int, spent: Expansion) -> Iterator[tuple[str, bytes]]:
    with zips.opened(place) as archive:
        for item in archive.infolist():
            if wanted(item.filename) and not item.is_dir():  # which needs a name
                spent.spend(min(item.file_size, limit))
                with zips.member(archive, item) as file:
                    yield (
                        item.filename,
                        _limited(file.read, item.filename, place, limit, item.file_size),
                    )


def _tar(place: Path, wanted: Wanted, limit: int, spent: Expansion) -> Iterator[tuple[str, bytes]]:
    with place.open("rb") as file:
        stream: Any = Counted(_unpacked(debs.data(file)), spent)
        stream.most = _HEADERS  # the first is read as it is opened
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for number, item in enumerate(_items(archive, stream)):
                if number == _MOST:
                    raise SafetyError(f"{place} has more than {_MOST:,} members; refused")
                if item.size < 0:
                    raise tarfile.HeaderError(f"a member of {item.size} bytes")
                plain = item.isreg() and not item.issparse() and wanted(item.name)
                inside = archive.extractfile(item) if plain else None
                if inside is not None:
                    yield item.name, _limited(inside.read, item.name, place, limit, item.size)


def _unpacked(file: BufferedIOBase) -> BufferedIOBase:
    """Returns what a file holds, uncompressed where its beginning tells that it is."""
    head = file.read(8)
    file.seek(0)
    return next((kind(file) for mark, kind in _PACKED.items() if head.startswith(mark)), file)


def _items(archive: tarfile.TarFile, stream: Counted) -> Iterator[tarfile.TarInfo]:
    """Yields the members; names and notes of theirs that are far too long are not read."""
    while True:
        stream.most = _HEADERS
        item = archive.next()
        stream.most = None
        if item is None:
            return
        archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue] - it keeps all
        yield item


def _limited(read: Callable[[int], bytes], name: str, place: Path, limit: int, size: int) -> bytes:
    """Returns a file of some size; asking for more bytes than that takes memory for them."""
    content = read(min(size, limit) + 1)
    if len(content) > limit:
        raise DataError(f"{place}: {name} is larger than the {limit} bytes it may have")
    return content

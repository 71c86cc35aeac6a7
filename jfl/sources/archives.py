"""Members of a folder, a zip or a tar file, read into memory: their names never become paths."""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from jfl.errors import DataError

Wanted = Callable[[str], bool]


def read(place: Path, versions: list[list[str]], limit: int) -> dict[str, bytes]:
    """Returns the files of the first version that is complete, in its order.

    Args:
        place: a folder (then the files lie in it), or a zip or tar file with any folders.
        versions: file names without folders.
        limit: bytes a file may have at most.

    Raises:
        DataError: the archive is damaged, no version is complete, or a file is there twice.
    """
    known = {name for version in versions for name in version}
    if place.is_dir():
        found = {name: b"" for name in known if (place / name).is_file()}
    else:
        found = {}
        for path, content in members(place, lambda path: _last(path) in known, limit):
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
            return _limited(file.read, name, place, limit)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})") from error


def members(place: Path, wanted: Wanted, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yields path inside the archive and content of every regular file that is wanted.

    Links, devices and folders are passed over. Of a folder all levels are walked.

    Raises:
        DataError: the archive is damaged or a member is larger than `limit` bytes.
    """
    kind = _folder if place.is_dir() else _zip if zipfile.is_zipfile(place) else _tar
    try:
        yield from kind(place, wanted, limit)
    except (
        OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error,
        tarfile.TarError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise DataError(f"{place} cannot be read ({error}); download it again") from error


def _folder(place: Path, wanted: Wanted, limit: int) -> Iterator[tuple[str, bytes]]:
    for folder, below, files in os.walk(place):
        below.sort()
        for name in sorted(files):
            path = Path(folder, name)
            inside = path.relative_to(place).as_posix()
            if wanted(inside):
                yield inside, _file(path, inside, place, limit)


def _zip(place: Path, wanted: Wanted, limit: int) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(place) as archive:
        for item in archive.infolist():
            if wanted(item.filename) and not item.is_dir():  # which needs a name
                with archive.open(item) as file:
                    yield item.filename, _limited(file.read, item.filename, place, limit)


def _tar(place: Path, wanted: Wanted, limit: int) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(place, "r:*") as archive:
        for item in archive:
            file = archive.extractfile(item) if item.isreg() and wanted(item.name) else None
            if file is not None:
                yield item.name, _limited(file.read, item.name, place, limit)


def _limited(read: Callable[[int], bytes], name: str, place: Path, limit: int) -> bytes:
    content = read(limit + 1)
    if len(content) > limit:
        raise DataError(f"{place}: {name} is larger than the {limit} bytes it may have")
    return content

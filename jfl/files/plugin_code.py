"""The python files of a folder of plugins, read once: what was hashed is what runs.

Nothing else of such a folder or beside it can be imported, no compiled file and no file that was
changed or added since. Its name on a config is all that reaches `import`.
"""

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from functools import cached_property
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from jfl.errors import UsageError

_MOST = 10_000  # files and folders; a folder of plugins has a handful
_LARGEST = 10_000_000  # bytes of a file


class Code:
    """The python files of one folder."""

    def __init__(self, folder: Path) -> None:
        """Reads them.

        Raises:
            UsageError: they cannot be read, or are far too many.
        """
        self.path = folder
        self.files: dict[str, bytes] = {}
        """Content by path below the folder."""
        seen: set[Path] = set()
        waiting = [folder]
        while waiting:
            place = waiting.pop()
            if place.resolve() in seen:  # a link to a folder above it
                continue
            seen.add(place.resolve())
            try:
                waiting += self._read(place)
            except OSError as error:
                reason = error.strerror or error
                raise UsageError(f"plugins: {place} cannot be read: {reason}") from error
            if len(seen) + len(self.files) > _MOST:
                raise UsageError(
                    f"plugins: {folder} holds over {_MOST:,} files and folders; give the plugins "
                    "a folder of their own"
                )

    def _read(self, place: Path) -> list[Path]:
        """Reads the modules of one folder; returns the folders in it that may be packages."""
        inner = []
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.is_dir() and entry.name.isidentifier() and entry.name != "__pycache__":
                inner.append(path)
            elif entry.is_file() and path.suffix == ".py":
                if entry.stat().st_size > _LARGEST:
                    raise UsageError(f"plugins: {path} is larger than any python file should be")
                self.files[path.relative_to(self.path).as_posix()] = path.read_bytes()
        return inner

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """The SHA-256 of each file."""
        files = sorted(self.files.items())
        return {name: hashlib.sha256(content).hexdigest() for name, content in files}

    @property
    def sha256(self) -> str:
        """The fingerprint of all files with their names."""
        return hashlib.sha256(json.dumps(self.fingerprint).encode()).hexdigest()

    def modules(self, kind: str) -> set[str]:
        """Returns the names of the modules in one of its folders."""
        split = (name.split("/") for name in self.files)
        return {parts[1][:-3] for parts in split if len(parts) == 2 and parts[0] == kind}

    def spec(self, fullname: str) -> ModuleSpec | None:
        """Returns how a module of the folder is imported, None where it holds none of this name."""
        inside = "/".join(fullname.split(".")[1:])
        place = os.fspath(self.path / inside) if inside else os.fspath(self.path)
        package = f"{inside}/__init__.py".removeprefix("/")
        if package in self.files:
            loader = _Loader(fullname, os.fspath(self.path / package), self.files[package])
            return importlib.util.spec_from_file_location(
                fullname, loader.path, loader=loader, submodule_search_locations=[place]
            )
        module = f"{inside}.py"
        if module in self.files:
            loader = _Loader(fullname, os.fspath(self.path / module), self.files[module])
            return importlib.util.spec_from_file_location(fullname, loader.path, loader=loader)
        if any(name.startswith(f"{inside}/".removeprefix("/")) for name in self.files):
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [place]
            return spec
        return None


class _Loader(SourceFileLoader):
    """Runs the content that was read before; never looks for, nor leaves, a compiled file."""

    def __init__(self, fullname: str, path: str, content: bytes) -> None:
        super().__init__(fullname, path)
        self._content = content

    def get_data(self, path: str) -> bytes:
        """Returns the content that was read before."""
        return self._content if path == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002
        """Compiles it."""
        return self.source_to_code(self._content, self.path)


class Finder(MetaPathFinder):
    """Finds the modules of folders of plugins, each folder under its own name."""

    def __init__(self, folders: Any) -> None:
        """Asks `folders()` for the folders there are."""
        self._folders = folders

    def install(self) -> None:
        """Asks this finder before the one that looks into folders, but after what is built in."""
        if self not in sys.meta_path:
            at = next((n for n, f in enumerate(sys.meta_path) if f is PathFinder), None)
            sys.meta_path.insert(len(sys.meta_path) if at is None else at, self)

    def find_spec(
        self,
        fullname: str,
        path: Iterable[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Returns how to import a module of a folder of plugins, None for all others.

        Raises:
            ModuleNotFoundError: it would be in such a folder, but is not.
        """
        package, dot, _ = fullname.partition(".")
        code = next((code for code in self._folders() if code.path.name == package), None)
        if code is None:
            return None
        if not dot:
            installed = PathFinder.find_spec(fullname)
            hides = installed is not None and installed.origin is not None
            return None if hides else code.spec(fullname)
        if not any(Path(place).is_relative_to(code.path) for place in path or ()):
            return None  # of an installed package of the same name
        spec = code.spec(fullname)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return spec

"""Downloads of original archives: asked for by name, absent, and compared with a known hash."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jfl.errors import DataError
from jfl.files.printable import printable

_CHUNK = 1 << 16  # what an interruption loses at most
_TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class File:
    """An original file: where it is published, and its hash, such as md5:0123..."""

    url: str
    hash: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


def fetch(files: Sequence[File], folder: Path) -> None:
    """Brings files into a folder; one that was interrupted goes on where it stopped.

    Raises:
        DataError: there is no network, no such file, no space, or a file has another hash.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")  # its own words would come before ours
    for file in files:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            resumable: Any = _Resumable(folder / file.name)
            pooch.retrieve(file.url, file.hash, file.name, folder, downloader=resumable)
        except (OSError, ValueError) as error:
            reason = _reason(error)
            raise DataError(f"{file.url} could not be downloaded: {reason}") from error


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.ConnectionError):
        return "its host cannot be reached"
    return str(error).split("\n", maxsplit=1)[0]


class _Resumable:
    """Fetches into NAME.part; pooch then compares the hash and gives the file its name."""

    def __init__(self, path: Path) -> None:
        self.part = path.with_name(f"{path.name}.part")

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        import requests

        there = self.part.stat().st_size if self.part.exists() else 0
        asked = {"Accept-Encoding": "identity"}  # the hash is that of the file as it is stored
        if there:
            asked["Range"] = f"bytes={there}-"
        with requests.get(url, headers=asked, stream=True, timeout=_TIMEOUT) as reply:
            if there and reply.status_code != requests.codes.partial_content:
                self.part.unlink()  # all of it was there, or the server starts over
                return self(url, output_file, pooch)
            reply.raise_for_status()
            self._receive(reply, there)
        os.replace(self.part, output_file)
        return None

    def _receive(self, reply: Any, there: int) -> None:
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress

        length = reply.headers.get("Content-Length")
        total = there + int(length) if length else None
        columns = (*Progress.get_default_columns(), DownloadColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(printable(self.part.stem), total=total, completed=there)
            with open(self.part, "ab") as file:
                for chunk in reply.iter_content(_CHUNK):
                    file.write(chunk)
                    progress.advance(task, len(chunk))

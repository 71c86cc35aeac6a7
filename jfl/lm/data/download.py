"""Shards of texts from the web: tried again after a pause, and only ever there whole."""

import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jfl.errors import DataError, UsageError
from jfl.files.printable import printable

TRIES = 5
_CHUNK, _TIMEOUT = 1 << 20, 30  # bytes; seconds without one
_LARGEST = 8 << 30  # bytes
_NUMBER = re.compile(r"\{:0?(\d)d\}")
_GONE = (401, 403, 404, 410)
"""Replies that another try does not change."""


class _Broken(Exception):
    """A try that failed, and whether another may succeed."""

    def __init__(self, words: str, again: bool = True) -> None:
        super().__init__(words)
        self.again = again


def addresses(pattern: str, numbers: Sequence[int]) -> list[str]:
    """Returns the addresses of shards, such as of https://host/shard_{:05d}.parquet.

    Raises:
        UsageError: the pattern has no place for a number, or is no address.
    """
    found = _NUMBER.findall(pattern)
    if len(found) != 1 or not pattern.startswith(("https://", "http://")):
        raise UsageError(
            f"{pattern} must be an address with one place for a number, as in "
            "https://host/shard_{:05d}.parquet"
        )
    return [_NUMBER.sub(str(number).zfill(int(found[0])), pattern) for number in numbers]


def fetch(
    urls: Sequence[str], folder: Path, say: Callable[[str], None],
    *, workers: int = 4, pause: float = 1.0,
) -> list[Path]:  # fmt: skip
    """Brings files that are not there yet.

    Args:
        urls: their addresses; the last part of each is its name.
        folder: where they go.
        say: told of each file.
        workers: how many come at a time.
        pause: seconds before the second try, twice as many before each further one.

    Raises:
        DataError: one does not come, after five tries; those that came are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def one(url: str) -> Path:
        path = folder / url.rsplit("/", 1)[-1]
        if not path.exists():
            _try(url, path, pause)
            say(f"{printable(path.name)}: {path.stat().st_size / 2**20:,.1f} MiB")
        return path

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, urls))


def _try(url: str, path: Path, pause: float) -> None:
    for number in range(1, TRIES + 1):
        try:
            return _receive(url, path)
        except _Broken as error:
            if not error.again or number == TRIES:
                times = "" if number == 1 else f" in {number} tries"
                raise DataError(f"{url} could not be downloaded{times}: {error}") from error
        time.sleep(pause * 2 ** (number - 1))
    return None


def _receive(url: str, path: Path) -> None:
    import requests

    part = path.with_name(f"{path.name}.part")
    try:
        with requests.get(
            url, headers={"Accept-Encoding": "identity"}, stream=True, timeout=_TIMEOUT
        ) as reply:
            if reply.status_code != requests.codes.ok:
                again = reply.status_code not in _GONE
                raise _Broken(f"its host answers {reply.status_code}", again)
            size = _written(reply, part)
            wanted = reply.headers.get("Content-Length")
        if wanted is not None and size != int(wanted):
            raise _Broken(f"{size:,} of {int(wanted):,} bytes came")
        os.replace(part, path)
    except requests.RequestException as error:
        reason = "its host cannot be reached"
        cut = isinstance(error, requests.exceptions.ChunkedEncodingError)
        raise _Broken("the connection broke" if cut else reason) from error
    except OSError as error:
        raise _Broken(f"{path.parent} cannot be written: {error.strerror}", again=False) from error
    finally:
        part.unlink(missing_ok=True)


def _written(reply: Any, part: Path) -> int:
    size = 0
    with part.open("wb") as file:
        for chunk in reply.iter_content(_CHUNK):
            size += len(chunk)
            if size > _LARGEST:
                raise _Broken(f"it has more than {_LARGEST:,} bytes", again=False)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size

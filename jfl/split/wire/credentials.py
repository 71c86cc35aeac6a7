"""Files that say who somebody is: certificates, keys, and the one word of a token."""

from pathlib import Path

from jfl.errors import UsageError

_SHORTEST = 16


def read(path: str, what: str) -> bytes:
    """Returns what a small file holds.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return Path(path).expanduser().read_bytes()[: 1 << 20]
    except OSError as error:
        raise UsageError(f"{what}={path} cannot be read: {error.strerror or error}") from error


def token(path: str, what: str) -> str:
    """Returns the word in a file.

    Raises:
        UsageError: it cannot be read, or the word is too short to be a secret.
    """
    word = read(path, what).decode(errors="replace").strip()
    if len(word) < _SHORTEST or not word.isascii() or not word.isprintable():
        raise UsageError(f"{what}={path}: a token is one word of {_SHORTEST} letters or more")
    return word

"""The files of tokenizers, read within limits; fingerprints; what must be installed."""

import hashlib
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from jfl.errors import DataError, SafetyError
from jfl.files import documents
from jfl.files.strict_json import dumps

_LARGEST = 128 << 20  # bytes; the largest tokenizers of today have 35 MB


def text(path: Path) -> str:
    """Returns the text of a file of a tokenizer.

    Raises:
        DataError: it cannot be read or is no text.
        SafetyError: it is far too large.
    """
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise SafetyError(
                f"{path} has {size:,} bytes; no file of a tokenizer has more than {_LARGEST:,}"
            )
        return documents.text(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}; copy it again") from error


def parsed(content: str, where: str) -> dict[str, Any]:
    """Returns an object of JSON.

    Raises:
        DataError: it is none.
    """
    try:
        return documents.parse(content, documents.Document)
    except ValueError as error:
        raise DataError(f"{where} is damaged: {error}; copy it again") from error


def read(path: Path, needed: bool = True) -> dict[str, Any]:
    """Returns the object of a file of JSON, an empty one where it need not be there and is not.

    Raises:
        DataError: as `text` and `parsed`.
    """
    return parsed(text(path), str(path)) if needed or path.is_file() else {}


def digest(kind: str, *parts: Any) -> str:
    """Returns the SHA-256 of what a tokenizer is made of: texts, and what JSON can hold."""
    whole = hashlib.sha256(kind.encode())
    for part in parts:
        words = part if isinstance(part, str) else dumps(part)
        whole.update(hashlib.sha256(words.encode()).digest())
    return whole.hexdigest()


def library(name: str, where: str) -> ModuleType:
    """Imports a library of the extra `lm`.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"reading {where} needs {name}; install jfl's extra `lm`, as in JFL_EXTRAS=lm"
        ) from error

"""Prepared copies of TensorFlow Datasets sets with texts; read without TensorFlow.

A copy is a folder with features.json; its splits stand for files, as `folder/split`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jfl.errors import DataError
from jfl.text.readers.base import Row

ENDINGS = ()
_ABOUT = "features.json"


def recognises(place: Path) -> bool:
    """Tells whether a folder is such a copy."""
    return (place / _ABOUT).is_file() and (place / "dataset_info.json").is_file()


def files(place: Path) -> list[Path]:
    """Returns the splits of a copy.

    Raises:
        DataError: it cannot be read.
    """
    return [place / name for name in sorted(_builder(place).info.splits)]


def rows(path: Path, start: int) -> Iterator[Row]:
    """Yields the samples of a split from number `start` on.

    Raises:
        DataError: it cannot be read.
    """
    try:
        source = _builder(path.parent).as_data_source(path.name)
        for number in range(start, len(source)):
            yield _texts(source[number]) | {"#": number}
    except Exception as error:  # tfds raises whatever its parts raise
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise DataError(f"{path} cannot be read ({reason}); prepare it again") from error


def _builder(place: Path) -> Any:
    try:
        import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(
            f"reading {place} needs tensorflow-datasets; install jfl's extra `tfds`, as in "
            "JFL_EXTRAS=tfds"
        ) from error
    try:
        return tfds.builder_from_directory(place)
    except Exception as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise DataError(f"{place} cannot be read ({reason}); prepare it again") from error


def _texts(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {key: _texts(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):
        return _texts(value.tolist())
    return [_texts(inner) for inner in value] if isinstance(value, list) else value

"""Parquet and Arrow files as the HuggingFace libraries write them; needs the extra `data`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jfl.errors import DataError
from jfl.files import documents
from jfl.sources.expansion import ARCHIVES, Expansion

_ROWS = 64  # read at once; a few bytes may stand for any number of equal ones
_ROW = 50  # bytes that a row takes at least as values of Python
_ENDINGS = {".parquet", ".arrow"}


def files(place: Path) -> list[Path]:
    """Returns the tables below a folder, or the file itself, in the order of their names."""
    if place.is_file():
        return [place] if place.suffix in _ENDINGS else []
    found = (path for path in place.rglob("*") if path.suffix in _ENDINGS)
    return sorted(path for path in found if not path.name.startswith("cache-"))


def split_of(path: Path) -> str:
    """Returns what a file belongs to: train-00000-of-2.parquet, train.parquet, train/data-..."""
    first = path.stem.split("-")[0].split(".")[0]
    return path.parent.name if first in {"data", "dataset"} else first


def stream(path: Path, start: int = 0) -> Iterator[tuple[int, Any]]:
    """Yields a file's batches of rows, a few in memory at a time, each with its first row's number.

    Args:
        path: the file.
        start: number of the first row.

    Raises:
        DataError: pyarrow is not installed, or the file is damaged.
        SafetyError: some rows unpack to far more than they honestly can.
    """
    pa, parquet = _arrow(path)
    try:
        first = 0
        if path.suffix == ".parquet":
            file = parquet.ParquetFile(path)
            sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
            group = 0
            while group < len(sizes) and first + sizes[group] <= start:
                first, group = first + sizes[group], group + 1
            batches = file.iter_batches(_ROWS, row_groups=list(range(group, len(sizes))))
        else:
            batches = pa.ipc.open_stream(pa.memory_map(str(path)))
        for batch in batches:
            Expansion(str(path), path.stat().st_size, ARCHIVES).spend(_written_out(batch))
            for place in range(0, batch.num_rows, _ROWS):
                part = batch.slice(place, _ROWS)
                skipped = max(0, start - first)
                if skipped < part.num_rows:
                    yield first + skipped, part.slice(skipped)
                first += part.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(f"{path} cannot be read ({reason}); download it again") from error


def _arrow(place: Path) -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import ipc, parquet  # noqa: F401 - pa.ipc is there after this
    except ImportError as error:
        raise DataError(
            f"reading {place} needs pyarrow; install jfl's extra `data`, as in JFL_EXTRAS=data"
        ) from error
    return pa, parquet


def read(place: Path, splits: list[str] | None) -> Any:
    """Returns one pyarrow table of the files of some splits, or of all.

    Raises:
        DataError: pyarrow is not installed, there is no such split, or a file is damaged.
        SafetyError: a file unpacks to far more than it honestly can.
    """
    pa, parquet = _arrow(place)
    there = files(place)
    chosen = [path for path in there if splits is None or split_of(path) in splits]
    if not chosen:
        known = ", ".join(sorted({split_of(path) for path in there})) or "no parquet or arrow file"
        raise DataError(f"{place} holds {known}, not {' and '.join(splits or ['any table'])}")
    tables = []
    for path in chosen:
        try:
            if path.suffix == ".parquet":
                file = parquet.ParquetFile(path)
                schema, batches = file.schema_arrow, file.iter_batches(_ROWS)
            else:
                batches = pa.ipc.open_stream(path.read_bytes())
                schema = batches.schema
            spent = Expansion(str(path), path.stat().st_size, ARCHIVES)
            counted = [batch for batch in batches if not spent.spend(_written_out(batch))]
            tables.append(pa.Table.from_batches(counted, schema))
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).split("\n", maxsplit=1)[0]
            raise DataError(f"{path} cannot be read ({reason}); download it again") from error
        if tables[-1].column_names != tables[0].column_names:
            raise DataError(f"{path} has other columns than {chosen[0].name}")
        for other, table in zip(chosen, tables[:-1], strict=False):
            if table.num_rows and table.equals(tables[-1]):
                raise DataError(f"{path} holds the same samples as {other.name}; take one away")
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"the files of {place} have columns of different types") from error


def _written_out(batch: Any) -> int:
    """Returns the bytes of a batch whose columns were written out, without dictionaries."""
    size = batch.nbytes + _ROW * batch.num_rows
    for column in batch.columns:
        if hasattr(column, "dictionary"):
            longest = max((len(str(value)) for value in column.dictionary.to_pylist()), default=0)
            size += len(column) * longest
    return size


def column(table: Any, wanted: str | None, usual: tuple[str, ...], setting: str) -> str | None:
    """Returns the name of a column: the one wanted, else the first usual one there is.

    Raises:
        DataError: the one wanted is not there.
    """
    names = table.column_names
    if wanted is not None and wanted not in names:
        raise DataError(f"{setting}={wanted} is no column; there are: {', '.join(names)}")
    return wanted or next((name for name in usual if name in names), None)


def class_names(table: Any, name: str) -> list[str] | None:
    """Returns the names of the classes, where the file says them."""
    try:
        said = (table.schema.metadata or {}).get(b"huggingface", b"{}")
        about = documents.load(documents.decoded(said), nan=True)
        names = about["info"]["features"][name].get("names")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return names if isinstance(names, list) and names else None

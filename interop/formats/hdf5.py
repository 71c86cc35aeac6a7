"""HDF5 files, which hold no models jfl reads: told by what they start with."""

from pathlib import Path

from jfl.errors import CheckpointError

MAGIC = b"\x89HDF\r\n\x1a\n"


def refuse(path: Path) -> None:
    """Says what a file is, where it is HDF5.

    Raises:
        CheckpointError: it is.
    """
    try:
        with path.open("rb") as file:
            there = file.read(len(MAGIC)) == MAGIC
    except OSError:
        return  # whoever reads it says why
    if there:
        raise CheckpointError(
            f"{path} is HDF5, as PFLlib's results are: it holds no models jfl reads; `jfl table "
            f"{path}` shows results"
        )

"""Files and folders that are written beside their place and then renamed: whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jfl.errors import CheckpointError, UsageError


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """Gives a path beside the target, which becomes the target if all goes well.

    Raises:
        UsageError: the target exists or cannot be made.
        CheckpointError: the disk is full, or a file cannot be written.
    """
    if target.exists():
        raise UsageError(f"{target} exists already; give another name")
    aside = target.with_name(f".{target.name}.writing")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(aside)
        yield aside
        aside.rename(target)
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(
            f"{target} cannot be written ({reason}); give another name"
        ) from error
    finally:
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

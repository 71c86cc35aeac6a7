"""PFLlib's `results/*.h5`: how accuracy went over the rounds, as the results of a run.

One file is one run: DATASET_ALGORITHM_GOAL_TIMES.h5, whose number of times stands for a seed. The
first measurement comes before any training, so the k-th is of round k - 1; a file does not say how
many rounds lay between two (`-eg`), they are counted as one.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from interop import servers
from jfl.errors import DataError, SafetyError, UsageError
from jfl.report.compare.results import RunResults
from jfl.sources.expansion import FREE

SUFFIX = ".h5"
_MOST = 100_000  # measurements; PFLlib makes one a round, usually 2,000
_MOST_PACKED = 1 << 18  # bytes of a compressed row, which unpack to 256 MiB at most
_FILTERS = (1, 2, 3)  # deflate, shuffle and checksum
_TWICE = ("Ditto",)  # measures the global model, then the personal ones
_AFTER = ("FedPHP",)  # measures after training


def separate(places: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Returns the result files among places, or right in folders that hold no run; and the rest."""
    files: list[Path] = []
    rest: list[str] = []
    for place in places:
        path = Path(place)
        inside = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []
        files += [path] if path.suffix.lower() == SUFFIX and not path.is_dir() else inside
        runs = path.is_dir() and next(path.glob("**/config.yaml"), None) is not None
        if runs or (path.suffix.lower() != SUFFIX and not inside):
            rest.append(place)
    return list(dict.fromkeys(files)), rest


def read(path: Path) -> RunResults:
    """Returns what a result file of PFLlib says.

    Raises:
        UsageError: it is not there, or h5py is not installed.
        DataError: it is no result file of PFLlib, or is damaged.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not there; PFLlib writes its results to results/*{SUFFIX}")
    server, settings = _named(path)
    scores = _series(path, "rs_test_acc")
    if not len(scores) or not ((scores >= 0) & (scores <= 1)).all():
        raise DataError(f"{path} holds no accuracies between 0 and 1 in rs_test_acc")
    scores = scores[1::2] if server in _TWICE else scores
    first = 1 if server in _AFTER else 0
    journal = {number: {"test_accuracy": float(s)} for number, s in enumerate(scores, first)}
    last = max(journal, default=0)
    if not journal:
        raise DataError(f"{path} ends before the personal models were measured")
    return RunResults(
        folder=path,
        settings=settings | {"rounds": last},
        done=last,
        finished=True,
        journal=journal,
        evaluations={},
    )


def _named(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Returns the server and the settings that a file's name says."""
    words = path.stem.split("_")
    places = [n for n, word in enumerate(words[:-2]) if n and servers.known(word) == word]
    if not places or not words[-1].isdecimal():
        raise DataError(
            f"{path} is not called as PFLlib calls results, DATASET_ALGORITHM_GOAL_TIMES{SUFFIX}"
        )
    place = places[-1]
    settings = {
        "name": path.stem,
        "seed": int(words[-1]),
        "data.name": "_".join(words[:place]),
        "algorithm.name": f"{words[place]} (PFLlib)",
        "goal": "_".join(words[place + 1 : -1]),
    }
    return servers.known(words[place]), settings


def _series(path: Path, name: str) -> Float[np.ndarray, " n"]:
    """Returns one row of numbers of a file; links and storage outside of it are not followed."""
    try:
        import h5py
    except ImportError as error:
        raise UsageError(
            f"reading {path} needs h5py; install jfl's extra `h5`, as in JFL_EXTRAS=h5"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            link = file.get(name, getlink=True)
            item = file[name] if isinstance(link, h5py.HardLink) else None
            if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
                raise DataError(f"{path} is no result file of PFLlib: it has no {name} of its own")
            if len(item.shape) != 1 or item.shape[0] > _MOST or item.dtype.kind not in "fiu":
                raise DataError(f"{path} is no result file of PFLlib: {name} is no row of numbers")
            _require_small(item, path)
            return np.asarray(item[()], np.float64)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = str(error).split("\n", maxsplit=1)[0][:100]
        raise DataError(f"{path} cannot be read as HDF5 ({reason})") from error


def _require_small(row: Any, path: Path) -> None:
    """Refuses a row whose chunks would take far more memory than its numbers.

    Raises:
        SafetyError: it is one.
    """
    if row.chunks is None:
        return
    about = row.id.get_create_plist()
    kinds = [about.get_filter(place)[0] for place in range(about.get_nfilters())]
    chunk = math.prod(row.chunks) * row.dtype.itemsize
    plain = len(set(kinds)) == len(kinds) and set(kinds) <= set(_FILTERS)
    if not plain or chunk > FREE or (kinds and row.id.get_storage_size() > _MOST_PACKED):
        raise SafetyError(
            f"{path} holds {row.name} in chunks that may unpack to any size; save it again in one "
            "piece, uncompressed"
        )

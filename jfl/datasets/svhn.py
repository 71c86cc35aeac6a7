"""Street View House Numbers: 99,289 colour photographs of digits, 32x32, 10 classes.

The official train and test parts are merged, the extra part is left out. Its label 10 is digit 0.
Source: Netzer et al., "Reading digits in natural images with unsupervised feature learning", 2011.
"""

import math
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int32, UInt8

from jfl.datasets import base
from jfl.errors import DataError, SafetyError
from jfl.sources.download import File

TITLE = "SVHN"
SHAPE = (32, 32, 3)
_PARTS = {"train_32x32.mat": 73_257, "test_32x32.mat": 26_032}
_HEADER, _COMPRESSED = 128, 15  # bytes of a header, kind of a part
_AROUND, _CHUNK = 1 << 20, 1 << 20  # bytes: names and other small parts; read at once
_URL = "http://ufldl.stanford.edu/housenumbers"
DOWNLOADS = (
    File(f"{_URL}/train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373"),
    File(f"{_URL}/test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3"),
)


class Config(base.Config):
    """SVHN has no settings of its own."""

    name: Literal["svhn"] = "svhn"


def find(config: base.Config) -> Path | None:
    """Returns the folder with both files: `dir`, else a usual place."""
    places = config.places("svhn")
    return next((p for p in places if all((p / name).is_file() for name in _PARTS)), None)


def load(config: base.Config) -> base.Dataset:
    """Reads both files.

    Raises:
        DataError: a file is absent, truncated or malformed.
    """
    remedy = f"put {' and '.join(_PARTS)} there"
    folder = base.present(find(config), TITLE, config.places("svhn"), remedy)
    parts = [_read(folder / name, count) for name, count in _PARTS.items()]
    return base.Dataset(
        name=TITLE,
        x=np.concatenate([x for x, _ in parts]),
        y=np.concatenate([y for _, y in parts]),
        num_classes=10,
        licence="non-commercial use only",
        source=_URL,
    )


def _read(path: Path, count: int) -> tuple[UInt8[np.ndarray, "n 32 32 3"], Int32[np.ndarray, " n"]]:
    from scipy import io

    wanted = {"X": ((32, 32, 3, count), "uint8"), "y": ((count, 1), "uint8")}
    try:
        _require_honest(path, count)
        found = {name: (shape, kind) for name, shape, kind in io.whosmat(path) if name in wanted}
        # looked at first, so that a damaged size cannot ask for all memory
        arrays = io.loadmat(path, variable_names=list(wanted)) if found == wanted else None
    except SafetyError:
        raise
    except Exception as error:  # damaged files make SciPy raise a dozen kinds
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(f"{path} is not a readable .mat file ({reason})") from error
    if arrays is None:
        raise DataError(f"{path} holds {_shown(found)}; it must hold {_shown(wanted)}")
    y = arrays["y"][:, 0].astype(np.int32)
    if y.min() < 1 or y.max() > 10:
        wrong = y.min() if y.min() < 1 else y.max()
        raise DataError(f"{path} holds the label {wrong}; labels must be 1 to 10")
    return np.ascontiguousarray(arrays["X"].transpose(3, 0, 1, 2)), y % 10


def _require_honest(path: Path, count: int) -> None:
    """Refuses a file whose parts unpack to more than its arrays are; SciPy would hold them whole.

    Source: MathWorks, "MAT-File Format", level 5: a header, then parts with their kind and length.
    """
    most = count * (math.prod(SHAPE) + 1) + _AROUND
    with path.open("rb") as file:
        order = "big" if file.read(_HEADER)[-2:] == b"MI" else "little"
        while len(tag := file.read(8)) == 8:
            kind, length = (int.from_bytes(tag[at : at + 4], order) for at in (0, 4))
            if kind != _COMPRESSED:
                file.seek(length, 1)
                continue
            unpacker = zlib.decompressobj()
            for start in range(0, length, _CHUNK):
                rest = file.read(min(_CHUNK, length - start))
                while rest:
                    most -= len(unpacker.decompress(rest, _CHUNK))
                    rest = unpacker.unconsumed_tail
                    if most < 0:
                        raise SafetyError(f"{path} unpacks to far more than {TITLE} is; refused")


def _shown(arrays: dict) -> str:
    listed = (f"{name} ({kind}, {shape})" for name, (shape, kind) in sorted(arrays.items()))
    return " and ".join(listed) or "neither X nor y"

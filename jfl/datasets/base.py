"""What every data set is: arrays in host memory, and where they came from.

A data set is one file of this folder. It defines `TITLE` (its name for people), `SHAPE` (of one
sample; None where only the user's file knows), `Config`, `find(config)` (where the data are, or
None) and `load(config)`. It may define `DOWNLOADS`, the original files, or `PACKAGE`, which ships
them, `CACHED = False` where reading them is as fast as reading decoded arrays, and `PARTITION`,
which is meant where a config names none.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from zlib import crc32

import numpy as np
from jaxtyping import Bool, Float32, Int32, Shaped
from pydantic import Field

from jfl import plugins
from jfl.config import Section, Switch
from jfl.errors import DataError
from jfl.sources import cache, download, labels, packages, pictures

READERS = 2
"""Counts up when jfl/sources makes other arrays of the same files: old cache entries end."""


class Config(Section):
    """Settings all data sets share; a data set adds its own by subclassing."""

    name: str
    dir: str | None = None
    """Folder or file that holds the data set in its own raw format; none = the usual places."""
    on_missing: Literal["error", "embedded"] = "error"
    """What to do where the data are absent: stop, or run on the digits that come with jfl, or what
    the config names under `embedded:`."""
    embedded: Switch = False
    """True where the embedded digits stand in for this data set."""
    in_place_of: str | None = None
    """The data set that this one stands in for, as that is absent; see `embedded:` in a config."""
    image_size: int | None = Field(default=None, ge=8, le=512)
    """Height and width images are resized to; none = what the model takes."""
    limit: int | None = Field(default=None, ge=1)
    """Use only so many samples, drawn with the seed; none = all."""
    augment: tuple[Literal["crop", "flip"], ...] = ()
    """Random changes of training images, new in every step: crop (moves them), flip (mirrors)."""
    cache: Switch = True
    """Keep decoded arrays, so that the next run need not decode."""
    cache_dir: str = "data_cache"
    """Where decoded arrays and downloads are kept."""

    @property
    def place(self) -> Path | None:
        """`dir` as a path, with ~ expanded."""
        return None if self.dir is None else Path(os.path.expanduser(self.dir))

    @property
    def cache_place(self) -> Path:
        """`cache_dir` as a path, with ~ expanded."""
        return Path(os.path.expanduser(self.cache_dir))

    @property
    def downloads(self) -> Path:
        """Where original files go that are downloaded."""
        return self.cache_place / "downloads" / self.name

    def places(self, folder: str, *usual: Path) -> list[Path]:
        """Returns where to look: in `dir` if it is set, else in data/, downloads, usual places."""
        if self.place:
            return [self.place, self.place / folder]
        return [Path("data") / folder, self.downloads, *usual]


class OwnData(Config):
    """Settings of data that the digits cannot stand in for: where absent, a run stops.

    Unless its config names other data under `embedded:`, which then stand in. `on_missing`
    is taken as everywhere, so that one config serves several data sets.
    """

    embedded: Literal[False] = False
    """Never true for these data."""


@dataclass(frozen=True)
class Dataset:
    """Samples, labels and their provenance.

    Samples are uint8 images [n, H, W, C], float32 features [n, ...], or int32 numbers of words
    [n, L] or, where there is a `vocabulary`, of tokens [n, L + 1], each to tell from those before.
    """

    name: str
    x: Shaped[np.ndarray, "n ..."]
    y: Int32[np.ndarray, " n"]
    num_classes: int
    licence: str
    source: str
    embedded: bool = False
    stands_for: str = ""
    """The name of other data that these stand in for."""
    owner: Int32[np.ndarray, " n"] | None = None
    """Who each sample comes from, 0 to N-1, where the data say: author, sender, given client."""
    held_out: Bool[np.ndarray, " n"] | None = None
    """Which samples their owner tests on, where the data say."""
    vocabulary: int | None = None
    """Tokens of the tokenizer, of windows of text; None = samples are to be classified."""
    text_bytes: Int32[np.ndarray, " n"] | None = None
    """Bytes of text that the last L tokens of each window stand for."""

    @property
    def title(self) -> str:
        """The name for tables and pictures; says so when it stands in for the real thing."""
        if self.stands_for:
            return f"{self.name}, not {self.stands_for}"
        return f"digits, not {self.name}" if self.embedded else self.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.x.shape[1:]

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of samples and labels, and of whose they are."""
        digest = hashlib.sha256(repr((self.x.shape, str(self.x.dtype))).encode())
        for array in self.arrays.values():
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What there is one of per sample: x, y and, where the data say, owner and the rest."""
        names = ("x", "y", "owner", "held_out", "text_bytes")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def take(self, rows: Int32[np.ndarray, " m"] | np.ndarray) -> "Dataset":
        """Returns some of the samples."""
        return replace(self, **{name: array[rows] for name, array in self.arrays.items()})


class Absent(DataError):
    """A data set is not where it was looked for."""


def present(place: Path | None, title: str, looked: list[Path], remedy: str) -> Path:
    """Returns where a data set was found.

    Raises:
        Absent: nowhere; names the places looked in, and the remedy.
    """
    if place is None:
        places = " or ".join(str(path) for path in looked)
        raise Absent(f"{title} is not in {places}: {remedy}")
    return place


def available(config: Config) -> bool:
    """Tells whether the data are there, without reading them."""
    return plugins.load("data", config.name).find(config) is not None


def needs_other(config: Config, name: object) -> bool:
    """Tells whether data of another name must stand in: these are absent, and config allows it."""
    allowed = config.on_missing == "embedded" and isinstance(name, str) and name != config.name
    return allowed and not available(config)


def needs_stand_in(config: Config) -> bool:
    """Tells whether digits must stand in: the data are absent, and config and kind allow it."""
    allowed = config.on_missing == "embedded" and not isinstance(config, OwnData)
    return allowed and not available(config)


def load(config: Config, seed: int) -> Dataset:
    """Loads the data set a config names, or its embedded stand-in, cut to `limit`.

    Data that are absent are downloaded if they can be and no `dir` says where they should be.

    Raises:
        DataError: it is absent, truncated or malformed; says what to put where.
    """
    module = plugins.load("data", config.name)
    dataset = embedded(module.TITLE, module.SHAPE) if config.embedded else read(module, config)
    if config.in_place_of:
        stands_for = plugins.load("data", config.in_place_of).TITLE
        dataset = replace(dataset, stands_for=stands_for)
    if config.limit and config.limit < len(dataset.y):
        rng = np.random.default_rng([seed, crc32(b"limit")])
        dataset = dataset.take(np.sort(rng.permutation(len(dataset.y))[: config.limit]))
    return dataset


def read(module: ModuleType, config: Config) -> Dataset:
    """Returns a data set from the cache; reads the original files, and keeps it, where it must."""
    absent = config.dir is None and module.find(config) is None
    if absent and getattr(module, "DOWNLOADS", ()):
        with cache.lock(config.cache_place, config.name):
            _download(module, config)
    elif absent and hasattr(module, "PACKAGE"):
        packages.fetch(module.PACKAGE, config.downloads)
    if not config.cache or not getattr(module, "CACHED", True) or module.find(config) is None:
        return fresh(module, config)  # which says what is absent
    with cache.lock(config.cache_place, config.name):
        return _cached(module, config)


def _download(module: ModuleType, config: Config) -> None:
    if module.find(config) is not None:  # another process brought it while this one waited
        return
    try:
        download.fetch(module.DOWNLOADS, config.downloads)
    except DataError as error:
        try:
            module.load(config)
        except Absent as absent:
            raise DataError(f"{absent}; {error}") from error


def _cached(module: ModuleType, config: Config) -> Dataset:
    entry = cache_entry(module, config)
    if (stored := cache.read(entry)) is not None:
        dataset = Dataset(**stored.arrays, **stored.about)
        if dataset.sha256 == stored.sha256:
            return dataset
    dataset = fresh(module, config)
    about = {name: getattr(dataset, name) for name in ("name", "num_classes", "licence", "source")}
    cache.write(entry, cache.Stored(dataset.arrays, about, dataset.sha256))
    return dataset


def fresh(module: ModuleType, config: Config) -> Dataset:
    """Reads the original files, whatever is cached, and looks at what they hold.

    Raises:
        DataError: they are absent, damaged, or do not hold what a data set is.
    """
    dataset = module.load(config)
    _require_sound(dataset, str(module.find(config) or dataset.name))
    return dataset


def _require_sound(dataset: Dataset, where: str) -> None:
    """Refuses arrays that a run would misread; every data set passes here, plugins' too."""
    x, y = dataset.x, dataset.y
    shapes = {name: array.shape for name, array in dataset.arrays.items()}
    if len({shape[:1] for shape in shapes.values()}) > 1:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise DataError(f"{where}: there must be one of each per sample, not {listed}")
    if x.size == 0 or x.ndim < 2:
        raise DataError(f"{where}: x has the shape {x.shape}; it must be [n, ...] and not empty")
    if x.dtype not in (np.uint8, np.int32) and x.dtype.kind != "f":
        raise DataError(f"{where}: x is {x.dtype}; it must be uint8 images or float features")
    if x.dtype == np.int32 and x.ndim != 2:
        raise DataError(
            f"{where}: x is int32 of shape {list(x.shape)}; words are [n, length], and images uint8"
        )
    if x.dtype == np.int32 and x.min() < 0:
        raise DataError(f"{where}: x holds {x.min()}; word numbers count from 0")
    pictures.require_order(x, where)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        row = int(np.argwhere(~np.isfinite(x))[0][0])
        raise DataError(f"{where}: x holds NaN, infinite or huge values, first in sample {row}")
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise DataError(f"{where}: y is {y.dtype} of shape {y.shape}; it must be integers [n]")
    labels.require_range(y, dataset.num_classes, f"{where}: y")
    if dataset.owner is not None and dataset.owner.min() < 0:
        row = int(np.argmin(dataset.owner))
        raise DataError(f"{where}: not every sample has an owner from 0, first not sample {row}")


def cache_entry(module: ModuleType, config: Config) -> Path:
    """Returns the folder of the cache that holds the data set, or would."""
    place, code = module.find(config), module.__file__
    assert place is not None
    assert code is not None
    own = config.model_dump(exclude=set(Config.model_fields))
    name = cache.key(place, own, Path(code).read_bytes(), READERS)
    return config.cache_place / f"{config.name}-{name}"


def embedded(title: str, shape: tuple[int, ...]) -> Dataset:
    """Returns scikit-learn's 1,797 real digits in the shape of the data set they stand in for."""
    digits = plugins.load("data", "digits")
    dataset = digits.load(digits.Config())
    x = np.repeat(pictures.resize(dataset.x, shape[0]), shape[-1], axis=-1)
    return replace(dataset, name=title, x=x, embedded=True)


def as_input(x: Shaped[Any, "..."]) -> Float32[Any, "..."] | Int32[Any, "..."]:
    """Returns samples as a model takes them: uint8 images scaled to [-1, 1], others as they are.

    Takes NumPy arrays, and JAX arrays inside jit: there is one scaling, not two that must agree.
    """
    if x.dtype == np.int32:
        return x
    return x.astype("float32") / 127.5 - 1.0 if x.dtype == np.uint8 else x.astype("float32")

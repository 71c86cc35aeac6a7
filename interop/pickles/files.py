"""The three files torch users have: plain pickles, legacy torch.save and zip torch.save.

Source: torch/serialization.py and torch/storage.py say what lies where; nothing of them is used.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interop.pickles import listing, names, tensors
from interop.pickles.archive import Archive
from jfl.errors import CheckpointError, SafetyError
from jfl.sources.pickles import budget, rebuild
from jfl.sources.pickles.budget import Budget
from jfl.sources.pickles.machine import Machine, Vocabulary
from jfl.sources.pickles.regions import File, Region
from jfl.sources.pickles.tokens import Tape
from jfl.sources.pickles.values import Name, Record, Storage

MAGIC = 0x1950A86A20F9469CFC6C
_MAGIC_PICKLE = b"\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
_LEGACY_PROTOCOL = 1001
_NESTED = 64  # units of a torch file inside a pickle, beside those of what it holds


def kind(path: Path) -> str:
    """Returns which of the three a file is: `zip`, `legacy` or `pickle`.

    Raises:
        CheckpointError: it is none of them.
    """
    start = File(path).whole()
    head = start.read(0, min(start.length, 64))
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[2:].startswith(_MAGIC_PICKLE):
        return "legacy"
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return "pickle"
    raise CheckpointError(f"{path} is no pickle and no file of torch.save")


def read(path: Path, classes: Sequence[str] = ()) -> Any:
    """Returns what a file holds, its tensors unread.

    Raises:
        SafetyError: it names what is not allowed, claims more than it has, or makes more work than
            its size.
        CheckpointError: it is damaged or no such file.
    """
    names.check_prefixes(classes)
    which, file = kind(path), File(path)
    with budget.held(path) as work:
        if which == "zip":
            return _Zip(file, classes, work).read()
        if which == "legacy":
            return _Legacy(file.whole(), path, classes, work).read()
        tape = Tape(file.whole())
        value = Machine(tape, _Plain(path, classes, work), work).read()
        _require_end(tape)
        return value


def _require_end(tape: Tape) -> None:
    rest = tape.region.length - tape.position
    if rest:
        raise SafetyError(f"{tape.region.where} has {rest:,} bytes behind its end; refused")


class _Torch(Vocabulary):
    """What files of torch's users name: data by an exact list, and classes that become records."""

    def __init__(self, path: Path, classes: Sequence[str], work: Budget) -> None:
        super().__init__()
        self._path, self._classes, self._work = path, classes, work
        self.storages: dict[str, Storage] = {}

    def check(self, name: str, where: str, position: int) -> None:
        if name not in names.DATA and not names.is_class(name, self._classes):
            others = listing.needed(self._path, self._classes)
            raise names.refusal(where, name, position, others)

    def make(self, name: Name, arguments: tuple[Any, ...]) -> Any:
        maker = tensors.MAKERS.get(name) or rebuild.MAKERS.get(name)
        if maker is not None:
            made = maker(*arguments)
            return made.item() if isinstance(made, np.generic) else made
        if name == "torch.storage._load_from_bytes":
            (content,) = arguments
            return self.nested(rebuild.opened(content))
        if name in names.DATA:
            raise ValueError(f"a call of {name}")
        return Record(name, arguments)

    def nested(self, region: Region) -> Any:
        """Reads a torch file inside the pickle.

        Raises:
            SafetyError: there must not be one.
        """
        raise SafetyError(f"{region.where} nests torch files in torch files; refused")

    def storage(self, kind: Any, name: str, location: Any, numel: int) -> Storage:
        """Returns a storage, which a file may refer to often.

        Raises:
            ValueError: it is two things at once.
        """
        dtype = tensors.storage_dtype(kind)
        known = self.storages.get(name)
        if known is None:
            place = location if type(location) is str else ""
            known = self.storages[name] = Storage(dtype, name, place, numel)
        if known.dtype != dtype or known.numel != numel:
            raise ValueError(f"storage {name[:80]} is two things at once")
        return known


class _Plain(_Torch):
    def nested(self, region: Region) -> Any:
        self._work.spend(_NESTED)
        inner = _Legacy(region, self._path, self._classes, self._work)
        inner.names = self.names
        return inner.read()


class _Zip(_Torch):
    def __init__(self, file: File, classes: Sequence[str], work: Budget) -> None:
        super().__init__(file.path, classes, work)
        self.archive = Archive(file)

    def read(self) -> Any:
        byteorder = self.archive.text("byteorder")
        if byteorder not in (None, "little"):
            raise CheckpointError(
                f"{self.archive.where} was written on a big-endian machine; save it again on a "
                "little-endian one"
            )
        return Machine(Tape(self.archive.region("data.pkl")), self, self._work).read()

    def persistent(self, key: Any) -> Storage:
        _, kind, name, location, numel = _checked_id(key, 5)
        storage = self.storage(kind, name, location, numel)
        if storage.region is None:
            storage.bind(self.archive.region(f"data/{name}"))
        return storage


class _Legacy(_Torch):
    def __init__(self, region: Region, path: Path, classes: Sequence[str], work: Budget) -> None:
        super().__init__(path, classes, work)
        self.region, self.tape = region, Tape(region)

    def read(self) -> Any:
        if self._pickle() != MAGIC or self._pickle() != _LEGACY_PROTOCOL:
            raise CheckpointError(f"{self.region.where} holds an unknown form of torch.save")
        about = self._pickle()
        if not isinstance(about, dict) or about.get("little_endian") is not True:
            raise CheckpointError(f"{self.region.where} was written on a big-endian machine")
        value = self._pickle()
        keys = self._pickle()
        words = keys if isinstance(keys, list) else []
        if not all(type(key) is str for key in words) or sorted(words) != sorted(self.storages):
            raise CheckpointError(f"{self.region.where} is damaged: its list of storages is wrong")
        for key in words:
            storage = self.storages[key]
            (count,) = struct.unpack("<q", self.tape.take(8))
            if count != storage.numel:
                raise CheckpointError(
                    f"{self.region.where} is damaged: storage {key[:80]} has {count:,} elements, "
                    f"not {storage.numel:,}"
                )
            storage.bind(self.tape.skip(count * storage.dtype.itemsize))
        _require_end(self.tape)
        return value

    def persistent(self, key: Any) -> Any:
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module":
            return key[1]  # a class, with its source text, which nobody needs
        _, kind, name, location, numel, view = _checked_id(key, 6)
        if view is not None:
            raise CheckpointError(f"{self.region.where} holds views of storages, as torch 0.3 did")
        return self.storage(kind, name, location, numel)

    def _pickle(self) -> Any:
        return Machine(self.tape, self, self._work).read()


def _checked_id(key: Any, size: int) -> tuple[Any, ...]:
    if not isinstance(key, tuple) or len(key) != size or key[0] != "storage":
        raise ValueError("a persistent id that is no storage")
    if not isinstance(key[1], Name) or type(key[2]) is not str or type(key[4]) is not int:
        raise ValueError("a persistent id of wrong parts")
    return key

"""The three files torch users have: plain pickles, legacy torch.save and zip torch.save.

Source: torch/serialization.py and torch/storage.py say what lies where; nothing of them is used.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interop.pickles import listing, names, tensors
from interop.pickles.archive import Archive
from interop.pickles.machine import Machine
from interop.pickles.regions import File, Region
from interop.pickles.tokens import Budget, Tape
from interop.pickles.values import Name, Storage
from jfl.errors import CheckpointError, SafetyError

MAGIC = 0x1950A86A20F9469CFC6C
_MAGIC_PICKLE = b"\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
_LEGACY_PROTOCOL = 1001


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
        SafetyError: it names what is not allowed, or claims more than it has.
        CheckpointError: it is damaged or no such file.
    """
    names.check_prefixes(classes)
    file, budget = File(path), Budget()
    which = kind(path)

    def others() -> list[str]:
        return listing.needed(path, classes)

    if which == "zip":
        return _Zip(file, classes, budget, others).read()
    if which == "legacy":
        return _Legacy(file.whole(), classes, budget, others).read()

    def nested(region: Region) -> Any:
        return _Legacy(region, classes, budget, others).read()

    tape = Tape(file.whole())
    value = Machine(tape, classes, budget, nested=nested, others=others).read()
    _require_end(tape)
    return value


def _require_end(tape: Tape) -> None:
    rest = tape.region.length - tape.position
    if rest:
        raise SafetyError(f"{tape.region.where} has {rest:,} bytes behind its end; refused")


class _Zip:
    def __init__(self, file: File, classes: Sequence[str], budget: Budget, others: Any) -> None:
        self.archive = Archive(file)
        self.storages: dict[str, Storage] = {}
        self._settings = {"prefixes": classes, "budget": budget, "others": others}

    def read(self) -> Any:
        byteorder = self.archive.text("byteorder")
        if byteorder not in (None, "little"):
            raise CheckpointError(
                f"{self.archive.where} was written on a big-endian machine; save it again on a "
                "little-endian one"
            )
        region = self.archive.region("data.pkl")
        return Machine(Tape(region), persistent=self._storage, **self._settings).read()

    def _storage(self, key: Any) -> Storage:
        _, kind, name, location, numel = _checked_id(key, 5)
        if name not in self.storages:
            storage = Storage(tensors.storage_dtype(kind), name, str(location), numel)
            storage.bind(self.archive.region(f"data/{name}"))
            self.storages[name] = storage
        return _same(self.storages[name], kind, numel)


class _Legacy:
    def __init__(self, region: Region, classes: Sequence[str], budget: Budget, others: Any) -> None:
        self.region, self.tape = region, Tape(region)
        self.storages: dict[str, Storage] = {}
        self._settings = {"prefixes": classes, "budget": budget, "others": others}

    def read(self) -> Any:
        if self._pickle() != MAGIC or self._pickle() != _LEGACY_PROTOCOL:
            raise CheckpointError(f"{self.region.where} holds an unknown form of torch.save")
        about = self._pickle()
        if not isinstance(about, dict) or about.get("little_endian") is not True:
            raise CheckpointError(f"{self.region.where} was written on a big-endian machine")
        value = self._pickle()
        keys = self._pickle()
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(self.storages):
            raise CheckpointError(f"{self.region.where} is damaged: its list of storages is wrong")
        for key in map(str, keys):
            storage = self.storages[key]
            (count,) = struct.unpack("<q", self.tape.take(8))
            if count != storage.numel:
                raise CheckpointError(
                    f"{self.region.where} is damaged: storage {key} has {count:,} elements, not "
                    f"{storage.numel:,}"
                )
            storage.bind(self.tape.skip(count * storage.dtype.itemsize))
        _require_end(self.tape)
        return value

    def _pickle(self) -> Any:
        return Machine(self.tape, persistent=self._storage, **self._settings).read()

    def _storage(self, key: Any) -> Any:
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module":
            return key[1]  # a class, with its source text, which nobody needs
        _, kind, name, location, numel, view = _checked_id(key, 6)
        if view is not None:
            raise CheckpointError(f"{self.region.where} holds views of storages, as torch 0.3 did")
        if name not in self.storages:
            dtype = tensors.storage_dtype(kind)
            self.storages[name] = Storage(dtype, name, str(location), numel)
        return _same(self.storages[name], kind, numel)


def _checked_id(key: Any, size: int) -> tuple[Any, ...]:
    if not isinstance(key, tuple) or len(key) != size or key[0] != "storage":
        raise ValueError("a persistent id that is no storage")
    if not isinstance(key[1], Name) or type(key[2]) is not str or type(key[4]) is not int:
        raise ValueError("a persistent id of wrong parts")
    return key


def _same(storage: Storage, kind: Any, numel: int) -> Storage:
    if storage.dtype != tensors.storage_dtype(kind) or storage.numel != numel:
        raise ValueError(f"storage {storage.key} is two things at once")
    return storage

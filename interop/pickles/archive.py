"""The zip files torch writes: nothing compressed, nothing outside, nothing twice, no overlap."""

import struct
import zipfile

from interop.pickles.regions import File, Region
from jfl.errors import CheckpointError, SafetyError

_MOST_ENTRIES = 1_000_000
_HEADER = struct.Struct("<4s22xHH")
_STORED, _ENCRYPTED = 0, 1
_LONGEST_TEXT = 256


class Archive:
    """Regions of an uncompressed zip file by name."""

    def __init__(self, file: File) -> None:
        """Reads the table of contents.

        Raises:
            CheckpointError: it is damaged, or no file of torch.
            SafetyError: it is made to mislead.
        """
        self.where = str(file.path)
        self._file = file
        try:
            with zipfile.ZipFile(file.path) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
            raise CheckpointError(f"{self.where} is a damaged zip file ({error})") from error
        self._require_weights(infos)
        self._check(infos)
        roots = {i.filename.split("/")[0] for i in infos if i.filename.endswith("/data.pkl")}
        if len(roots) != 1:
            names = ", ".join(sorted(i.filename for i in infos)[:3])
            raise CheckpointError(f"{self.where} is no file of torch.save; it holds {names}")
        (root,) = roots
        self._infos = {i.filename.removeprefix(f"{root}/"): i for i in infos}

    def region(self, name: str) -> Region:
        """Returns where an entry lies.

        Raises:
            CheckpointError: there is none.
        """
        info = self._infos.get(name)
        if info is None:
            raise CheckpointError(f"{self.where} is damaged: it has no {name[:80]}")
        return Region(self._file, _start(self._file, info), info.file_size)

    def text(self, name: str) -> str | None:
        """Returns a short text, None where there is none."""
        if name not in self._infos:
            return None
        region = self.region(name)
        return region.read(0, min(region.length, _LONGEST_TEXT)).decode("latin-1").strip()

    def _require_weights(self, infos: list[zipfile.ZipInfo]) -> None:
        """Refuses torch's archives of programs, which hold their weights among code."""
        inner = {info.filename.partition("/")[2] for info in infos}
        folders = {name.partition("/")[0] for name in inner if "/" in name}
        if "constants.pkl" in inner or ("code" in folders and "data.pkl" in inner):
            what, load = "a TorchScript program", f"torch.jit.load({self.where!r})"
        elif "archive_format" in inner or {"serialized_exported_program.json"} & inner:
            what, load = "an exported program", f"torch.export.load({self.where!r})"
        elif ".data" in folders and ".data/extern_modules" in inner:
            what, load = "a package of torch.package with its code", "your model"
        else:
            return
        raise CheckpointError(
            f"{self.where} is {what}, not weights alone; where you trust it, save those with "
            f"torch.save({load}.state_dict(), 'weights.pt') and give weights.pt"
        )

    def _check(self, infos: list[zipfile.ZipInfo]) -> None:
        if len(infos) > _MOST_ENTRIES:
            raise SafetyError(f"{self.where} has {len(infos):,} entries; refused")
        seen: set[str] = set()
        end, last = 0, ""
        for info in sorted(infos, key=lambda i: i.header_offset):
            name = info.filename
            if name in seen:
                raise SafetyError(f"{self.where} holds {name[:80]} twice; refused")
            seen.add(name)
            if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
                raise SafetyError(f"{self.where} holds {name[:80]}, outside itself; refused")
            if info.compress_type != _STORED or info.compress_size != info.file_size:
                raise SafetyError(
                    f"{self.where} holds {name[:80]} compressed, which torch never does; refused"
                )
            if info.flag_bits & _ENCRYPTED:
                raise CheckpointError(f"{self.where} is encrypted")
            if info.header_offset < end:
                raise SafetyError(f"{self.where} holds {name[:80]} inside {last[:80]}; refused")
            end, last = _start(self._file, info) + info.file_size, name


def _start(file: File, info: zipfile.ZipInfo) -> int:
    """Returns where the bytes of an entry start: behind its own header, not the table's."""
    magic, name, extra = _HEADER.unpack(file.read(info.header_offset, _HEADER.size))
    if magic != b"PK\x03\x04":
        raise CheckpointError(f"{file.path} is a damaged zip file ({info.filename[:80]} is lost)")
    return info.header_offset + _HEADER.size + name + extra

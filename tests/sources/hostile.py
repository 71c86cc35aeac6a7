"""Small files that unpack, or ask, to fill the memory or to take for ever."""

import gzip
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

MIB = b"\0" * (1 << 20)


def npy(shape: tuple[int, ...], dtype: str = "|u1", *, fortran: bool = False) -> bytes:
    """The header of an array."""
    file = io.BytesIO()
    about = {"descr": dtype, "fortran_order": fortran, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue()


def zipped(path: Path, members: dict[str, tuple[bytes, int]], times: int = 1) -> None:
    """A zip file of members, each a beginning and so many MiB of zeros.

    With `times`, the directory names each so often, by other names.
    """
    body, lines = b"", []
    for name, (start, mib) in members.items():
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
        packed += (packer.compress(MIB) + packer.flush(zlib.Z_FULL_FLUSH)) * mib + packer.flush()
        check = zlib.crc32(start)
        for _ in range(mib):
            check = zlib.crc32(MIB, check)
        sizes = (check, len(packed), len(start) + (mib << 20))
        for number in range(times):
            word = f"{number or ''}{name}".encode()
            lines.append(_line(word, 8, *sizes, len(body)))
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, *sizes, len(name), 0)
        body += name.encode() + packed
    _closed(path, body, lines)


def directory(path: Path, count: int) -> None:
    """A zip file whose directory has many lines, and nothing else."""
    _closed(path, b"PK\3\4" + bytes(26), [_line(b"", 0, 0, 0, 0, 0)] * count)


def _line(name: bytes, method: int, check: int, packed: int, size: int, place: int) -> bytes:
    start = struct.pack("<4s6H", b"PK\1\2", 20, 20, 0, method, 0, 0)
    return start + struct.pack("<3L5H2L", check, packed, size, len(name), *[0] * 5, place) + name


def _closed(path: Path, body: bytes, lines: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole, count = b"".join(lines), len(lines) % 65536
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(whole), len(body), 0)
    path.write_bytes(body + whole + end)


def tar(path: Path, parts: Iterable[bytes]) -> None:
    """A gzipped tar file of parts."""
    zeros = gzip.compress(MIB, 9)
    packed = (zeros if part is MIB else gzip.compress(part, 1) for part in parts)
    path.write_bytes(b"".join(packed))


def head(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of a member of a tar file."""
    about = tarfile.TarInfo(name)
    about.size, about.type = size, kind
    return about.tobuf(tarfile.USTAR_FORMAT)


def sparse_map() -> bytes:
    """A member whose notes list millions of its parts."""
    note = b"GNU.sparse.map=" + b"0,1," * 1_000_000 + b"0,1\n"
    note = b"%d " % (len(note) + 8) + note
    return head("x", len(note), tarfile.XHDTYPE) + note + bytes(-len(note) % 512) + head("y", 0)


def safetensors(header: bytes | dict[str, object], content: bytes = b"") -> bytes:
    """A safetensors file."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def gguf(settings: int, arrays: int, body: bytes) -> bytes:
    """A GGUF file."""
    return b"GGUF" + struct.pack("<IQQ", 3, arrays, settings) + body


def orbax(
    folder: Path, shape: list[int], chunks: list[int], inner: list[int] | None = None,
    packed: str | None = None,
) -> None:  # fmt: skip
    """A checkpoint of one array, described and no more; with `inner` of zarr 3."""
    plain = [{"name": "bytes", "configuration": {"endian": "little"}}]
    parts = {"chunk_shape": inner, "codecs": plain, "index_codecs": plain}
    about = {"shape": shape, "fill_value": 0, "attributes": {}} | (
        {
            "zarr_format": 2, "chunks": chunks, "dtype": "<f4", "order": "C",
            "compressor": packed and {"id": packed}, "filters": None, "dimension_separator": ".",
        }
        if inner is None
        else {
            "zarr_format": 3, "node_type": "array", "data_type": "float32",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "chunk_key_encoding": {"name": "default"},
            "codecs": [{"name": "sharding_indexed", "configuration": parts}],
        }
    )  # fmt: skip
    leaf = {"key_metadata": [{"key": "a", "key_type": 2}], "value_metadata": {"value_type": "x"}}
    (folder / "a").mkdir(parents=True)
    tree = {"tree_metadata": {"('a',)": leaf}, "use_zarr3": inner is not None}
    (folder / "_METADATA").write_text(json.dumps(tree))
    name = ".zarray" if inner is None else "zarr.json"
    (folder / "a" / name).write_text(json.dumps(about))

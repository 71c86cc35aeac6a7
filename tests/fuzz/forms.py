"""Changes that know a format: what is inside is changed, and what guards it is made right again."""

import bz2
import gzip
import io
import json
import lzma
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.fuzz import changes, extremes
from tests.fuzz.changes import Random

MARKS = {
    b"PK\x03\x04": "zip", b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "xz",
    b"\x89PNG": "png", b"\x93NUMPY": "npy", b"PAR1": "parquet", b"\x80": "pickle",
    b"{": "json", b"[": "json",
}  # fmt: skip


def of(content: bytes) -> str | None:
    """The name of a format whose inside can be changed, by its first bytes."""
    if content[257:262] == b"ustar":
        return "tar"
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content):
        return "safetensors"
    if content[4:6] == b"\x78\x01":
        return "rdb"
    known = next((form for mark, form in MARKS.items() if content.startswith(mark)), None)
    return known or ("text" if content.isascii() and b"\0" not in content else None)


def change(rng: Random, content: bytes, other: bytes) -> bytes:
    """One change, of what is inside where there is an inside, else of the bytes."""
    form = of(content)
    if form is not None and rng.random() < 0.75:
        with suppress(Exception):  # who was changed before may be too damaged to be unpacked
            return INSIDE[form](rng, content, other)
    return changes.blind(rng, content, other)


def mutant(rng: Random, content: bytes, other: bytes) -> bytes:
    """A file after one change or a few; `other` lends it blocks."""
    for _ in range(rng.geometric(0.6)):
        content = change(rng, content, other)
    return content


def zipped(rng: Random, content: bytes, other: bytes) -> bytes:
    """Changes one member, or a field of the table of contents; the checksums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(item, archive.read(item)) for item in archive.infolist()]
    chosen = rng.integers(len(members))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for place, (item, inner) in enumerate(members):
            packed = change(rng, inner, other) if place == chosen else inner
            archive.writestr(zipfile.ZipInfo(item.filename), packed, item.compress_type)
    whole = made.getvalue()
    if rng.random() < 0.8:
        return whole
    marks = [whole.rfind(b"PK\5\6"), whole.rfind(b"PK\1\2"), whole.find(b"PK\3\4")]
    place = marks[rng.integers(3)] + int(rng.integers(4, 46))
    value = extremes.number(rng)
    return whole[:place] + value + whole[place + len(value) :]


def gzipped(rng: Random, content: bytes, other: bytes) -> bytes:
    return gzip.compress(change(rng, gzip.decompress(content), other), mtime=0)


def rdb(rng: Random, content: bytes, other: bytes) -> bytes:
    """Changes the first value of R's, which is not compressed; it stays as long."""
    unpacker = zlib.decompressobj()
    inner = unpacker.decompress(content[4:])
    changed = change(rng, inner, other)[: len(inner)].ljust(len(inner), b"\0")
    return content[:4] + zlib.compress(changed, 0) + unpacker.unused_data


def bz2ed(rng: Random, content: bytes, other: bytes) -> bytes:
    return bz2.compress(change(rng, bz2.decompress(content), other))


def xzed(rng: Random, content: bytes, other: bytes) -> bytes:
    return lzma.compress(change(rng, lzma.decompress(content), other))


FIELDS = ((0, 100), (100, 108), (124, 136), (156, 157), (157, 257), (257, 265), (345, 500))


def tar(rng: Random, content: bytes, other: bytes) -> bytes:
    """Changes a field of a header, or a member; the header's checksum is right."""
    starts = [n for n in range(0, len(content), 512) if content[n + 257 : n + 262] == b"ustar"]
    start = starts[rng.integers(len(starts))]
    head, rest = content[start : start + 512], content[start + 512 :]
    if rng.random() < 0.3:
        size = int(head[124:135], 8)
        inner = change(rng, rest[:size], other)[:size].ljust(size, b"\0")
        return content[: start + 512] + inner + rest[size:]
    first, last = FIELDS[rng.integers(len(FIELDS))]
    size = last - first
    octal = b"%0*o" % (size - 1, int(rng.integers(2**30)))
    fields = (octal, extremes.text(rng), extremes.number(rng), b"xgLKSN1265"[rng.integers(10) :])
    value = fields[rng.integers(4)][:size].ljust(size, b"\0")
    head = head[:first] + value + head[last:]
    total = sum(head[:148]) + 8 * 32 + sum(head[156:])
    return content[:start] + head[:148] + b"%06o\0 " % total + head[156:] + rest


def png(rng: Random, content: bytes, other: bytes) -> bytes:
    """Changes a chunk, or the pixels in it; every chunk has its checksum."""
    chunks, place = [], 8
    while place < len(content):
        (size,) = struct.unpack(">I", content[place : place + 4])
        kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + size]
        chunks.append((kind, data))
        place += 12 + size
    chosen = int(rng.integers(len(chunks)))
    kind, data = chunks[chosen]
    if kind == b"IDAT" and rng.random() < 0.5:
        data = zlib.compress(changes.blind(rng, zlib.decompress(data), other))
    else:
        data = changes.blind(rng, data, other)
        kinds = (kind, kind, b"tRNS", b"PLTE", b"eXIf", b"iTXt", b"zTXt", b"acTL", b"gAMA", b"iCCP")
        kind = kinds[rng.integers(len(kinds))]
    chunks[chosen : chosen + rng.integers(2)] = [(kind, data)]
    made = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return content[:8] + b"".join(made)


def npy(rng: Random, content: bytes, other: bytes) -> bytes:
    """Changes the words of the header, whose length is right."""
    (size,) = struct.unpack("<H", content[8:10])
    if size == len(content) - 10 or rng.random() < 0.3:
        return content[: 10 + size] + change(rng, content[10 + size :], other)
    how = (changes.digits, changes.word, changes.byte, changes.drop)
    head = how[rng.integers(len(how))](rng, content[10 : 10 + size])
    return content[:8] + struct.pack("<H", len(head) % 2**16) + head + content[10 + size :]


def safetensors(rng: Random, content: bytes, other: bytes) -> bytes:
    """Changes the header, whose length is right."""
    end = 8 + int.from_bytes(content[:8], "little")
    head = jsons(rng, content[8:end], other)
    return struct.pack("<Q", len(head)) + head + content[end:]


def jsons(rng: Random, content: bytes, other: bytes) -> bytes:
    """Puts an odd value in the place of one, or a key twice."""
    value = json.loads(content)
    places: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            places.append((inner, key))
            if isinstance(inner[key], dict | list):
                walk(inner[key])

    walk(value)
    inner, key = places[rng.integers(len(places))]
    odd = extremes.pick(rng, extremes.VALUES)
    what = rng.integers(20)
    if what < 3 and isinstance(inner, dict):
        inner[str(extremes.text(rng), "utf-8")[:200]] = inner.pop(key)
    elif what < 6:
        del inner[key]
    elif what < 9 and isinstance(inner, list):
        inner[:] = inner * int(rng.integers(2, 500))
    elif what < 12:
        inner[key] = [inner[key]] * int(rng.integers(1, 4))
    else:
        inner[key] = odd
    made = json.dumps(value).encode()
    return made.replace(b"{", b'{"round": 1, "round": 3, ', 1) if what == 19 else made


def text(rng: Random, content: bytes, other: bytes) -> bytes:
    """Changes a number, a word or a line; it stays text."""
    what = rng.integers(5)
    if what < 2:
        return changes.digits(rng, content)
    if what < 4:
        return changes.word(rng, content)
    lines = content.splitlines(keepends=True)
    place = int(rng.integers(len(lines)))
    lent = (lines[rng.integers(len(lines))], b"  " + lines[place], b"", *other.splitlines(True)[:9])
    lines[place : place + rng.integers(2)] = [lent[rng.integers(len(lent))]] * int(
        rng.choice([1, 1, 1, 2, 1000])
    )
    return b"".join(lines)[: changes.MOST]


def pickled(rng: Random, content: bytes, other: bytes) -> bytes:
    """Drops, doubles, moves or replaces operations of a pickle."""
    starts = [place for _, _, place in pickletools.genops(content)]
    end = starts[-1] + 1
    operations = [content[a:b] for a, b in zip(starts, [*starts[1:], end], strict=True)]
    at = int(rng.integers(1, len(operations)))
    few = operations[at : at + int(rng.integers(1, 6))]
    odd = (
        b"0", b"1", b"2", b"(", b"\x85", b"\x86", b"\x87", b"]", b"}", b")", b"\x94", b"h\0", b"R",
        b"b", b"Q", b"a", b"s", b"e", b"u", b"t", b"\x8f", b"\x90", b"\x91", b"\x81", b"\x92",
        b"\x93", b"2\x86" * 40, b"(h\0h\0l" * 9, b"q\xff", b"r" + extremes.number(rng)[:4].ljust(4),
        b"\x8a\x09" + b"\xff" * 8 + b"\0", b"I" + extremes.text(rng)[:50] + b"\n",
        b"F" + extremes.text(rng)[:50] + b"\n", b"J" + extremes.number(rng)[:4].ljust(4, b"\x7f"),
        b"cos\nsystem\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n",
        b"cnumpy\nndarray\n", b"G" + struct.pack(">d", float("nan")), b"P0\n", b"\x98", b".",
    )  # fmt: skip
    what = rng.integers(5)
    if what == 0:
        del operations[at : at + len(few)]
    elif what == 1:
        operations[at:at] = few * int(rng.choice([1, 2, 30, 3000]))
    elif what == 2:
        del operations[at : at + len(few)]
        place = rng.integers(1, len(operations) + 1)
        operations[place:place] = few
    else:
        operations[at : at + (what == 3)] = [odd[rng.integers(len(odd))]] * int(rng.integers(1, 4))
    return b"".join(operations)[: changes.MOST] + content[end:]


def parquet(rng: Random, content: bytes, other: bytes) -> bytes:
    """Changes the first picture of a table."""
    import pyarrow as pa
    from pyarrow import parquet as tables

    rows = tables.read_table(io.BytesIO(content)).to_pylist()
    rows[0]["image"]["bytes"] = change(rng, rows[0]["image"]["bytes"], other)
    made = io.BytesIO()
    tables.write_table(pa.Table.from_pylist(rows), made)
    return made.getvalue()


INSIDE: dict[str, Callable[[Random, bytes, bytes], bytes]] = {
    "zip": zipped, "gzip": gzipped, "bz2": bz2ed, "xz": xzed, "tar": tar, "png": png, "npy": npy,
    "safetensors": safetensors, "json": jsons, "pickle": pickled, "parquet": parquet,
    "text": text, "rdb": rdb,
}  # fmt: skip

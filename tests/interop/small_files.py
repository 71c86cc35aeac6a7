"""Small files that make endless work for a reader that does not count it, operation by operation.

Each is one of a kind: what is repeated, nested, shared or referred to is not in the file so often.
"""

import struct
from collections.abc import Iterator

from tests.interop.hostile import STORAGE, text, zipped

MANY, DEEP = 200_000, 20_000
NAME = b"ctorch.nn\nModule\n"
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n" + STORAGE
    + b"K\x00K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
)  # fmt: skip


def put(place: int) -> bytes:
    """Keeps what was made last in the memo, and takes it off the stack."""
    return b"r" + struct.pack("<I", place) + b"0"


def get(place: int) -> bytes:
    return b"j" + struct.pack("<I", place)


def made(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def module(parameters: bytes, modules: bytes) -> bytes:
    parts = text("_parameters") + parameters + text("_buffers") + b"}" + text("_modules") + modules
    return NAME + b")\x81}(" + parts + b"ub"


def held(body: bytes, storage: int = 0) -> bytes:
    """A torch zip whose pickle has a tensor of four floats at place 0."""
    return zipped(
        b"\x80\x02" + TENSOR + put(0) + body + b".",
        archive__data__0=bytes(16),
        archive__data__1=bytes(storage),
    )


def doubled(first: bytes, twice: bytes, places: int = 60) -> bytes:
    """Puts at each place what holds the place before twice, from place 1 on."""
    steps = (twice.replace(b"?", get(n)) + put(n + 1) for n in range(1, places))
    return first + put(1) + b"".join(steps)


def joined(parts: Iterator[bytes]) -> bytes:
    return b"".join(parts)


LISTS = doubled(b"]", b"(??l")
W = b"}" + text("w") + get(0) + b"s"
CLIENT = b"cflcore\nClient\n)\x81}" + text("model") + W + b"sb"
PAIR = b"}(" + text("a") + b"?" + text("b") + b"?u"
FIELDS = doubled(
    made("numpy", "dtype") + b"(" + text("f4") + b"NNtR",
    made("numpy", "dtype") + b"(" + text("V4") + b"NNtR(K\x03" + text("|") + b"N("
    + text("a") + text("b") + b"t}(" + text("a") + b"(?K\x00t" + text("b")
    + b"(?K\x00tuK\x04K\x01K\x10tb",
)  # fmt: skip

FILES: dict[str, bytes] = {
    # keys whose hash walks what they hold, or was chosen
    "key-deep": b"\x80\x02})" + b"\x85" * MANY + b"Ns.",
    "key-shared": b"\x80\x02" + doubled(b")", b"??\x86") + b"}" + get(60) + b"Ns.",
    "key-collides": b"\x80\x02}("
    + joined(b"\x8a\x0b" + (n * (2**61 - 1)).to_bytes(11, "little") + b"N" for n in range(MANY))
    + b"u.",
    "memo-collides": b"\x80\x02N"
    + joined(b"p%d\n" % (n * (2**61 - 1)) for n in range(MANY))
    + b".",
    "key-of-layout": b"\x80\x02)" + b"\x85" * MANY + put(1)
    + made("torch._utils", "_rebuild_sparse_tensor") + b"(" + get(1) + b"NtR.",
    # copies
    **{
        f"copies-{name.rpartition('.')[2]}": b"\x80\x02(" + b"N" * MANY + b"l" + put(1)
        + made(*name.rsplit(".", 1)) + put(2) + b"(" + (get(2) + get(1) + b"\x85R") * 5000 + b"l."
        for name in ("builtins.list", "builtins.tuple", "collections.deque", "torch.Size")
    },
    "copies-of-states": b"\x80\x02("
    + joined(b"J" + struct.pack("<i", n) + b"N" for n in range(MANY))
    + b"d" + put(1) + b"(" + (NAME + b")\x81" + get(1) + b"b") * 3000 + b"l.",
    "copies-of-arguments": b"\x80\x02(" + b"N" * MANY + b"t" + put(1) + b"(" + (
        made("collections", "deque") + get(1) + b"R") * 3000 + b"l.",
    "calls-of-calls": b"\x80\x02" + made("copyreg", "__newobj__") + put(1)
    + b"(" + get(1) * MANY + b"t" + put(2) + get(1) + get(2) + b"R.",
    "text-decoded": b"\x80\x02(" + text("a" * MANY) + put(1) + text("b" * MANY) + put(2) + (
        made("_codecs", "encode") + get(1) + b"\x85R" + made("_codecs", "encode") + get(2)
        + b"\x85R") * 20_000 + b"l.",
    # many of what costs much
    "sets": b"\x80\x04(" + b"\x8f" * 5_000_000 + b"l.",
    "marks": b"\x80\x04" + b"(" * 12_000_000 + b".",
    "names": b"\x80\x02(" + joined(made("torch.nn", f"A{n}") for n in range(600_000)) + b"l.",
    "lines": b"\x80\x02(" + b"I1\n" * 5_000_000 + b"l.",
    "entries": zipped(b"\x80\x02N.", **{f"a__{n}": b"" for n in range(60_000)}),
    # what is shared or repeated, walked as a tree
    "modules-shared": held(doubled(module(W, b"}"), module(b"}", PAIR)) + get(60)),
    "modules-deep": held(NAME.join([b""] + [
        b")\x81}(" + text("_parameters") + W + text("_buffers") + b"}" + text("_modules") + b"}"
        + text("a")] * DEEP) + b"N" + b"sub" * DEEP),
    "lists-shared": held(LISTS + b"}(" + text("a") + get(60) + text("w") + get(0) + b"u"),
    "list-shared": held(b"(" + b"]" * MANY + b"l" + put(1) + b"}(" + joined(
        text(f"k{n}") + get(1) for n in range(5000)) + text("w") + get(0) + b"u"),
    "clients-shared": held(
        CLIENT + put(1) + b"}" + text("clients") + b"(" + get(1) * 10 * MANY + b"ls"),
    "affinity-shared": held(
        CLIENT + put(1) + b"(" + b"K\x01" * DEEP + b"l" + put(2) + b"}(" + text("clients") + b"("
        + get(1) * DEEP + b"l" + text("P") + b"(" + get(2) * DEEP + b"lu"),
    "tensor-repeated": held(b"(" + get(0) * 10 * MANY + b"l"),
    "tensors-overlap": held(b"}(" + joined(
        text(f"c{n}") + b"ctorch._utils\n_rebuild_tensor_v2\n" + STORAGE.replace(
            b"K\x04tQ", b"J" + struct.pack("<i", 1 << 20) + b"tQ").replace(text("0"), text("1"))
        + b"J" + struct.pack("<i", n) + b"J" + struct.pack("<i", 1_000_000)
        + b"\x85K\x01\x85\x89}tR" for n in range(5000)) + b"u", 4 << 20),
    "type-shared": b"\x80\x02" + FIELDS + made("numpy.core.numeric", "_frombuffer")
    + b"(C\x04abcd" + get(60) + b"(K\x01t" + text("C") + b"tR.",
    # what a message would write out
    **{
        f"said-{name}": held(LISTS + before + get(60) + after)
        for name, before, after in (
            ("size", made("torch._utils", "_rebuild_tensor_v2") + b"(", b"K\x00))\x89NtR"),
            ("type", made("numpy", "dtype") + b"(", b"NNtR"),
            ("storage", b"(" + text("storage"), text("0") + text("cpu") + b"K\x04tQ"),
            ("encoding", made("_codecs", "encode") + b"(" + text("a"), b"tR"),
        )
    },
    "hidden": held(LISTS + made("builtins", "set") + b"(" + get(60) + b"tR" + put(99) + module(
        W, b"}").replace(b"ub", text("_non_persistent_buffers_set") + get(99) + b"ub")),
    # long names, numbers in names, no end of rows
    "names-deep": held(b"]" * DEEP + get(0) + b"a" + (b"a" + get(0) + b"a") * (DEEP - 1)),
    "names-dotted": held(
        b"}(" + joined(text("a." * 2000 + str(n)) + get(0) for n in range(2000)) + b"u"),
    "names-of-digits": held(b"}(" + joined(
        text(f"client{'1' * 3980}{n}z") + b"(" + get(0) + b"l" for n in range(3000)) + b"u"),
    "names-of-clients": held(b"}(" + joined(
        text("client" * 660 + f"{n}z") + get(0) for n in range(3000)) + b"u"),
    "list-long": b"\x80\x02(" + b"N" * 1_000_000 + b"l.",
    "rows-endless": held(b"}" + text("client_0.w") + TENSOR.replace(
        b"K\x00K\x04\x85K\x01\x85", b"K\x00\x8a\x06\x00\x00\x00\x00\x00\x10\x85K\x00\x85") + b"s"),
}  # fmt: skip
"""By name; none has more than 20 MB."""

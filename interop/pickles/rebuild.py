"""Makers of data: what the few functions a pickle may name would have returned, made by hand."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from interop.pickles import tensors
from interop.pickles.regions import Inline, Latin, Region, Text
from interop.pickles.values import DTYPES, DType, Name, Record, Storage, Tensor, packed
from jfl.errors import SafetyError

_KIND = re.compile(r"[<>=|]?[A-Za-z?][A-Za-z0-9_]{0,15}(\[[0-9a-z]{1,8}\])?")


class Unfilled(Tensor):
    """A NumPy array between its making and its filling, which BUILD does."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Storage(np.dtype("u1"), "", "cpu", 0), 0, (0,), (1,))

    def fill(self, state: Any) -> Any:
        """Takes version, shape, dtype, order and content; returns a record where it is objects."""
        _, shape, dtype, fortran, content = state
        return _array(self, shape, dtype, fortran, content)


def make(name: str, arguments: tuple[Any, ...], nested: Callable[[Region], Any]) -> Any:
    """Returns what calling `name` would; `nested` reads a torch file inside the pickle.

    Raises:
        ValueError: it cannot be called so.
    """
    simple = _MAKERS.get(name)
    if simple is not None:
        return simple(*arguments)
    if name == "torch.storage._load_from_bytes":
        (content,) = arguments
        return nested(_region(content))
    if name.startswith("torch._utils.") or name == "torch._tensor._rebuild_from_type_v2":
        return tensors.MAKERS[name.rsplit(".", 1)[1]](*arguments)
    raise ValueError(f"a call of {name}")


def _mapping(items: Any = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    pairs = items.items() if isinstance(items, dict) else items
    for key, value in pairs:
        made[checked_key(key)] = value
    return made


def checked_key(key: Any) -> Any:
    """Returns a key; only those whose hash and comparison are cheap and safe are taken.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(key, tuple) and len(key) <= 16 and all(_is_plain(part) for part in key):
        return key
    if _is_plain(key) or isinstance(key, Record | Tensor | Storage | Region):
        return key
    raise ValueError(f"a key of a dict that is a {type(key).__name__}")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bytes)


def _collection(name: str) -> Callable[..., Record]:
    def make(items: Any = (), *_: Any) -> Record:
        if not isinstance(items, list | tuple | Record):
            raise ValueError(f"a {name} of a {type(items).__name__}")
        made = Record(f"builtins.{name}")
        made.items = list(items.items if isinstance(items, Record) else items)
        return made

    return make


def _encode(text: Any, encoding: Any = "latin1", *_: Any) -> Any:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"text encoded as {encoding!s:.40}")
    if isinstance(text, Text):
        return Latin(text)
    if not isinstance(text, str):
        raise ValueError("bytes made of what is no text")
    return text.encode("latin-1")


def _bytes(content: Any = b"", *_: Any) -> Any:
    if not isinstance(content, bytes | Region):
        raise ValueError(f"bytes made of a {type(content).__name__}")
    return content


def _dtype(kind: Any, *_: Any) -> DType:
    if isinstance(kind, Name):
        word = kind.rsplit(".", 1)[-1]
        extended = kind.startswith("ml_dtypes.")
        made = DTYPES[word] if extended else np.dtype(_kind(word.rstrip("_")))
    else:
        made = np.dtype(_kind(str(kind)))
    if made.kind not in "buifcOSUMmV":
        raise ValueError(f"an array of {made}")
    return DType(made)


def _kind(word: str) -> str:
    if not _KIND.fullmatch(word):
        raise ValueError(f"an array of {word:.40}")
    return word


def _array(made: Any, shape: Any, dtype: Any, fortran: Any, content: Any) -> Any:
    if not isinstance(dtype, DType):
        raise ValueError("an array without dtype")
    shape = tuple(shape)
    if dtype.numpy.kind == "O":
        record = Record("numpy.ndarray")
        record.items = list(content) if isinstance(content, list) else [content]
        return record
    if dtype.numpy.hasobject or not dtype.numpy.itemsize:
        raise ValueError(f"an array of {dtype.numpy}")
    region = _region(content)
    storage = Storage(dtype.numpy, "array", "cpu", region.length // dtype.numpy.itemsize)
    storage.bind(region)
    if math.prod(shape) != storage.numel:
        raise ValueError(f"an array of shape {shape} with {region.length} bytes")
    Tensor.__init__(made, storage, 0, shape, packed(shape, bool(fortran)))
    return made


def _region(content: Any) -> Region:
    if isinstance(content, bytes):
        return Inline(content, "an array")
    if not isinstance(content, Region):
        raise ValueError(f"bytes that are a {type(content).__name__}")
    return content


def _scalar(dtype: Any, content: Any = b"") -> Any:
    if not isinstance(dtype, DType) or dtype.numpy.hasobject:
        raise ValueError("a number without dtype")
    return np.frombuffer(_bytes(content), dtype.numpy)[0].item()


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> Any:
    return _array(Unfilled(), shape, dtype, order == "F", content)


def _reconstructor(kind: Any, base: Any, _state: Any = None) -> Any:
    if not isinstance(kind, Name) or base != "builtins.object":
        raise ValueError("an object on a base that is not object")
    return Record(kind)


def _namespace(**values: Any) -> Record:
    made = Record("argparse.Namespace")
    made.state = values
    return made


def _text(content: Any = "") -> str:
    if type(content) is not str:
        raise ValueError("a text of something else")
    return content


def _partial(function: Any, *_: Any) -> Record:
    """Makes what a network keeps to build its layers with; of anything but a class it is an attack.

    Raises:
        SafetyError: it is.
    """
    if not isinstance(function, Name):
        raise SafetyError("the file names functools.partial of what is no class; refused")
    return Record("functools.partial", (function,))


def _number(kind: type) -> Callable[..., Any]:
    def make(*values: Any) -> Any:
        if any(not isinstance(value, int | float) for value in values):
            raise ValueError(f"a {kind.__name__} of something else")
        return kind(*values)

    return make


_MAKERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": lambda _factory=None, items=(): _mapping(items),
    "collections.Counter": _mapping,
    "collections.deque": _collection("deque"),
    "builtins.set": _collection("set"),
    "builtins.frozenset": _collection("frozenset"),
    "builtins.list": lambda items=(): list(_collection("list")(items).items),
    "builtins.tuple": lambda items=(): tuple(_collection("tuple")(items).items),
    "builtins.dict": _mapping,
    "builtins.object": lambda: Record("builtins.object"),
    "builtins.complex": _number(complex),
    "builtins.bytearray": _bytes,
    "builtins.bytes": _bytes,
    "argparse.Namespace": _namespace,
    "types.SimpleNamespace": _namespace,
    "copyreg._reconstructor": _reconstructor,
    "_codecs.encode": _encode,
    "functools.partial": _partial,
    "torch.torch_version.TorchVersion": _text,
    "torch.serialization._get_layout": _text,
    "numpy.str_": _text,
    "torch.Size": lambda items=(): tuple(_collection("Size")(items).items),
    "numpy.dtype": _dtype,
    **{
        f"numpy.{core}.{name}": maker
        for core in ("core", "_core")
        for name, maker in (
            ("multiarray._reconstruct", lambda *_: Unfilled()),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _frombuffer),
        )
    },
}

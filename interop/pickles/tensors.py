"""Makers of torch's tensors: what the functions that pickles of torch name would have returned."""

from collections.abc import Callable
from typing import Any

import numpy as np

from interop.pickles.names import STORAGES
from jfl.sources.pickles import rebuild
from jfl.sources.pickles.values import DTYPES, Name, Record, Storage, Tensor, checked_shape, what

UNREAD = "torch.Tensor"
"""The class of records that are tensors, but not of one block of numbers: only their parts are."""


def storage_dtype(name: Any) -> np.dtype:
    """Returns what a storage class of torch holds.

    Raises:
        ValueError: it is no storage class.
    """
    word = str(name).rsplit(".", 1)[-1] if isinstance(name, Name) else ""
    if word not in STORAGES:
        raise ValueError(f"{what(name)} where a storage class should be")
    return DTYPES[STORAGES[word]]


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *more: Any) -> Any:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without storage")
    return _turned(Tensor(storage, offset, size, stride), more[2:])


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any,
    *more: Any,
) -> Any:  # fmt: skip
    if not isinstance(storage, Storage) or not isinstance(dtype, Name):
        raise ValueError("a tensor without storage")
    kind = DTYPES[dtype.removeprefix("torch.")]
    return _turned(Tensor(storage, offset, size, stride, kind), more)


def _turned(tensor: Tensor, more: tuple[Any, ...]) -> Any:
    """Returns a tensor; one that torch negates or conjugates when it is read is only listed."""
    marks = more[0] if more and isinstance(more[0], dict) else {}
    if not any(marks.get(mark) is True for mark in ("conj", "neg")):
        return tensor
    made = Record(UNREAD, ("a view that torch negates or conjugates",))
    made.state = {"values": tensor}
    return made


def _parameter(data: Any, *_: Any) -> Any:
    if isinstance(data, Record) and data.name == UNREAD:
        return data
    if not isinstance(data, Tensor):
        raise ValueError("a parameter without tensor")
    made = Tensor(data.storage, data.offset, data.shape, data.strides, data.dtype)
    made.parameter = True
    return made


def _from_type(function: Any, _kind: Any, arguments: Any, _state: Any) -> Any:
    known = isinstance(function, Name) and function.startswith("torch._utils.")
    maker = MAKERS.get(function) if known else None
    if maker is None or type(arguments) is not tuple:
        raise ValueError(f"a tensor made by {what(function)}")
    return maker(*arguments)


def _sparse(layout: Any, arguments: Any, *_: Any) -> Record:
    """Makes the parts of a sparse tensor: indices and values, or their compressed form."""
    words = {
        "torch.sparse_coo": ("indices", "values", "size", "is_coalesced"),
        "torch.sparse_csr": ("crow_indices", "col_indices", "values", "size"),
        "torch.sparse_bsr": ("crow_indices", "col_indices", "values", "size"),
        "torch.sparse_csc": ("ccol_indices", "row_indices", "values", "size"),
        "torch.sparse_bsc": ("ccol_indices", "row_indices", "values", "size"),
    }.get(str(layout) if isinstance(layout, str) else "")
    if words is None or not isinstance(arguments, tuple | list):
        raise ValueError(f"a sparse tensor of the layout {what(layout)}")
    made = Record(UNREAD, (layout,))
    made.state = dict(zip(words, arguments, strict=False))
    return made


def _nested(buffer: Any, sizes: Any, strides: Any, offsets: Any) -> Record:
    made = Record(UNREAD, ("a nested tensor",))
    made.state = {"buffer": buffer, "sizes": sizes, "strides": strides, "offsets": offsets}
    return made


def _meta(dtype: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """Makes a tensor that has a shape only; who reads it is told that its values are missing."""
    shape, strides = checked_shape(size), checked_shape(stride)
    if not isinstance(dtype, Name):
        raise ValueError("a tensor without a type")
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if shape else 0
    storage = Storage(DTYPES[dtype.removeprefix("torch.")], "meta", "meta", max(last + 1, 0))
    return Tensor(storage, 0, shape, strides)


def _moved(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError("a tensor of another device without values")
    return data


_REBUILD: dict[str, Callable[..., Any]] = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _tensor_v3,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
    "_rebuild_qtensor": _tensor,
    "_rebuild_sparse_tensor": _sparse,
    "_rebuild_sparse_csr_tensor": _sparse,
    "_rebuild_nested_tensor": _nested,
    "_rebuild_meta_tensor_no_storage": _meta,
    "_rebuild_device_tensor_from_numpy": _moved,
    "_rebuild_device_tensor_from_cpu_tensor": _moved,
    "_rebuild_xla_tensor": _moved,
}

MAKERS: dict[str, Callable[..., Any]] = {
    **{f"torch._utils.{name}": maker for name, maker in _REBUILD.items()},
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": lambda items=(): tuple(rebuild.listed(items)),
    "torch.torch_version.TorchVersion": rebuild.text,
    "torch.serialization._get_layout": rebuild.text,
}
"""The functions of torch by their dotted names."""

"""Which names a pickle may hold: data only, by an exact list, and classes that become records.

A name is never looked up in Python. Those of `DATA` have a maker of our own; those of `OPAQUE` and
all below `CLASSES` or a prefix the user gives become inert records. The rest is refused, and what
is known for attacks stays refused whatever prefix is given.
"""

import sys
from collections.abc import Iterable, Sequence

from interop.pickles.values import DTYPES
from jfl.errors import SafetyError, UsageError

CLASSES = ("torch.nn", "torch.optim", "torchvision.models", "flcore", "utils.ALA")
"""Modules whose classes become records unasked."""

STORAGES = {
    f"{kind}Storage": dtype
    for kind, dtype in {
        "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16",
        "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
        "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
        "Untyped": "uint8", "_Untyped": "uint8",
    }.items()
}  # fmt: skip
"""Torch's storage classes and what they hold."""

DATA = {
    "collections.OrderedDict", "collections.defaultdict", "collections.Counter",
    "collections.deque", "argparse.Namespace", "types.SimpleNamespace", "_codecs.encode",
    "builtins.set", "builtins.frozenset", "builtins.bytearray", "builtins.complex",
    "builtins.list", "builtins.dict", "builtins.tuple", "builtins.object", "builtins.int",
    "builtins.float", "builtins.bool", "builtins.str", "builtins.bytes",
    "copyreg._reconstructor", "copyreg.__newobj__",
    "torch.Size", "torch.Tensor", "torch.storage._load_from_bytes",
    *(f"torch._utils._rebuild_{what}" for what in (
        "tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state",
    )),
    "torch._tensor._rebuild_from_type_v2",
    *(f"torch.{name}" for name in DTYPES),
    *(f"{module}.{name}" for module in ("torch", "torch.cuda") for name in STORAGES),
    *(f"torch.storage.{name}" for name in ("TypedStorage", "UntypedStorage", "_UntypedStorage")),
    *(f"numpy.{core}.{name}" for core in ("core", "_core") for name in (
        "multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer",
    )),
    "numpy.ndarray", "numpy.dtype",
    *(f"numpy.{name}" for name in (
        "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16",
        "uint32", "uint64", "bool_", "complex64", "complex128",
    )),
    "ml_dtypes.bfloat16", "ml_dtypes.float8_e4m3fn", "ml_dtypes.float8_e5m2",
}  # fmt: skip
"""Names `rebuild` has a maker for, or that stand for a type of data."""

OPAQUE = {
    "builtins.range", "builtins.slice", "datetime.datetime", "datetime.date", "datetime.time",
    "datetime.timedelta", "datetime.timezone", "decimal.Decimal", "fractions.Fraction",
    "uuid.UUID", "random.Random", "torch.device", "torch.Generator", "torch._C.Generator",
    "torch.strided", "torch.contiguous_format", "torch.preserve_format", "torch.channels_last",
    *(f"pathlib.{pure}{kind}" for pure in ("", "Pure") for kind in (
        "Path", "PosixPath", "WindowsPath",
    )),
    *(f"pathlib._local.{kind}" for kind in ("Path", "PosixPath", "WindowsPath")),
    *(f"numpy.random._pickle.{name}" for name in (
        "__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor",
    )),
    *(f"numpy.random.{name}" for name in (
        "_mt19937.MT19937", "_pcg64.PCG64", "_philox.Philox", "_sfc64.SFC64",
        "mtrand.RandomState", "_generator.Generator", "bit_generator.SeedSequence",
        "bit_generator.__pyx_unpickle_SeedSequence",
    )),
    "torch.cuda.amp.grad_scaler.GradScaler", "torch.amp.grad_scaler.GradScaler",
    "torch.utils.data.dataset.TensorDataset", "torch.utils.data.dataset.Subset",
    "torch.utils.data.dataloader.DataLoader",
}  # fmt: skip
"""Names that become records: what they hold is shown, nothing of jfl needs it."""

_FOREIGN = {
    "pip", "setuptools", "pkg_resources", "distutils", "numpy", "torch", "torchvision", "jax",
    "jaxlib", "flax", "optax", "orbax", "tensorflow", "keras", "pandas", "scipy", "sklearn",
    "joblib", "dill", "cloudpickle", "IPython", "ipykernel", "jupyter", "psutil", "requests",
    "yaml", "click", "matplotlib",
    "PIL", "pydantic", "django", "flask", "aiohttp", "paramiko", "fabric",
    "sh", "plumbum", "pexpect", "pytest", "nose", "cffi", "pyarrow", "numba", "transformers",
    "peft", "jfl", "interop", "__builtin__", "copy_reg", "commands", "popen2", "exceptions",
}  # fmt: skip
_STRICT = {
    "os", "sys", "posix", "nt", "subprocess", "builtins", "__builtin__", "importlib", "ctypes",
    "pty", "runpy", "shutil", "socket", "pickle", "marshal", "operator", "functools",
    "system", "popen", "eval", "exec", "execfile", "compile", "getattr", "setattr", "import_module",
    "check_output", "spawn", "loads",
}  # fmt: skip
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "UserDict": "collections"}


def dotted(module: str, name: str) -> str:
    """Returns one name for a module and what it holds, with Python 2's modules renamed."""
    return f"{_RENAMED.get(module, module)}.{name}"


def check_prefixes(prefixes: Sequence[str]) -> None:
    """Refuses a prefix that would let through what the interpreter or known packages can do.

    Raises:
        SafetyError: names it.
        UsageError: it is no dotted name.
    """
    for prefix in prefixes:
        words = prefix.split(".")
        if not all(word.isidentifier() for word in words):
            raise UsageError(
                f"--classes {prefix} is no name of a package; give one such as mini_fl"
            )
        if _known(words[0]) or set(words) & _STRICT:
            raise SafetyError(
                f"--classes {prefix} names a module that files have been known to attack with; "
                "give only packages of the program that wrote the file"
            )


def is_class(name: str, prefixes: Sequence[str]) -> bool:
    """Tells whether a name becomes a record, by the lists and the prefixes."""
    if name in OPAQUE:
        return True
    below = any(name.startswith(f"{prefix}.") for prefix in (*CLASSES, *prefixes))
    return below and not _attacks(name)


def verdict(name: str, prefixes: Sequence[str]) -> str:
    """Returns `data`, `record`, `refused`, or the prefix that would make it a record."""
    if name in DATA:
        return "data"
    if is_class(name, prefixes):
        return "record"
    words = name.split(".")
    if _known(words[0]) or _attacks(name):
        return "refused"
    return words[0]


def refusal(where: str, name: str, position: int, others: Iterable[str]) -> SafetyError:
    """Returns the error for a name that is not allowed.

    Args:
        where: the file.
        name: the dotted name.
        position: of the operation that names it, in bytes.
        others: prefixes that all other names of the file need.
    """
    place = f"{where} names {name[:200]!s} at byte {position:,}"
    needed = verdict(name, ())
    if needed == "refused":
        return SafetyError(f"{place}, which loading it would import and may call; refused")
    wanted = ",".join(sorted({needed, *others}))
    return SafetyError(
        f"{place}; if it is a plain class of the program that wrote the file, add --classes "
        f"{wanted} (it is then read as data, and still nothing is executed)"
    )


def _known(package: str) -> bool:
    return package in sys.stdlib_module_names or package in _FOREIGN


def _attacks(name: str) -> bool:
    words = name.split(".")
    if any(word.startswith("__") and word != "__main__" for word in words):
        return True
    if any(not word.isidentifier() for word in words if word != "<locals>"):
        return True
    return bool(set(words[1:]) & _STRICT)

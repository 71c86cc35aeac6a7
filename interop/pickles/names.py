"""Which names a pickle may hold: data only, by an exact list, and classes that become records.

A name is never looked up in Python. Those of `DATA` have a maker of our own; those of `OPAQUE` and
all below `CLASSES` or a prefix the user gives become inert records. The rest is refused, and what
is known for attacks stays refused whatever prefix is given.
"""

import sys
from collections.abc import Iterable, Sequence

from jfl.errors import SafetyError, UsageError
from jfl.sources.pickles.values import DTYPES

CLASSES = ("torch.nn", "torch.optim", "flcore", "utils.ALA")
"""Modules whose classes and functions become records unasked."""

LIBRARIES = (
    "torch.ao.nn", "torch.ao.quantization", "torch.distributions", "torch.utils.data",
    "torchvision.models", "torchvision.ops", "torchvision.transforms",
    "torchvision.datasets", "timm.models", "timm.layers", "timm.optim", "timm.scheduler",
    "transformers.models", "transformers.training_args", "transformers.training_args_seq2seq",
    "transformers.trainer_utils", "transformers.trainer_pt_utils", "transformers.modeling_utils",
    "transformers.modeling_outputs", "transformers.activations", "transformers.pytorch_utils",
    "transformers.configuration_utils", "transformers.generation.configuration_utils",
    "accelerate.state", "accelerate.utils.dataclasses", "peft.tuners", "peft.peft_model",
    "peft.utils.peft_types", "omegaconf",
    *(f"{lightning}.{module}"
      for lightning in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric",
                        "lightning_fabric", "lightning_utilities")
      for module in ("utilities", "callbacks", "core", "strategies")),
)  # fmt: skip
"""Modules of which classes become records unasked, but no functions, which may do anything."""

STORAGES = {
    f"{kind}Storage": dtype
    for kind, dtype in {
        "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16",
        "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
        "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
        "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "QUInt4x2": "quint4x2",
        "QUInt2x4": "quint2x4", "Untyped": "uint8", "_Untyped": "uint8",
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
    "functools.partial", "torch.Size", "torch.Tensor", "torch.storage._load_from_bytes",
    *(f"torch._utils._rebuild_{what}" for what in (
        "tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "qtensor",
        "sparse_tensor", "sparse_csr_tensor", "nested_tensor", "meta_tensor_no_storage",
        "device_tensor_from_numpy", "device_tensor_from_cpu_tensor", "xla_tensor",
    )),
    "torch.torch_version.TorchVersion", "torch.serialization._get_layout",
    "torch._tensor._rebuild_from_type_v2",
    *(f"torch.{name}" for name in DTYPES),
    *(f"{module}.{name}" for module in ("torch", "torch.cuda") for name in STORAGES),
    *(f"torch.storage.{name}" for name in ("TypedStorage", "UntypedStorage", "_UntypedStorage")),
    *(f"numpy.{core}.{name}" for core in ("core", "_core") for name in (
        "multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer",
    )),
    "numpy.ndarray", "numpy.dtype",
    *(f"numpy.{name}" for name in (
        "float16", "float32", "float64", "longdouble", "int8", "int16", "int32", "int64",
        "longlong", "uint8", "uint16", "uint32", "uint64", "ulonglong", "bool", "bool_",
        "complex64", "complex128", "clongdouble", "str_", "bytes_", "datetime64", "timedelta64",
        "void",
    )),
    *(f"ml_dtypes.{name}" for name in (
        "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
        "float8_e8m0fnu",
    )),
}  # fmt: skip
"""Names `rebuild` has a maker for, or that stand for a type of data."""

OPAQUE = {
    "builtins.range", "builtins.slice", "datetime.datetime", "datetime.date", "datetime.time",
    "datetime.timedelta", "datetime.timezone", "decimal.Decimal", "fractions.Fraction",
    "uuid.UUID", "random.Random", "torch.device", "torch.Generator", "torch._C.Generator",
    "torch.strided", "torch.contiguous_format", "torch.preserve_format", "torch.channels_last",
    "torch.per_tensor_affine", "torch.per_channel_affine", "torch.per_tensor_symmetric",
    "torch.per_channel_symmetric", "torch.per_channel_affine_float_qparams",
    "torch._C._nn.gelu", "typing.Any",
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
        harmless = words[0] != "torch" and any(_below(known, [prefix]) for known in LIBRARIES)
        if (_known(words[0]) and not harmless) or set(words) & _STRICT:
            raise SafetyError(
                f"--classes {prefix} names a module that files have been known to attack with; "
                "give only packages of the program that wrote the file"
            )


def is_class(name: str, prefixes: Sequence[str]) -> bool:
    """Tells whether a name becomes a record, by the lists and the prefixes."""
    if name in OPAQUE:
        return True
    named_as_class = name.rpartition(".")[2].lstrip("_")[:1].isupper()
    below = _below(name, (*CLASSES, *prefixes)) or (named_as_class and _below(name, LIBRARIES))
    return below and not _attacks(name)


def _below(name: str, modules: Iterable[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


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

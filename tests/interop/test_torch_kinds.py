"""What people have in torch files beside plain tensors, compared with what torch reads."""

import argparse
import collections
import datetime
import enum
import functools
import pickle  # noqa: TID251 - to write what must be read
import sys
import types
import warnings

import numpy as np
import pytest

from interop.formats import torch_file
from interop.pickles import files, listing, names
from jfl.errors import CheckpointError, JflError, SafetyError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
FORMS = ["zip", "legacy", "pickle"]


def saved(path, value, form="zip"):
    if form == "pickle":
        path.write_bytes(pickle.dumps(value))
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Couldn't retrieve source code")
            torch.save(value, path, _use_new_zipfile_serialization=form == "zip")
    return path


def bits(tensor):
    """The bytes of a tensor, of whatever type."""
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


NUMBERS = [
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
    "complex64", "complex128", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2",
    "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", NUMBERS)
def test_every_type_of_numbers_is_read_as_torch_reads_it(tmp_path, kind, form):
    tensor = torch.arange(1, 7, dtype=torch.uint8).to(getattr(torch, kind)).reshape(2, 3)
    value = {"w": tensor, "turned": tensor.T, "kind": tensor.dtype}
    try:
        saved(tmp_path / "a", value, form)
    except (KeyError, AttributeError, RuntimeError) as error:
        pytest.skip(f"torch cannot write it so: {error}")
    found = torch_file.read(tmp_path / "a").named()

    assert found["w"].dtype == kind
    for name in ("w", "turned"):
        assert found[name].read().tobytes() == bits(value[name])
        assert found[name].read(1).tobytes() == bits(value[name][1:])


def bytes_as(kind):
    return torch.arange(8, dtype=torch.uint8).view(getattr(torch, kind))


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        each = (torch.ones(3), torch.zeros(3), 0)
        return {
            "qint8": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "quint8": torch.quantize_per_channel(torch.ones(3, 2), *each, torch.quint8),
            "qint32": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint32),
            "quint4x2": torch.quantize_per_channel(torch.rand(3, 6), *each, torch.quint4x2),
        }


@pytest.mark.parametrize("form", FORMS)
def test_types_that_numpy_has_not_are_listed_by_torchs_name(tmp_path, form):
    kinds = ["float4_e2m1fn_x2", "bits8", "bits16", "complex32"] if form == "zip" else []
    value = {kind: bytes_as(kind) for kind in kinds} | quantised()
    found = torch_file.read(saved(tmp_path / "a", value, form)).named()

    assert {name: (e.dtype, e.shape) for name, e in found.items()} == {
        name: (name, tuple(tensor.shape)) for name, tensor in value.items()
    }
    assert all(e.nbytes == value[k].numel() * value[k].element_size() for k, e in found.items()
               if k != "quint4x2")  # fmt: skip
    assert found["quint4x2"].nbytes == 9
    for entry in found.values():
        with pytest.raises(CheckpointError, match=f"{entry.path} holds {entry.path}, which jfl"):
            entry.read()


@pytest.mark.parametrize("form", FORMS)
def test_tensors_in_parts(tmp_path, form):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = {
            "coo": torch.eye(3).to_sparse(), "csr": torch.eye(3).to_sparse_csr(),
            "csc": torch.eye(3).to_sparse_csc(), "meta": torch.empty(2, 3, device="meta"),
            "weight": torch.nn.Parameter(torch.eye(2).to_sparse()),
            "turned": torch.full((2,), 1 + 2j).conj(),
        }  # fmt: skip
        found = torch_file.read(saved(tmp_path / "a", value, form)).named()

    assert found["coo.indices"].read().tolist() == value["coo"]._indices().tolist()
    assert found["coo.values"].read().tolist() == [1, 1, 1]
    assert found["csr.crow_indices"].read().tolist() == value["csr"].crow_indices().tolist()
    assert found["csc.row_indices"].read().tolist() == value["csc"].row_indices().tolist()
    assert found["weight.values"].read().tolist() == [1, 1]
    assert found["meta"].shape == (2, 3)
    assert found["meta"].dtype == "float32 without values"
    with pytest.raises(CheckpointError, match="without values"):
        found["meta"].read()
    assert "turned" not in found  # whose numbers in the file are not those torch has
    assert found["turned.values"].read().tolist() == [1 + 2j, 1 + 2j]


class Mode(enum.Enum):
    """As torchvision keeps them."""

    NEAREST = "nearest"


Mode.__module__, Mode.__qualname__ = "torchvision.transforms.functional", "Mode"


@pytest.fixture
def libraries(monkeypatch):
    """Classes where the libraries have them, of which the tests need only the names."""

    def place(where, made):
        words = where.split(".")
        for end in range(1, len(words) + 1):
            part = ".".join(words[:end])
            if part not in sys.modules or part == where:
                monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
        made.__module__ = where
        setattr(sys.modules[where], made.__name__, made)
        return made

    return place


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "where",
    ["torchvision.models.resnet", "timm.models.vision_transformer", "transformers.models.vit.x"],
)
def test_networks_of_known_libraries_need_no_classes(tmp_path, libraries, where, form):
    kind = libraries(where, type("VisionModel", (torch.nn.Module,), {}))
    model = kind()
    model.fc, model.norm_layer = torch.nn.Linear(4, 2), functools.partial(torch.nn.LayerNorm, eps=1)
    saved(tmp_path / "a", {"net": model, "server": argparse.Namespace(model=model)}, form)
    state, _ = torch_file.module_state(files.read(tmp_path / "a")["net"])

    assert state.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert state[name].read().tobytes() == tensor.numpy().tobytes()
    assert files.read(tmp_path / "a", [where.split(".")[0]])["net"].name == f"{where}.VisionModel"


@pytest.mark.parametrize(
    "name",
    [
        "torchvision.datasets.utils.download_url", "transformers.models.auto.load",
        "torchvision.io.read_file", "timm.models.hub.load", "omegaconf.OmegaConf.__init__.eval",
        "torch.utils.data.os.System", "torch.hub.Load",
    ],
)  # fmt: skip
def test_functions_of_the_same_libraries_stay_refused(tmp_path, name):
    module, _, word = name.rpartition(".")
    (tmp_path / "a").write_bytes(b"\x80\x02c" + f"{module}\n{word}\n".encode() + b"N\x85R.")
    with pytest.raises(SafetyError, match=name.replace(".", r"\.")):
        files.read(tmp_path / "a")
    assert names.verdict(name, ()) not in ("data", "record")


class Bunch(dict):
    """As Lightning's AttributeDict."""


@pytest.mark.parametrize("form", FORMS)
def test_what_trainers_keep_beside_the_weights(tmp_path, libraries, form):
    bunch = libraries("pytorch_lightning.utilities.parsing", type("AttributeDict", (dict,), {}))
    model = torch.nn.Linear(2, 2)
    value = {
        "state_dict": model.state_dict(), "hyper_parameters": bunch(lr=0.1, width=8),
        "torch_version": torch.__version__, "device": torch.device("cuda:1"),
        "kind": torch.bfloat16, "size": torch.Size([2, 3]), "generator": torch.Generator(),
        "best": np.float32(0.5), "steps": np.int64(7), "name": np.str_("x"), "on": np.bool_(True),
        "day": np.datetime64("2024-01-01"), "when": datetime.datetime(2024, 1, 1),
        "counts": collections.defaultdict(int, a=1), "range": range(3),
        "optimizer_states": [torch.optim.AdamW(model.parameters()).state_dict()],
        "mode": Mode.NEAREST, "version": {"torch": torch.__version__},
    }  # fmt: skip
    libraries("torchvision.transforms.functional", Mode)
    found = files.read(saved(tmp_path / "a", value, form))

    assert found["torch_version"] == found["version"]["torch"] == str(torch.__version__)
    assert type(found["torch_version"]) is str
    assert found["size"] == (2, 3)
    assert (found["best"], found["steps"], found["name"], found["on"]) == (0.5, 7, "x", True)
    assert found["hyper_parameters"].entries == {"lr": 0.1, "width": 8}
    assert found["counts"] == {"a": 1}
    about = torch_file.read(tmp_path / "a").about
    assert about["metadata"]["torch_version"] == str(torch.__version__)
    assert {e["verdict"] for e in listing.listed(tmp_path / "a")} == {"data", "record"}


@pytest.mark.parametrize("form", FORMS)
def test_words_dates_and_structures_are_listed_and_numbers_read(tmp_path, form):
    value = {
        "words": np.array(["ab"]), "bytes": np.array([b"ab"]), "raw": np.zeros(2, "V3"),
        "dates": np.array(["2024-01-01", "NaT"], "M8[D]"), "spans": np.array([1], "m8[10ms]"),
        "rows": np.array([(1, (2, 3))], [("x", ">i4"), ("y", "f8", (2,))]),
        "big": np.arange(3, dtype=">f4"), "fortran": np.asfortranarray(np.ones((2, 3))),
        "wide": np.array([1.5], np.longdouble), "none": np.zeros((0, 3)), "one": np.array(3.0),
    }  # fmt: skip
    found = torch_file.read(saved(tmp_path / "a", value, form)).named()

    assert found.keys() == value.keys()
    for name, array in value.items():
        entry = found[name]
        assert (entry.shape, entry.nbytes) == (array.shape, array.nbytes), name
        assert entry.dtype == str(array.dtype.newbyteorder("=")), name
        if name in ("words", "bytes", "raw", "dates", "spans", "rows"):
            with pytest.raises(CheckpointError, match="which jfl only lists"):
                entry.read()
        else:
            assert entry.read().tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()


def test_programs_say_what_to_do(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.nn.Linear(2, 2)
        torch.jit.script(model).save(tmp_path / "script.pt")
        torch.export.save(torch.export.export(model, (torch.ones(1, 2),)), tmp_path / "e.pt2")
    for name, words in (("script.pt", "TorchScript.*torch.jit.load"), ("e.pt2", "export.load")):
        with pytest.raises(CheckpointError, match=rf"{words}\(.*{name}'\)\.state_dict\(\)"):
            torch_file.read(tmp_path / name)


@pytest.mark.parametrize(
    "state",
    [(3, "|", None, ("a",), {"a": (1, 0)}, 4, 1, 0), (3, "|", None, ("a",), {}, -4, 1, 0),
     (4, "<", None, None, None, -1, -1, 0, (None, (b"zz", 1, 1, 1))), (3,), None],
)  # fmt: skip
def test_types_that_make_no_sense_are_refused(tmp_path, state):
    kind = "M8" if state and len(state) > 8 else "V4"
    head = b"\x80\x02cnumpy\ndtype\n" + pickle.dumps((kind,), 2)[2:-1] + b"R"
    (tmp_path / "a").write_bytes(head + pickle.dumps(state, 2)[2:-1] + b"b.")
    with pytest.raises(JflError):
        files.read(tmp_path / "a")

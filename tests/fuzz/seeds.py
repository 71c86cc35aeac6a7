"""Small valid files of every format jfl reads, made by the libraries that people have them from."""

import csv
import io
import json
import pickle  # noqa: TID251 - to write what must be read
import shutil
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from tests import command_line
from tests.damages import age
from tests.report import run_folders

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 9, 8, 3), np.uint8)
ARRAYS = {
    "layer.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "layer.bias": np.arange(3, dtype=np.float16),
    "steps": np.array(7, np.int64),
}
WEIGHTS = (
    "inspect FILE", "inspect FILE --stats", "convert FILE made.npz",
    "convert FILE made.safetensors --dry-run",
)  # fmt: skip
PICKLED = (*WEIGHTS, "inspect FILE --list-globals")
SERVER = (
    "inspect FILE/a", "inspect FILE/a --stats", "inspect FILE/a --clients",
    "inspect FILE/a --list-globals", "convert FILE/a made.npz --client 0",
)  # fmt: skip
DATA = "data prepare {} --no-cache --data-dir "


@dataclass(frozen=True)
class Seed:
    """Files by their paths in a folder, and the commands that read them; FILE is the folder."""

    files: dict[str, bytes]
    commands: tuple[str, ...]
    damaged: tuple[str, ...] = ()
    """Which of the files are changed; none = each."""


def one(name: str, content: bytes, commands: tuple[str, ...] = WEIGHTS) -> Seed:
    """A seed of one file, which FILE names in the commands."""
    return Seed({name: content}, tuple(c.replace("FILE", f"FILE/{name}") for c in commands))


def folder(make: Callable[[Path], object], commands: tuple[str, ...], *damaged: str) -> Seed:
    """A seed of all files that a function writes."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make(root)
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    return Seed(files, commands, damaged)


def written(make: Callable[[io.BytesIO], object]) -> bytes:
    """What a function writes into a file."""
    file = io.BytesIO()
    make(file)
    return file.getvalue()


def pickles() -> Iterator[Seed]:
    for protocol in (2, 4, 5):
        value = {"state": ARRAYS, "round": 3, "who": ("a", None)}
        yield one("a.pkl", pickle.dumps(value, protocol), PICKLED)
    from tests.interop import snapshots

    server = snapshots.server(_network, clients=2)
    for form in ("2", "4", "legacy"):
        yield folder(lambda root, form=form: snapshots.save(root / "a", server, form), SERVER)


def _network() -> object:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))


def torch_files() -> Iterator[Seed]:
    import torch

    state = {name: torch.tensor(array) for name, array in ARRAYS.items()}
    for value in (state, {"model": state, "epoch": 3, "args": {"lr": 0.1}}):
        yield one("a.pt", written(lambda file, value=value: torch.save(value, file)), PICKLED)
    old = written(lambda f: torch.save(state, f, _use_new_zipfile_serialization=False))
    yield one("a.bin", old, PICKLED)
    from tests.interop import snapshots

    server = snapshots.server(_network, clients=2)
    yield folder(lambda root: snapshots.save(root / "a", server, "zip"), SERVER)


def npz() -> Iterator[Seed]:
    labels = np.array([0, 1, 1, 0])
    for save in (np.savez, np.savez_compressed):
        yield one("a.npz", written(lambda file, save=save: save(file, **ARRAYS)))
        content = written(lambda file, save=save: save(file, x=PIXELS, y=labels))
        yield one("data.npz", content, (DATA.format("npz") + "FILE",))


def pfllib() -> Iterator[Seed]:
    from tests.interop import snapshots

    commands = (DATA.format("pfllib") + "FILE",)
    yield folder(lambda root: snapshots.data(root, 2, (1, 4, 4)), commands)


def safetensors() -> Iterator[Seed]:
    from safetensors.numpy import save

    yield one("a.safetensors", save(ARRAYS, {"format": "pt"}))
    halves = [save({name: array}) for name, array in ARRAYS.items()]
    names = [f"model-{n + 1:05}-of-00003.safetensors" for n in range(3)]
    index = {"metadata": {"total_size": 62}, "weight_map": dict(zip(ARRAYS, names, strict=True))}
    files = dict(zip(names, halves, strict=True))
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    yield Seed(files, WEIGHTS)
    lora = {
        f"base_model.model.q.lora_{side}.weight": np.ones(shape, np.float32)
        for side, shape in (("A", (2, 6)), ("B", (5, 2)))
    }
    about = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q"]}
    files = {"adapter_model.safetensors": save(lora)}
    files["adapter_config.json"] = json.dumps(about).encode()
    yield Seed(files, (*WEIGHTS, "inspect FILE --lora"))


def networks() -> Iterator[Seed]:
    """Folders of transformers, and one of PEFT beside the network that it adapts."""
    from tests.interop import networks, test_adapter_damages

    commands = (
        "inspect FILE/a", "convert FILE/a made.folder", "convert FILE/a made.folder --dry-run",
        "convert FILE/a made.safetensors", "inspect FILE/a --verify",
    )  # fmt: skip
    for save in (networks.saved, networks.sharded):
        yield folder(lambda root, save=save: save(root / "a"), commands)

    def adapted(root: Path) -> None:
        networks.saved(root / "base")
        test_adapter_damages.saved(root / "a", modules_to_save=["ln_f"], arrays=lora)

    whole = {f"base_model.model.transformer.ln_f.{w}": np.ones(6, "f4") for w in ("weight", "bias")}
    lora = test_adapter_damages.STATE | whole
    yield folder(
        adapted,
        ("inspect FILE/a --lora", "convert FILE/a made.folder",
         "convert FILE/a made.folder --into FILE/base",
         "convert FILE/a made.folder --into FILE/base --dry-run"),
    )  # fmt: skip


def pieces() -> Iterator[Seed]:
    """A part of a GPT-2 in a file, and what lies beside it."""
    from tests.split import test_cut

    command = "split serve --model FILE/a --cut 1 2 --dry-run --device cpu"
    for suffix in (".safetensors", ".pt"):
        trunk = f"a/trunk/gpt2_1-2_trunk{suffix}", "a/trunk/gpt2_1-2_trunk_metadata.json"
        yield folder(
            lambda root, suffix=suffix: test_cut.folder(root / "a", suffix), (command,), *trunk
        )


def nanochats() -> Iterator[Seed]:
    """A checkpoint as nanochat leaves it, with its tokenizer."""
    import torch

    from tests.interop import test_nanochat
    from tests.reference.torch_nanochat import NanoChat

    def left(root: Path) -> None:
        vocabulary = test_nanochat.VOCABULARY
        test_nanochat.tokenizer(root / "tokenizer")
        torch.save(test_nanochat.state(NanoChat(1, vocabulary)), root / "model_000001.pt")
        sizes = test_nanochat.SIZES | {"n_layer": 1, "n_embd": 64}
        (root / "meta_000001.json").write_text(json.dumps({"step": 1, "model_config": sizes}))

    yield folder(left, ("convert FILE made.run --dry-run", "convert FILE/model_000001.pt made.run"))


def gguf() -> Iterator[Seed]:
    def text(word: str) -> bytes:
        return struct.pack("<Q", len(word)) + word.encode()

    settings = text("general.name") + struct.pack("<I", 8) + text("small")
    settings += text("general.alignment") + struct.pack("<II", 4, 32)
    settings += text("words") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    header = b"GGUF" + struct.pack("<IQQ", 3, 2, 3) + settings
    header += text("w") + struct.pack("<IQQIQ", 2, 4, 3, 0, 0)
    header += text("q") + struct.pack("<IQIQ", 1, 64, 8, 64)
    yield one("a.gguf", header + b"\0" * (-len(header) % 32) + bytes(range(64 + 68)))


def gguf_networks() -> Iterator[Seed]:
    """Networks with tokenizers of both kinds, some of their numbers in blocks."""
    from tests.interop import gguf_files, test_gguf_damages

    about = {f"llama.{key}": value for key, value in test_gguf_damages.ABOUT.items()}
    words = {
        "gpt2": {"pre": "smollm", "tokens": ["a", "b", "ab", "<|end|>", "é"],
                 "token_type": [1, 1, 1, 3, 4], "merges": ["a b"]},
        "llama": {"tokens": ["<unk>", "</s>", "a", "b", "ab"], "token_type": [2, 3, 1, 1, 1],
                  "scores": [0.0, 0.0, -1.0, -2.0, -3.0]},
    }  # fmt: skip
    commands = (
        "inspect FILE", "inspect FILE --stats", "convert FILE made.folder",
        "convert FILE made.folder --dry-run",
    )  # fmt: skip
    for kind, listed in words.items():
        given = {"tokenizer.ggml.model": kind, "tokenizer.ggml.eos_token_id": 1}
        given |= {f"tokenizer.ggml.{key}": value for key, value in listed.items()}
        given["tokenizer.chat_template"] = "{{ messages[0].content }}"
        rows = np.arange(16 * 34, dtype=np.uint8).reshape(16, 34) % 64
        arrays = test_gguf_damages.ARRAYS | {"blk.0.attn_v.weight": ("Q8_0", rows)}
        made = folder(
            lambda root, given=given, arrays=arrays: gguf_files.write(
                root / "a.gguf", "llama", about | given, arrays
            ), commands,
        )  # fmt: skip
        yield one("a.gguf", made.files["a.gguf"], commands)


def texts() -> Iterator[Seed]:
    """Sets of texts as their packages hold them, and files of one's own."""
    from tests.datasets.text import packaged

    for name, files in packaged.FILES.items():
        if name == "reviews":  # which `jfl data` knows as rows of words
            yield Seed(files(), (DATA.format(name) + "FILE",))
        else:
            yield Seed(files(), (f"data show {name} --data-dir FILE",))
    rows = b'{"text": "one", "author": "a"}\n{"text": "two", "author": 3}\n'
    yield one("a.jsonl", rows, ("data show file owner=author --data-dir FILE",))
    yield one("a.txt", "one\r\nzwei é\n".encode(), ("data show file --data-dir FILE",))


def orbax() -> Iterator[Seed]:
    import orbax.checkpoint as ocp

    tree = {"layer": {"w": ARRAYS["layer.weight"]}, "step": np.int64(3)}
    for together in (True, False):

        def make(root: Path, together: bool = together) -> None:
            handler = ocp.PyTreeCheckpointHandler(use_ocdbt=together)
            with ocp.Checkpointer(handler) as checkpointer:
                checkpointer.save(root / "10", tree)

        yield folder(make, (*WEIGHTS, "inspect FILE/10 --stats"))


def yamls() -> Iterator[Seed]:
    sweep = yaml.safe_load(command_line.CONFIG) | {"search": {"seed": [0, 1], "rounds": [1, 2]}}
    check = "sweep FILE/a.yaml --dry-run"
    yield one("a.yaml", yaml.safe_dump(sweep).encode(), ("sweep FILE --dry-run",))
    included = 'include: [b.yaml]\nseed: 3\ntrain: {batch_size: "${clients}"}\n'
    files = {"a.yaml": included.encode(), "b.yaml": command_line.CONFIG.encode()}
    yield Seed(files, (check, check, check, check, "train FILE/a.yaml --dry-run --device cpu"))


def jsons() -> Iterator[Seed]:
    """A run as `jfl table` and `jfl report` need it, without checkpoints."""

    def make(root: Path) -> None:
        methods = {"base": {"test_accuracy": 0.5, "ece": 0.1}, "aph": {"ece": 0.2}}
        run_folders.evaluated(run_folders.run(root / "run"), methods)

    yield folder(make, (
        "report FILE/run --out made.md --format markdown", "table FILE/run", "runs FILE",
        "table FILE/run --which best", "plot curves FILE/run --out made.png",
    ))  # fmt: skip


def csvs() -> Iterator[Seed]:
    rows = [["review", "sentiment"], ["Good, <br /> 'good'", "positive"], ["bad\nbad", "negative"]]
    content = written(lambda file: _table(file, rows))
    yield one("imdb.csv", content, (DATA.format("imdb") + "FILE",))
    polar = [["1", "Good, 'good'"], ["-1", "bad\nbad"]]
    content = b"\xef\xbb\xbf" + written(lambda file: _table(file, polar))
    yield one("reviews.csv", content, (DATA.format("reviews") + "FILE",))

    def make(root: Path) -> None:
        run = run_folders.run(root / "run")
        names = ["client", "train", "valid", "test", "class_0", "class_1"]
        owned = [names, [0, 2, 1, 1, 3, 1], [1, 1, 1, 1, 0, 3]]
        (run / "partition.csv").write_bytes(written(lambda file: _table(file, owned)))

    yield folder(make, ("plot partition FILE/run --out made.png",), "run/partition.csv")


def _table(file: io.BytesIO, rows: list[list[object]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    file.write(text.getvalue().encode())


def _packed(file: io.BytesIO, members: dict[str, bytes], mode: str) -> None:
    with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))


def tars() -> Iterator[Seed]:
    words = {"train/pos/0_9.txt": b"good", "train/neg/0_1.txt": b"bad", "test/pos/é.txt": b"x"}
    members = {f"aclImdb/{name}": content for name, content in words.items()}
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        content = written(lambda file, mode=mode: _packed(file, members, mode))
        yield one("imdb.tar", content, (DATA.format("imdb") + "FILE",))
    from tests.sources import pickled

    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    batch = pickled.batch(np.zeros((2, 3072), np.uint8), [1, 2], b"labels")
    content = written(lambda file: _packed(file, dict.fromkeys(names, batch), "w:gz"))
    yield one("cifar-10-python.tar.gz", content, (DATA.format("cifar10") + "FILE",))


def zips() -> Iterator[Seed]:
    """Archives of data sets, of the sizes that server.py expects."""

    def make(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in idx("emnist-mnist-train", "emnist-mnist-test").items():
                archive.writestr(zipfile.ZipInfo(f"gzip/{name}.gz"), _gzipped(content))

    yield one("gzip.zip", written(make), (DATA.format("emnist split=mnist") + "FILE",))


def _gzipped(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, mtime=0)


def idx(*parts: str) -> dict[str, bytes]:
    files = {}
    for part in parts:
        files[f"{part}-images-idx3-ubyte"] = struct.pack(">4I", 0x803, 2, 28, 28) + bytes(2 * 784)
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">2I", 0x801, 2) + b"\1\2"
    return files


def idx_files() -> Iterator[Seed]:
    files = idx("train", "t10k")
    yield Seed(files, (DATA.format("mnist") + "FILE",))
    yield Seed({f"{n}.gz": _gzipped(c) for n, c in files.items()}, (DATA.format("mnist") + "FILE",))


def pictures() -> Iterator[Seed]:
    import pyarrow as pa
    from PIL import Image
    from pyarrow import parquet

    for kind, mode in (("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("JPEG", "RGB"), ("GIF", "P")):
        shown = Image.fromarray(PIXELS[0]).convert(mode)
        content = written(lambda file, shown=shown, kind=kind: shown.save(file, kind))
        table = pa.table({"image": [{"bytes": content}], "label": [0]})
        yield one(
            "train.parquet", written(lambda file, table=table: parquet.write_table(table, file)),
            (DATA.format("hf") + "FILE",),
        )  # fmt: skip


def hdf5() -> Iterator[Seed]:
    import h5py

    def make(file: io.BytesIO) -> None:
        with h5py.File(file, "w", track_order=False) as made:
            made.create_dataset("rs_test_acc", data=np.linspace(0, 1, 5))

    yield one("digits_FedAvg_test_0.h5", written(make), ("table FILE",))


def runs() -> Iterator[Seed]:
    """A real run, as it is and as an older jfl left it: hashes do not shield what is changed."""

    def make(root: Path) -> None:
        ignored = shutil.ignore_patterns("tensorboard", "*.png", "*.html")
        shutil.copytree(command_line.straight(), root / "run", ignore=ignored)

    def make_older(root: Path) -> None:
        make(root)
        age(root / "run")

    commands = (
        "inspect FILE/run", "inspect FILE/run --verify", "inspect FILE/run --clients",
        "report FILE/run --out made.md --format markdown", "table FILE/run", "logs FILE/run",
        "plot clients FILE/run --out made.png", "convert FILE/run made.npz --client 0",
    )  # fmt: skip
    yield folder(make, commands)
    yield folder(make_older, commands)


KINDS = {
    "pickle": pickles, "torch": torch_files, "npz": npz, "pfllib": pfllib,
    "safetensors": safetensors, "networks": networks, "nanochat": nanochats, "gguf": gguf,
    "gguf network": gguf_networks, "texts": texts, "orbax": orbax, "yaml": yamls,
    "json": jsons, "csv": csvs, "tar": tars, "zip": zips, "idx": idx_files, "png": pictures,
    "hdf5": hdf5, "piece": pieces, "run": runs,
}  # fmt: skip
TRAINED = ("run",)
"""Kinds whose seeds take a training."""


def made(*, trained: bool = False) -> dict[str, list[Seed]]:
    """The seeds of every kind; none of those that take a training, unless they are asked for."""
    return {
        kind: list(make()) if trained or kind not in TRAINED else [] for kind, make in KINDS.items()
    }

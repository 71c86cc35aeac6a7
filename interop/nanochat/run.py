"""nanochat's checkpoints -> a run of `jfl lm base-train`, and a run's network -> others' files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interop import experiments
from interop.aside import written_aside
from interop.formats import write as files
from interop.formats.torch_write import require
from interop.language import architecture, numbers
from interop.language import write as folders
from interop.nanochat import names, read
from interop.nanochat.read import Checkpoint
from interop.run_folder import SOURCE
from jfl import mesh as meshes
from jfl import tree
from jfl.errors import CheckpointError, DataError, UsageError
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps
from jfl.lm import opened as networks
from jfl.lm.base.config import Config, assemble
from jfl.lm.base.training import Training
from jfl.lm.named import Named
from jfl.lm.tokenizer import hf, saved, special
from jfl.models.language import nanochat
from jfl.runs import manifest, seal, settings
from jfl.runs.folder import RunFolder, fill
from jfl.runs.journal import Journal
from jfl.text.base import Tokenizer

_DATA = ("base_data", "../base_data", "../../base_data")
_TRAIN = ("device_batch_size", "total_batch_size")


def convert(
    source: Path, target: Path, changes: Sequence[str], *, step: str, dry: bool
) -> dict[str, Any]:
    """Makes a run of a checkpoint, and returns the answer of the command.

    Args:
        source: the file, or a folder of which the newest is taken.
        target: the run, which must be new.
        changes: settings of the run, such as data.dir=shards tokenizer.path=tokenizer.
        step: which file of a folder.
        dry: whether nothing is written.

    Raises:
        JflError: whatever is wrong, before or without leaving half a run.
    """
    found = read.opened(source, step)
    config = _config(found, settings.changes(changes))
    number = config.steps or 1
    tokenizer, notes = _tokenizer(found, config)
    made = names.architecture_of(found.network)
    sizes = [int(np.prod(place.shape)) for _, place, _ in made.arrays()]
    answer = {
        "source": str(source), "destination": str(target), "kind": "jfl run", "clients": 0,
        "tensors": len(sizes), "bytes": 4 * sum(sizes), "verified": None, "step": number,
        "skipped": list(found.skipped), "notes": [*found.notes, *notes],
    }  # fmt: skip
    if dry:
        rows = [f"{p.path}  <-  {name}" for name, p, layer in made.arrays() if not layer]
        return answer | {"mapping": rows}
    meshes.start("cpu", 1)
    params = found.params()
    job = Training(config, tokenizer)
    with written_aside(target) as aside:
        aside.mkdir()
        run = fill(aside, job)
        state = job.beginning(params)
        about = {"score": None} | seal.mark(aside, Journal(aside))
        checkpoints = run.checkpoints
        checkpoints.save(number, state, about, "step")
        checkpoints.wait()
        kept = {"source": found.path.name, "sha256": manifest.sha256(found.path),
                "skipped": list(found.skipped), "notes": answer["notes"]}  # fmt: skip
        write_text(aside / SOURCE, dumps(kept, indent=1))
        run.write_status("finished", number, number)
        run.check(number)
        again = tree.paths(checkpoints.read_clients(number, "params", None))
        for path, array in tree.paths(params).items():
            if np.asarray(again[path]).tobytes() != np.asarray(array).tobytes():
                raise CheckpointError(f"{path} was not written as it was read")
    return answer | {"verified": True}


def _config(found: Checkpoint, changes: dict[str, Any]) -> Config:
    """Returns the settings of the run; what nothing says is as in jfl's own."""
    network = found.network
    usual = nanochat.Config(depth=network.depth, vocabulary=network.vocabulary)
    for key in ("width", "heads", "kv_heads", "theta"):
        if getattr(network, key) != getattr(usual, key):
            raise CheckpointError(
                f"{found.path} has {key}={getattr(network, key)}, but runs of depth "
                f"{network.depth} have {getattr(usual, key)}; jfl sample takes the file as it is"
            )
    beside = (found.path.parent / name for name in _DATA)
    data = next((str(place) for place in beside if place.is_dir()), "base_data")
    train = {key: found.said[key] for key in _TRAIN if type(found.said.get(key)) is int}
    if any(found.said.get(key, 1) < 1 for key in train) or len(train) < len(_TRAIN) or (
        train["total_batch_size"] % (train["device_batch_size"] * network.context)
    ):  # fmt: skip
        train = {"device_batch_size": 1, "total_batch_size": network.context}
    given = {
        "name": experiments.run_name(found.path.stem), "depth": network.depth,
        "context": network.context, "steps": max(found.step, 1), "train": train,
        "data": {} if "data" in changes else {"dir": data},
    }  # fmt: skip
    return assemble(given, changes)


def _tokenizer(found: Checkpoint, config: Config) -> tuple[Tokenizer, list[str]]:
    place = config.tokenizer.path or found.tokenizer
    if place is None:
        raise UsageError(
            f"no tokenizer lies beside {found.path}; give tokenizer.path=FOLDER, that of "
            "tokenizer.pkl or of one that jfl made"
        )
    tokenizer = saved.open(place)
    if tokenizer.vocabulary != found.network.vocabulary:
        raise DataError(
            f"{place} has {tokenizer.vocabulary:,} tokens, but {found.path} was trained with "
            f"{found.network.vocabulary:,}; give its own tokenizer.path=FOLDER"
        )
    theirs = read.token_bytes(Path(place))
    if theirs is None:
        return tokenizer, []
    ours = special.token_bytes(tokenizer)
    if theirs.shape != ours.shape:
        raise DataError(f"{place}: token_bytes.pt has {len(theirs):,} tokens, not {len(ours):,}")
    count = int((theirs != ours).sum())
    note = f"token_bytes.pt counts {count:,} tokens by other bytes than they have; jfl does not"
    return tokenizer, [note] if count else []


def is_run(source: Path) -> bool:
    """Tells whether a path is a run of `jfl lm`."""
    return (source / seal.CONFIG).is_file() and RunFolder(source).kind.name in networks.KINDS


def to_files(
    source: Path, target: Path, *, step: str, suffix: str | None, dry: bool
) -> dict[str, Any]:
    """Writes the network of a run as others have it, and returns the answer of the command.

    Args:
        source: the run.
        target: a new folder as transformers has it, or a file of upstream's names.
        step: which checkpoint.
        suffix: of the weights in a folder.
        dry: whether nothing is written.

    Raises:
        JflError: whatever is wrong, before or without leaving half a folder.
    """
    found = networks.opened(Named(source, step))
    config = nanochat.to_hf(found.network)
    single = target.suffix.lower() in files.SUFFIXES
    made = names.architecture_of(found.network) if single else architecture.of(config)
    arrays = dict(numbers.named(made, found.params))
    answer = {
        "source": str(source), "destination": str(target), "clients": 0,
        "kind": "nanochat file" if single else "transformers folder", "tensors": len(arrays),
        "bytes": sum(a.nbytes for a in arrays.values()), "verified": None, "skipped": [],
        "notes": [],
    }  # fmt: skip
    if dry:
        return answer | {"mapping": list(arrays)}
    if single:
        files.write(target, arrays)
        beside = target.with_name(f"meta_{target.stem.removeprefix('model_')}.json")
        write_text(beside, dumps(_meta(found), indent=2) + "\n")
    else:
        if suffix == ".bin":
            require(target / "pytorch_model.bin")
        ids = {f"{word}_token_id": number for word, number in _ids(found.tokenizer).items()}
        settings = config | ids | {"dtype": "float32"}
        folders.folder(
            target, dumps(settings, indent=2) + "\n", arrays, suffix=suffix or ".safetensors",
            texts=hf.files(found.tokenizer),
        )  # fmt: skip
    return answer | {"verified": True}


def _meta(found: networks.Opened) -> Mapping[str, Any]:
    network = found.network
    return {
        "step": found.step,
        "model_config": {
            "sequence_len": network.context, "vocab_size": network.vocabulary,
            "n_layer": network.layers, "n_head": network.heads, "n_kv_head": network.kv_heads,
            "n_embd": network.width,
        },
    }  # fmt: skip


def _ids(tokenizer: Tokenizer) -> dict[str, int]:
    end = tokenizer.special[special.ASSISTANT_END]
    return {"bos": tokenizer.special[special.BOS], "eos": end, "pad": end}

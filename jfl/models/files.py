"""The door through which weights of other programs come in and jfl's own go out, as files.

What lies behind it, `interop`, is called by its name: jfl does not import it.
"""

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jfl import config as configs
from jfl import plugins, tree
from jfl.errors import CheckpointError, UsageError
from jfl.models import base
from jfl.models.opened import Adapter, Language, Lora, Matrices, Nanochat, Opened, Piece
from jfl.sources.pickles import budget
from jfl.types import Params


def open_model(
    path: Path, name: str | None = None, input_shape: tuple[int, ...] | None = None
) -> Opened:
    """Reads the one model of a file: .safetensors, .npz, or what torch saves; executes nothing.

    Args:
        path: the file.
        name: the network it must be, such as cnn; None = whichever fits.
        input_shape: of one sample [H, W, C]. Torch flattens [C, H, W], so an mlp on images needs
            it, as does a cnn on images that are not square. Given, the model must fit it.

    Raises:
        UsageError: there is no such file, it holds several models, or does not take such samples.
        CheckpointError: it is damaged, or of no network jfl has.
        SafetyError: it is made to attack its reader.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file; give one of weights, such as model.safetensors")
    settings, nested = importlib.import_module("interop.convert").one(path, name, input_shape)
    model = configs.check(plugins.load("model", settings["name"]).Config, settings, "model.")
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), nested)
    if input_shape is not None:
        _require_fit(path, model, params, input_shape)
    with path.open("rb") as file:
        return Opened(model, params, None, None, hashlib.file_digest(file, "sha256").hexdigest())


def difference(
    path: Path, name: str, wanted: Mapping[str, tuple[int, ...]], input_shape: tuple[int, ...]
) -> str | None:
    """Returns how the first array of a file differs from what a network has, by torch's names.

    Args:
        path: the file.
        name: the network, such as cnn.
        wanted: shapes of its arrays by dotted path.
        input_shape: of one sample.

    Returns:
        Such as "fc1.bias is absent, but in this mlp it is [12]"; None where all are alike.
    """
    convert = importlib.import_module("interop.convert")
    return convert.difference(path, name, dict(wanted), input_shape)


def write_model(
    path: Path, model: base.Config, params: Params, input_shape: tuple[int, ...] | None = None
) -> int:
    """Writes a model in the format of the file's ending, under torch's names, whole or not at all.

    Args:
        path: a new file: .safetensors, .npz, .pt, .pth or .bin.
        model: which network it is.
        params: nested dicts of arrays.
        input_shape: as in `open_model`.

    Returns:
        The bytes of the file.

    Raises:
        UsageError: no such format, the file exists, or torch is needed and absent.
        CheckpointError: the parameters are not of that network, or the file cannot be written.
    """
    names = importlib.import_module("interop.torch_state")
    flat = {dotted: np.asarray(leaf) for dotted, leaf in tree.paths(params).items()}
    state = names.to_torch(flat, model.name, input_shape, names.usual(model))
    return importlib.import_module("interop.formats.write").write(path, state)


def open_language(path: Path) -> Language:
    """Reads a gpt2, llama, qwen2 or qwen3 from a folder of transformers or a GGUF file.

    The folder holds config.json, and model.safetensors or pytorch_model.bin, each whole or in
    several files with an index. Nothing is executed; beside what is returned, one array is in
    memory at a time.

    Args:
        path: the folder or the file.

    Raises:
        UsageError: there is no such folder or file, it holds no weights, or gguf is not installed.
        CheckpointError: it is of another network; an array is missing, too many, misshaped, there
            twice, not finite or of a type that is not read; files are missing or damaged; or the
            settings contradict them.
        SafetyError: it is made to attack its reader.
    """
    with budget.held(path):
        if path.is_file():
            opened = importlib.import_module("interop.gguf.network").opened(path).folder
        else:
            opened = importlib.import_module("interop.language.folder").opened(path)
        params = importlib.import_module("interop.language.numbers").params(opened)
    settings = () if path.is_file() else (path / "config.json",)
    return Language(opened.config, params, _fingerprint(*settings, *opened.files))


def is_nanochat(path: Path) -> bool:
    """Tells whether a path is a checkpoint of nanochat or its forks, or a folder of them."""
    return importlib.import_module("interop.nanochat.read").takes(path)


def open_nanochat(path: Path, step: str = "last") -> Nanochat:
    """Reads a checkpoint of nanochat, such as model_000650.pt; executes nothing.

    Args:
        path: the file, or a folder of which the newest is taken.
        step: which file of a folder.

    Raises:
        UsageError: there is no such file.
        CheckpointError: it is damaged, contradicts itself, or is of a newer recipe.
        SafetyError: it is made to attack its reader.
    """
    found = importlib.import_module("interop.nanochat.read").opened(path, step)
    return Nanochat(found.network, found.params(), found.step, found.tokenizer, found.notes)


def tokenizer_content(path: Path) -> tuple[str, dict[str, Any]]:
    """Reads the tokenizer and the chat template in a GGUF file; executes nothing.

    Args:
        path: the file.

    Returns:
        What tokenizer.json and tokenizer_config.json of transformers would hold of it.

    Raises:
        CheckpointError: it holds no tokenizer, one of another kind or another size than its
            embedding, or is damaged.
        SafetyError: it is made to attack its reader.
    """
    with budget.held(path):
        return importlib.import_module("interop.gguf.tokenizer").read(path)


def write_language(folder: Path, config: Mapping[str, Any], params: Params) -> int:
    """Writes a folder that transformers' `from_pretrained` loads, whole or not at all.

    Args:
        folder: a new folder.
        config: what config.json is to say. Whether the head is tied and which type the numbers
            have is said there as `params` have it.
        params: nested dicts of arrays, all float32, float16 or bfloat16, as `Language` has them.

    Returns:
        The bytes of its files.

    Raises:
        UsageError: the folder exists.
        CheckpointError: the config is of no network jfl has, the parameters are not of that
            network or not finite, or a file cannot be written.
    """
    return importlib.import_module("interop.language.write").from_params(folder, config, params)


def open_adapter(folder: Path, config: Mapping[str, Any]) -> Adapter:
    """Reads a LoRA adapter from a folder of PEFT; executes nothing.

    Args:
        folder: holds adapter_config.json, and adapter_model.safetensors or .bin.
        config: config.json of the network it adapts.

    Raises:
        CheckpointError: it is of another kind than LoRA, or has settings jfl does not apply, which
            are named; an array is missing, too many, misshaped or not finite; or it is damaged.
        SafetyError: it is made to attack its reader.
    """
    made = importlib.import_module("interop.language.architecture").of(config)
    with budget.held(folder):
        lora, params, files = importlib.import_module("interop.language.adapter_read").read(
            folder, made
        )
    return Adapter(lora, params, _fingerprint(*files))


def open_matrices(path: Path, name: str, base: Params, input_shape: tuple[int, ...]) -> Matrices:
    """Reads a LoRA adapter of a network that classifies; executes nothing.

    Args:
        path: a folder of PEFT, or a file: .safetensors, .npz, or what torch saves.
        name: the network, such as cnn.
        base: nested dicts of all its weights.
        input_shape: of one sample.

    Raises:
        UsageError: it is neither, holds no LoRA or several adapters.
        CheckpointError: it is damaged, of another kind, or has what the network has not.
        SafetyError: it is made to attack its reader.
    """
    flat = {place: np.asarray(leaf) for place, leaf in tree.paths(base).items()}
    with budget.held(path):
        found = importlib.import_module("interop.lora_files").read(path, name, flat, input_shape)
    return Matrices(tree.nested(found.arrays), found.scales)


def open_piece(path: Path) -> Piece:
    """Reads a part of a GPT-2, such as gpt2_2-10_trunk.pt; executes nothing.

    Raises:
        UsageError: there is no such file.
        CheckpointError: it is damaged, or not said which layers it holds.
        SafetyError: it is made to attack its reader.
    """
    with budget.held(path):
        found = importlib.import_module("interop.language.pieces").read(path)
    sha256 = _fingerprint(*found.files)
    return Piece(found.part, found.first, found.last, found.config, found.params, sha256)


def write_piece(
    path: Path, config: Mapping[str, Any], part: str, first: int, last: int, params: Params
) -> int:
    """Writes a part of a GPT-2, and beside it <stem>_metadata.json, which says which it is.

    Args:
        path: a new file: .pt, .safetensors, .npz, .pth or .bin.
        config: config.json of the whole network.
        part: bottom, trunk or top.
        first: the number of its first layer in the whole network.
        last: one more than that of its last layer.
        params: nested dicts of arrays; the top has a head of its own.

    Returns:
        The bytes of the file.

    Raises:
        UsageError: the file exists, or torch is needed and absent.
        CheckpointError: the arrays are not those of the part, or cannot be written.
    """
    pieces = importlib.import_module("interop.language.pieces")
    return pieces.save(path, config, part, first, last, params)


def write_adapter(
    folder: Path, config: Mapping[str, Any], lora: Lora, params: Params, *, bare: bool = False
) -> int:
    """Writes a folder that PEFT's `from_pretrained` loads, whole or not at all.

    Args:
        folder: a new folder.
        config: config.json of the network it adapts.
        lora: ranks, alphas, and what is trained whole.
        params: nested dicts of arrays, as `Lora` says.
        bare: for modules whose names lack that of the network's body, such as `transformer.`

    Returns:
        The bytes of its files.

    Raises:
        UsageError: the folder exists.
        CheckpointError: the arrays are not of such an adapter, or a file cannot be written.
    """
    made = importlib.import_module("interop.language.architecture").of(config)
    made = replace(made, body="") if bare else made
    return importlib.import_module("interop.language.adapter_write").save(
        folder, made, lora, params
    )


def _fingerprint(*paths: Path) -> str:
    lines = []
    for path in paths:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _require_fit(
    path: Path, model: base.Config, params: Params, input_shape: tuple[int, ...]
) -> None:
    flat = tree.paths(params)
    classes = len(flat["head.kernel"].T)
    built = base.build(model, input_shape, classes, "native")
    expected, _ = jax.eval_shape(built.init, jax.random.key(0))
    wanted = tree.paths(expected)
    for place in sorted(wanted.keys() | flat.keys()):
        there, right = (side[place].shape if place in side else None for side in (flat, wanted))
        if there != right:
            raise CheckpointError(
                f"{path} does not fit samples {list(input_shape)}: {place} is {_shown(there)}, "
                f"and {_shown(right)} in a {model.name} for these"
            )


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))

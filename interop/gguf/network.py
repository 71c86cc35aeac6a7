"""The network in a GGUF file, under the names and in the shapes of transformers.

Source: ggml-org/llama.cpp, gguf-py/gguf/tensor_mapping.py for the names, and convert_hf_to_gguf.py
for what it turns and orders anew.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from interop.formats import gguf as listing
from interop.formats.base import Entry
from interop.gguf import header as headers
from interop.gguf import numbers, scaling, settings
from interop.gguf.header import Header
from interop.language import architecture as architectures
from interop.language.architecture import Architecture
from interop.language.folder import Folder
from jfl.errors import CheckpointError, JflError

_LLAMA = {
    "token_embd": "embed_tokens", "output_norm": "norm", "output": "lm_head",
    "blk.{}.attn_norm": "layers.{}.input_layernorm",
    "blk.{}.attn_q": "layers.{}.self_attn.q_proj", "blk.{}.attn_k": "layers.{}.self_attn.k_proj",
    "blk.{}.attn_v": "layers.{}.self_attn.v_proj",
    "blk.{}.attn_output": "layers.{}.self_attn.o_proj",
    "blk.{}.attn_q_norm": "layers.{}.self_attn.q_norm",
    "blk.{}.attn_k_norm": "layers.{}.self_attn.k_norm",
    "blk.{}.ffn_norm": "layers.{}.post_attention_layernorm",
    "blk.{}.ffn_gate": "layers.{}.mlp.gate_proj", "blk.{}.ffn_up": "layers.{}.mlp.up_proj",
    "blk.{}.ffn_down": "layers.{}.mlp.down_proj",
}  # fmt: skip
_GPT2 = {
    "token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "output": "lm_head",
    "blk.{}.attn_norm": "h.{}.ln_1", "blk.{}.attn_qkv": "h.{}.attn.c_attn",
    "blk.{}.attn_output": "h.{}.attn.c_proj", "blk.{}.ffn_norm": "h.{}.ln_2",
    "blk.{}.ffn_up": "h.{}.mlp.c_fc", "blk.{}.ffn_down": "h.{}.mlp.c_proj",
}  # fmt: skip
_NAMES = {"gpt2": _GPT2, "llama": _LLAMA, "qwen2": _LLAMA, "qwen3": _LLAMA}
_TURNED = re.compile(r"h\.\d+\.(?:attn|mlp)\.c_\w+\.weight")
"""What GPT-2 has [in, out] in transformers, and [out, in] here."""
_HEADS = re.compile(r"layers\.\d+\.self_attn\.([qk])_proj\.(?:weight|bias)")


@dataclass(frozen=True)
class Opened:
    """A network whose numbers were not read yet, and the header of its file."""

    header: Header
    folder: Folder


def opened(path: Path) -> Opened:
    """Returns the network of a file, of which each array is there, in its shape and once.

    Raises:
        CheckpointError: the first thing that is wrong.
    """
    header = headers.read(path)
    given = {entry.path: entry for entry in listing.entries(header)}
    embedding = given.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        settings.Settings(header)  # which may name the reason
        raise CheckpointError(f"{path} holds no token_embd.weight [tokens, features]")
    config = settings.config(header, given.keys(), embedding.shape[0])
    speeds = given.pop(scaling.NAME, None) if config["model_type"] == "llama" else None
    if speeds is not None:
        config["rope_scaling"] = scaling.of(speeds, config, header.where)
    made = architectures.of(config, str(path))
    arrays = {}
    for name, place, _ in made.arrays():
        theirs = _theirs(made, name)
        if theirs not in given:
            raise CheckpointError(f"{path} lacks {theirs} of {made.name}")
        entry = numbers.readable(given.pop(theirs), header.where)
        arrays[name] = _as(entry, name, config)
        if arrays[name].shape != place.shape:
            raise CheckpointError(
                f"{path} contradicts itself: {theirs} is {list(entry.shape)}, but by its settings "
                f"{name} is {list(place.shape)}"
            )
    for name in given:
        raise CheckpointError(f"{path} holds {name[:80]}, which is none of this {made.name}'s")
    passed_over = () if speeds is None else (speeds.path,)
    return Opened(header, Folder(path, config, made, arrays, None, passed_over, (path,)))


def said(path: Path) -> str:
    """Returns a sentence on what network a file holds, or why jfl does not read it."""
    try:
        found = opened(path)
    except JflError as error:
        return f"no network jfl reads: {error}"
    made = found.folder.architecture
    tied = ", its head tied to the embedding" if made.tied else ""
    words = found.header.settings.get("tokenizer.ggml.model")
    tokens = f", with a tokenizer of the kind {str(words)[:40]}" if words else ""
    template = ", with a chat template" * ("tokenizer.chat_template" in found.header.settings)
    return f"a network jfl reads: {made.name} of {made.layers} layers{tied}{tokens}{template}"


def _theirs(made: Architecture, name: str) -> str:
    """Returns what the file calls an array of transformers."""
    number = re.search(r"\.(\d+)\.", name)
    plain = re.sub(r"\.\d+\.", ".{}.", name, count=1)
    stem, _, leaf = plain.rpartition(".")
    names = {ours: theirs for theirs, ours in _NAMES[made.name].items()}
    return f"{names[stem]}.{leaf}".format(number[1] if number else "")


def _as(entry: Entry, name: str, config: dict[str, Any]) -> Entry:
    """Returns an array with its rows as transformers has them."""
    if _TURNED.fullmatch(name) and len(entry.shape) == 2:
        shape = entry.shape[::-1]
        return replace(entry, shape=shape, rows=lambda a, b: entry.read().T[a:b])
    part = _HEADS.fullmatch(name) if config["model_type"] == "llama" else None
    if part is None:
        return entry
    key = "num_attention_heads" if part[1] == "q" else "num_key_value_heads"
    heads, rows = config[key], entry.shape[0] if entry.shape else 0
    if rows % (2 * heads):
        return entry  # whose shape is not that of the settings
    return replace(entry, rows=lambda a, b: _halved(entry.read(), heads)[a:b])


def _halved(array: np.ndarray, heads: int) -> np.ndarray:
    """Returns rows of which the first half of a head is turned with the second.

    In the file each row is turned with its neighbour.
    """
    pairs = array.reshape(heads, -1, 2, *array.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(array.shape)

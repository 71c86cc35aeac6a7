"""What nanochat calls the arrays of its network, and what its settings say.

Source: github.com/karpathy/nanochat, gpt.py and checkpoint_manager.py of 2025.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from interop.language import architecture
from interop.language.architecture import Architecture, Place
from jfl import config as configs
from jfl.errors import CheckpointError, UsageError
from jfl.models.language import nanochat

EMBEDDING = "transformer.wte.weight"
_THEIRS = {
    "embed_tokens": "transformer.wte", "layers.{}.self_attn.q_proj": "transformer.h.{}.attn.c_q",
    "layers.{}.self_attn.k_proj": "transformer.h.{}.attn.c_k",
    "layers.{}.self_attn.v_proj": "transformer.h.{}.attn.c_v",
    "layers.{}.self_attn.o_proj": "transformer.h.{}.attn.c_proj",
    "layers.{}.mlp.fc1": "transformer.h.{}.mlp.c_fc",
    "layers.{}.mlp.fc2": "transformer.h.{}.mlp.c_proj",
    "lm_head": "lm_head",
}  # fmt: skip
"""Modules by what transformers calls them."""
_SETTINGS = {
    "n_layer": "depth", "n_embd": "width", "n_head": "heads", "n_kv_head": "kv_heads",
    "vocab_size": "vocabulary", "sequence_len": "context",
    "depth": "depth", "num_layers": "depth", "model_dim": "width", "num_heads": "heads",
    "num_kv_heads": "kv_heads", "max_seq_len": "context", "block_size": "context",
}  # fmt: skip
"""jfl's settings by upstream's names, and then by those of its scripts and forks."""
_HEAD = 128


def architecture_of(config: nanochat.Config) -> Architecture:
    """Returns the arrays of a network by upstream's names."""
    made = architecture.of(nanochat.to_hf(config))
    places = tuple(replace(place, name=_their(place)) for place in made.places)
    return replace(made, body="", places=places)


def _their(place: Place) -> str:
    module, _, kind = place.name.rpartition(".")
    return f"{_THEIRS[module]}.{kind}"


def settings(
    said: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str
) -> tuple[nanochat.Config, list[str]]:
    """Returns the settings of a network, and notes for people on what nothing said.

    Args:
        said: what the file, or the JSON beside it, says.
        shapes: of all arrays, by upstream's names.
        where: the file, for messages.

    Raises:
        CheckpointError: it says what the arrays are not, or what no network here has.
    """
    found: dict[str, Any] = {}
    for name, ours in _SETTINGS.items():
        if type(said.get(name)) is int:
            found.setdefault(ours, said[name])
    rows, width = _table(shapes, where)
    depth = len({name.split(".")[2] for name in shapes if name.startswith("transformer.h.")})
    heads = found.get("heads", -(-width // _HEAD))
    notes = [] if "heads" in found else [f"nothing says how many heads there are; {heads} taken"]
    of_keys = shapes.get("transformer.h.0.attn.c_k.weight", (width,))[0]
    held = {"depth": depth, "width": width, "heads": heads}
    held["kv_heads"] = of_keys * heads // width
    for key, value in held.items():
        if found.get(key, value) != value:
            raise CheckpointError(
                f"{where} contradicts itself: it says {key}={found[key]}, but its arrays are of "
                f"{key}={value}"
            )
    vocabulary = found.get("vocabulary", rows)
    if vocabulary > rows:
        raise CheckpointError(
            f"{where} says it has {vocabulary:,} tokens, but its embedding has {rows:,} rows"
        )
    if "context" not in found:
        usual = nanochat.Config.model_fields["context"].default
        notes.append(f"nothing says how long its rows were; context={usual} taken")
    known = {"name": "nanochat", "vocabulary": vocabulary} | held
    known |= {"context": found["context"]} if "context" in found else {}
    try:
        return configs.check(nanochat.Config, known), notes
    except UsageError as error:
        raise CheckpointError(f"{where}: {str(error).removeprefix('config: ')}") from error


def _table(shapes: Mapping[str, tuple[int, ...]], where: str) -> tuple[int, int]:
    shape = shapes.get(EMBEDDING, ())
    if len(shape) != 2 or min(shape) < 1:
        raise CheckpointError(f"{where} holds an embedding of shape {list(shape)}; it needs [V, d]")
    return shape[0], shape[1]

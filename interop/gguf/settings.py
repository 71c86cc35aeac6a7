"""What the settings of a GGUF file are in the config.json of transformers.

Source: ggml-org/llama.cpp, gguf-py/gguf/constants.py, and convert_hf_to_gguf.py, which writes them.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from interop.gguf.header import Header, Listed
from jfl.errors import CheckpointError

ARCHITECTURES = ("gpt2", "llama", "qwen2", "qwen3")
_CLASSES = {
    "gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}  # fmt: skip
_IDS = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}
_OFF = {
    "expert_count": 0, "expert_used_count": 0, "rope.scale_linear": 1.0, "attention.causal": True,
    "rope.scaling.type": "none",
}  # fmt: skip
"""Settings that jfl has only with one value."""


class Settings:
    """The settings of one architecture, which must all be asked for."""

    def __init__(self, header: Header) -> None:
        """Finds the architecture.

        Raises:
            CheckpointError: it is none that jfl has, or the file is one of several.
        """
        self._where, self._all = header.where, header.settings
        name = self._all.get("general.architecture")
        if name not in ARCHITECTURES:
            raise CheckpointError(
                f"{self._where} is of {str(name)[:40]}, which jfl does not have; there are "
                f"{', '.join(ARCHITECTURES)}"
            )
        if self._all.get("split.count", 1) not in (0, 1):
            raise CheckpointError(
                f"{self._where} is one of {str(self._all['split.count'])[:20]} parts; merge them "
                "with llama.cpp's gguf-split"
            )
        self.name = str(name)
        self._left = {key for key in self._all if key.startswith(f"{name}.")}

    def count(self, key: str, usual: int | None = None) -> int:
        """Returns a whole number above 0."""
        value = self._take(key)
        if value is None and usual is not None:
            return usual
        if type(value) is not int or value < 1:
            raise self._wrong(key, value, "a whole number above 0")
        return value

    def real(self, key: str, usual: float | None = None) -> float:
        """Returns a number above 0, in as few digits as float32 has."""
        value = self._take(key)
        if value is None and usual is not None:
            return usual
        if not isinstance(value, float) or not 0 < value < float("inf"):
            raise self._wrong(key, value, "a number above 0")
        return float(str(np.float32(value)))

    def must_be(self, key: str, value: Any) -> None:
        """Refuses another value than the only one that jfl has."""
        if (there := self._take(key)) not in (None, value):
            raise self._wrong(key, there, str(value))

    def special(self) -> dict[str, int]:
        """Returns the numbers of the tokens that begin and end texts and fill rows."""
        found = {
            name: self._all.get(f"tokenizer.ggml.{key}_token_id") for key, name in _IDS.items()
        }
        return {name: value for name, value in found.items() if type(value) is int}

    def require_nothing_left(self) -> None:
        """Refuses settings that nobody asked for.

        Raises:
            CheckpointError: there is one that may change what the network computes.
        """
        for key, value in _OFF.items():
            self.must_be(key, value)
        for key in sorted(self._left):
            raise self._wrong(key.removeprefix(f"{self.name}."), self._all[key], "absent")

    def _take(self, key: str) -> Any:
        key = f"{self.name}.{key}"
        self._left.discard(key)
        return self._all.get(key)

    def _wrong(self, key: str, value: Any, right: str) -> CheckpointError:
        said = "a list" if isinstance(value, Listed) else str(value)[:40]
        return CheckpointError(
            f"{self._where} has {self.name}.{key[:80]}={said}; it must be {right}"
        )


def config(header: Header, names: Collection[str], vocabulary: int) -> dict[str, Any]:
    """Returns the config.json of the network in a file.

    Args:
        header: of the file.
        names: of its arrays: whether there are biases and a head stands in no setting.
        vocabulary: rows of its embedding.

    Raises:
        CheckpointError: it is of another network, or a setting is missing, wrong or unknown.
    """
    settings = Settings(header)
    if settings.count("vocab_size", vocabulary) != vocabulary:
        raise CheckpointError(
            f"{header.where} contradicts itself: its embedding has {vocabulary} tokens, but "
            f"{settings.name}.vocab_size is {settings.count('vocab_size')}"
        )
    made = _gpt2(settings) if settings.name == "gpt2" else _llama(settings, names)
    settings.require_nothing_left()
    return {
        "architectures": [_CLASSES[settings.name]], "model_type": settings.name,
        "vocab_size": vocabulary, **made, "tie_word_embeddings": "output.weight" not in names,
        "dtype": "float32", **settings.special(),
    }  # fmt: skip


def _gpt2(settings: Settings) -> dict[str, Any]:
    width, inner = settings.count("embedding_length"), settings.count("feed_forward_length")
    return {
        "n_positions": settings.count("context_length"),
        "n_embd": width,
        "n_layer": settings.count("block_count"),
        "n_head": settings.count("attention.head_count"),
        "n_inner": None if inner == 4 * width else inner,
        "layer_norm_epsilon": settings.real("attention.layer_norm_epsilon"),
        "activation_function": "gelu_new",
    }


def _llama(settings: Settings, names: Collection[str]) -> dict[str, Any]:
    width, heads = settings.count("embedding_length"), settings.count("attention.head_count")
    size = settings.count("attention.key_length", width // heads or 1)
    for key in ("attention.value_length", "rope.dimension_count"):
        settings.must_be(key, size)
    made = {
        "max_position_embeddings": settings.count("context_length"),
        "hidden_size": width,
        "num_hidden_layers": settings.count("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": settings.count("attention.head_count_kv", heads),
        "head_dim": size,
        "intermediate_size": settings.count("feed_forward_length"),
        "hidden_act": "silu",
        "rms_norm_eps": settings.real("attention.layer_norm_rms_epsilon"),
        "rope_theta": settings.real("rope.freq_base", 10000.0),
        "rope_scaling": None,
    }
    if settings.name == "llama":
        made["attention_bias"] = "blk.0.attn_q.bias" in names
        made["mlp_bias"] = "blk.0.ffn_gate.bias" in names
    return made

"""The settings of models/language/llama.py, as transformers has them in a config.json."""

from typing import Any

from jfl.errors import UsageError
from jfl.models.language.hf_config import Fields

MODEL_TYPES = ("llama", "qwen2", "qwen3")

_LLAMA = {
    "vocab_size": 32000, "max_position_embeddings": 2048, "intermediate_size": 11008,
    "num_key_value_heads": None, "head_dim": None,
}  # fmt: skip
_QWEN = {
    "vocab_size": 151936, "max_position_embeddings": 32768, "intermediate_size": 22016,
    "num_key_value_heads": 32, "head_dim": None,
}  # fmt: skip
_DEFAULTS = {"llama": _LLAMA, "qwen2": _QWEN, "qwen3": _QWEN | {"head_dim": 128}}
"""Of transformers, where they differ from type to type."""
_SCALING = {
    "factor": "factor",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
    "original_context": "original_max_position_embeddings",
}
"""Our names of what stretches rotary positions, and theirs."""


def read(content: dict[str, Any]) -> tuple[Fields, dict[str, Any]]:
    """Returns the settings in a config.json, and what is left of it: nothing must be.

    Raises:
        UsageError: something in it cannot be honoured.
    """
    kind = content["model_type"]
    fields, defaults = Fields(content, kind), _DEFAULTS[kind]
    fields.must_be("hidden_act", "silu")
    heads = fields.take("num_attention_heads", 32)
    kv_heads = fields.take("num_key_value_heads", defaults["num_key_value_heads"])
    settings = {
        "vocabulary": fields.take("vocab_size", defaults["vocab_size"]),
        "context": fields.take("max_position_embeddings", defaults["max_position_embeddings"]),
        "width": fields.take("hidden_size", 4096),
        "layers": fields.take("num_hidden_layers", 32),
        "heads": heads,
        "kv_heads": heads if kv_heads is None else kv_heads,
        "head_size": fields.take("head_dim", defaults["head_dim"]),
        "inner": fields.take("intermediate_size", defaults["intermediate_size"]),
        "tied": fields.take("tie_word_embeddings", False),
        "init_std": fields.take("initializer_range", 0.02),
        "norm_epsilon": fields.take("rms_norm_eps", 1e-6),
        "attention_dropout": fields.take("attention_dropout", 0.0) or 0.0,
        "attention_bias": "qkv",
        "qk_norm": kind == "qwen3",
    }
    if kind != "qwen2":
        settings["attention_bias"] = "all" if fields.take("attention_bias", False) else "none"
    if kind == "llama":
        settings["mlp_bias"] = fields.take("mlp_bias", False)
    else:
        settings |= _windows(fields, settings["layers"])
    return fields, settings | _rotary(fields, settings["context"])


def _windows(fields: Fields, layers: int) -> dict[str, Any]:
    used, window = fields.take("use_sliding_window", False), fields.take("sliding_window", 4096)
    full = fields.take("max_window_layers", 28)
    window = window if used else None
    if isinstance(layers, int) and isinstance(full, int):
        pattern = ["full_attention"] * layers
        if window is not None:
            pattern[full:] = ["sliding_attention"] * len(pattern[full:])
        fields.must_be("layer_types", pattern)
    return {"window": window, "full_layers": 0 if window is None else full}


def _rotary(fields: Fields, context: int) -> dict[str, Any]:
    theta, scaling = fields.take("rope_theta", None), fields.take("rope_scaling", None)
    # transformers 5 has both in one, older versions side by side
    given = fields.take("rope_parameters", None) or {}
    rope = {"rope_theta": theta or 10000.0, "partial_rotary_factor": 1.0} | (scaling or {}) | given
    inner = fields.inside("rope_parameters", rope)
    inner.must_be("partial_rotary_factor", 1.0)
    fields.must_be("partial_rotary_factor", 1.0)
    kind = inner.take("rope_type", inner.take("type", "default"))
    settings: dict[str, Any] = {"theta": inner.take("rope_theta", 10000.0), "rope_scaling": None}
    if kind == "llama3":
        defaults = {"original_max_position_embeddings": context}
        settings["rope_scaling"] = {
            ours: inner.take(theirs, defaults.get(theirs)) for ours, theirs in _SCALING.items()
        }
    elif kind != "default":
        raise UsageError(f"config.json: rope_type={kind} is not one of default, llama3")
    inner.require_nothing_left()
    return settings


def write(config: Any) -> dict[str, Any]:
    """Returns a config.json for a `llama.Config`, as transformers 4 and 5 read it.

    Raises:
        UsageError: transformers has no such network.
    """
    kind = "llama"
    if config.qk_norm or config.attention_bias == "qkv":
        kind = "qwen3" if config.qk_norm else "qwen2"
    refused = {
        "attention_bias=qkv with qk_norm": kind == "qwen3" and config.attention_bias == "qkv",
        "mlp_bias beside qk_norm or attention_bias=qkv": kind != "llama" and config.mlp_bias,
        "window without qk_norm or attention_bias=qkv": kind == "llama" and config.window,
    }
    for what, is_so in refused.items():
        if is_so:
            raise UsageError(f"transformers has no network of this family that has {what}")
    scaling = config.rope_scaling
    content = {
        "architectures": [f"{kind.capitalize()}ForCausalLM"],
        "model_type": kind,
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.size,
        "intermediate_size": config.inner,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
        "rms_norm_eps": config.norm_epsilon,
        "attention_dropout": config.attention_dropout,
        "rope_theta": config.theta,
        "rope_scaling": scaling
        and {"rope_type": "llama3"}
        | {theirs: getattr(scaling, ours) for ours, theirs in _SCALING.items()},
    }
    if kind != "qwen2":
        content["attention_bias"] = config.attention_bias == "all"
    if kind == "llama":
        return content | {"mlp_bias": config.mlp_bias}
    return content | {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": config.full_layers,
    }

"""Tiny networks of transformers with large weights, so that every error shows."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from jfl.models.language import base
from jfl.models.language.base import Computation, LanguageModel
from tests.reference import hf_weights

VOCABULARY, BATCH, LENGTH = 40, 3, 9
_SMALL = {"vocab_size": VOCABULARY, "initializer_range": 0.3}
_GPT2 = _SMALL | {"n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": None}
_LLAMA = _SMALL | {
    "max_position_embeddings": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "eos_token_id": None,
}
_WINDOW = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS: dict[str, Any] = {
    "gpt2": (GPT2LMHeadModel, GPT2Config, _GPT2),
    "gpt2-scaled": (
        GPT2LMHeadModel,
        GPT2Config,
        _GPT2 | {"scale_attn_by_inverse_layer_idx": True, "n_inner": 20}
        | {"tie_word_embeddings": False},
    ),
    "llama2": (LlamaForCausalLM, LlamaConfig, _LLAMA | {"num_key_value_heads": None}),
    "llama3": (LlamaForCausalLM, LlamaConfig, _LLAMA | {"rope_parameters": _LLAMA3}),
    "smollm2": (
        LlamaForCausalLM,
        LlamaConfig,
        _LLAMA | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    ),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, _LLAMA | {"tie_word_embeddings": True}),
    "qwen2-window": (Qwen2ForCausalLM, Qwen2Config, _LLAMA | _WINDOW),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, _LLAMA | {"head_dim": 6}),
}  # fmt: skip


@functools.cache
def theirs(name: str) -> Any:
    """The model of transformers; biases and norms are drawn too, as they begin at 0 and 1."""
    model, config, settings = MODELS[name]
    torch.manual_seed(0)
    made = model(config(**settings, attn_implementation="eager")).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return made


@functools.cache
def ours(name: str, **computation: Any) -> LanguageModel:
    """The same network here, built from its config.json."""
    return base.build(settings(name), Computation(**computation))


def settings(name: str) -> base.Config:
    """Its settings, read from its config.json."""
    return base.from_hf(theirs(name).config.to_dict())


@functools.cache
def params(name: str) -> Any:
    """Its weights."""
    return jax.tree.map(jnp.asarray, hf_weights.params(theirs(name)))


def tokens() -> np.ndarray:
    """Texts [B, T]."""
    return np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, LENGTH)).astype(np.int32)


def error(a: Any, b: Any) -> float:
    """The largest difference of two trees of arrays, as a share of each array's largest value."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    shares = jax.tree.map(lambda a, b: np.abs(a - b).max() / np.abs(b).max(), a, b)
    return max(jax.tree.leaves(shares))

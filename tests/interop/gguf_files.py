"""Small GGUF files, written by the gguf package in the way of llama.cpp's converter."""

import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

HEADS = re.compile(r"model\.layers\.\d+\.self_attn\.([qk])_proj")
NAMES = {
    "embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip


def named(name: str) -> str:
    """What llama.cpp calls an array of transformers."""
    parts = re.fullmatch(r"(?:model\.|transformer\.)?(?:(?:layers|h)\.(\d+)\.)?(.+)\.(\w+)", name)
    assert parts is not None
    layer = "" if parts[1] is None else f"blk.{parts[1]}."
    return f"{layer}{NAMES[parts[2]]}.{parts[3]}"


def arrays(model: Any) -> dict[str, np.ndarray]:
    """The arrays of a network of transformers as llama.cpp has them."""
    config, found = model.config, {}
    state = {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    for name, given in state.items():
        array = given.T if re.search(r"\.c_\w+\.weight$", name) else given
        part = HEADS.match(name) if config.model_type == "llama" else None
        if part is not None:
            heads = config.num_attention_heads if part[1] == "q" else config.num_key_value_heads
            halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
            array = halves.swapaxes(1, 2).reshape(array.shape)
        found[named(name)] = np.ascontiguousarray(array)
    return found


def settings(config: Any) -> dict[str, Any]:
    """The settings of a network of transformers, by the names of llama.cpp."""
    kind = config.model_type
    if kind == "gpt2":
        given = {
            "context_length": config.n_positions, "embedding_length": config.n_embd,
            "block_count": config.n_layer, "attention.head_count": config.n_head,
            "feed_forward_length": config.n_inner or 4 * config.n_embd,
            "attention.layer_norm_epsilon": float(config.layer_norm_epsilon),
        }  # fmt: skip
    else:
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        given = {
            "context_length": config.max_position_embeddings, "block_count":
            config.num_hidden_layers, "embedding_length": config.hidden_size,
            "feed_forward_length": config.intermediate_size,
            "attention.head_count": config.num_attention_heads,
            "attention.head_count_kv": config.num_key_value_heads,
            "attention.key_length": size, "attention.value_length": size,
            "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
            "rope.freq_base": float(config.rope_parameters["rope_theta"]),
            "rope.dimension_count": size, "vocab_size": config.vocab_size,
        }  # fmt: skip
    return {f"{kind}.{key}": value for key, value in given.items()}


def write(
    path: Path, kind: str, about: dict[str, Any], given: dict[str, Any], types: str = "F32"
) -> Path:
    """Writes a file.

    Args:
        path: of the file.
        kind: general.architecture.
        about: further settings.
        given: arrays, or pairs of the name of a type and its bytes [rows, bytes of a row].
        types: of the arrays that have two axes; the others are F32.
    """
    import gguf

    writer = gguf.GGUFWriter(path, kind)
    for key, value in about.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, value in given.items():
        if isinstance(value, tuple):
            raw, array = gguf.GGMLQuantizationType[value[0]], value[1]
        elif types == "BF16" and value.ndim > 1:
            raw = gguf.GGMLQuantizationType.BF16
            array = value.astype(ml_dtypes.bfloat16).view(np.uint8)
        elif types == "F16" and value.ndim > 1:
            raw, array = None, value.astype(np.float16)
        elif types == "F32" or value.ndim < 2:
            raw, array = None, value
        else:
            raw = gguf.GGMLQuantizationType[types]
            array = gguf.quants.quantize(value, raw)
        writer.add_tensor(name, array, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def network(path: Path, model: Any, types: str = "F32", **about: Any) -> Path:
    """Writes a network of transformers; further settings have __ for a dot, ... takes one away."""
    given = settings(model.config) | {key.replace("__", "."): v for key, v in about.items()}
    given = {key: value for key, value in given.items() if value is not ...}
    return write(path, model.config.model_type, given, arrays(model), types)

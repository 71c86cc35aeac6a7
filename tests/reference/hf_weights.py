"""Weights of transformers' models under jfl's names, one tensor after the other."""

from typing import Any

import numpy as np
import torch

GPT2 = {
    "norm1.scale": "ln_1.weight",
    "norm1.bias": "ln_1.bias",
    "attention.qkv.kernel": "attn.c_attn.weight",
    "attention.qkv.bias": "attn.c_attn.bias",
    "attention.out.kernel": "attn.c_proj.weight",
    "attention.out.bias": "attn.c_proj.bias",
    "norm2.scale": "ln_2.weight",
    "norm2.bias": "ln_2.bias",
    "mlp.up.kernel": "mlp.c_fc.weight",
    "mlp.up.bias": "mlp.c_fc.bias",
    "mlp.down.kernel": "mlp.c_proj.weight",
    "mlp.down.bias": "mlp.c_proj.bias",
}
LLAMA = {
    "norm1.scale": "input_layernorm.weight",
    "attention.q.kernel": "self_attn.q_proj.weight",
    "attention.q.bias": "self_attn.q_proj.bias",
    "attention.k.kernel": "self_attn.k_proj.weight",
    "attention.k.bias": "self_attn.k_proj.bias",
    "attention.v.kernel": "self_attn.v_proj.weight",
    "attention.v.bias": "self_attn.v_proj.bias",
    "attention.out.kernel": "self_attn.o_proj.weight",
    "attention.out.bias": "self_attn.o_proj.bias",
    "attention.q_norm.scale": "self_attn.q_norm.weight",
    "attention.k_norm.scale": "self_attn.k_norm.weight",
    "norm2.scale": "post_attention_layernorm.weight",
    "mlp.gate.kernel": "mlp.gate_proj.weight",
    "mlp.gate.bias": "mlp.gate_proj.bias",
    "mlp.up.kernel": "mlp.up_proj.weight",
    "mlp.up.bias": "mlp.up_proj.bias",
    "mlp.down.kernel": "mlp.down_proj.weight",
    "mlp.down.bias": "mlp.down_proj.bias",
}


def params(model: torch.nn.Module) -> dict[str, Any]:
    """The weights of a GPT2LMHeadModel, or of a ForCausalLM of the llama family."""
    return _ours(model, {name: tensor.detach() for name, tensor in model.named_parameters()})


def gradients(model: torch.nn.Module) -> dict[str, Any]:
    """Their gradients after a backward pass."""
    return _ours(model, {name: tensor.grad for name, tensor in model.named_parameters()})


def _ours(model: torch.nn.Module, theirs: dict[str, torch.Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if model.config.model_type == "gpt2":
        _put(found, "embed.tokens.embedding", theirs.pop("transformer.wte.weight"))
        _put(found, "embed.positions.embedding", theirs.pop("transformer.wpe.weight"))
        _put(found, "norm.scale", theirs.pop("transformer.ln_f.weight"))
        _put(found, "norm.bias", theirs.pop("transformer.ln_f.bias"))
        prefix, names, depth = "transformer.h", GPT2, model.config.n_layer
    else:
        _put(found, "embed.tokens.embedding", theirs.pop("model.embed_tokens.weight"))
        _put(found, "norm.scale", theirs.pop("model.norm.weight"))
        prefix, names, depth = "model.layers", LLAMA, model.config.num_hidden_layers
    if "lm_head.weight" in theirs:  # not tied; nn.Linear has [out, in]
        _put(found, "head.kernel", theirs.pop("lm_head.weight").T)
    for name, suffix in names.items():
        if f"{prefix}.0.{suffix}" not in theirs:
            continue
        layers = [theirs.pop(f"{prefix}.{i}.{suffix}") for i in range(depth)]
        if names is LLAMA and name.endswith("kernel"):  # GPT-2's Conv1D has [in, out] already
            layers = [layer.T for layer in layers]
        _put(found, f"layers.{name}", torch.stack(layers))
    assert not theirs, theirs.keys()
    return found


def _put(tree: dict[str, Any], path: str, value: torch.Tensor) -> None:
    *folders, last = path.split(".")
    for folder in folders:
        tree = tree.setdefault(folder, {})
    tree[last] = np.ascontiguousarray(value.numpy())

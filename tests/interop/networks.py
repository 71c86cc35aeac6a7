"""Tiny language networks: as transformers makes them, and as folders made by hand without torch."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_SMALL = {
    "vocab_size": 11, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16,
}  # fmt: skip
_GPT2 = {"vocab_size": 11, "n_positions": 7, "n_embd": 6, "n_layer": 3, "n_head": 2}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", _GPT2),
    "gpt2-untied": ("GPT2", _GPT2 | {"n_inner": 10, "tie_word_embeddings": False}),
    "llama": ("Llama", _SMALL),
    "llama-biased": ("Llama", _SMALL | {
        "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 6}),
    "qwen2": ("Qwen2", _SMALL | {"tie_word_embeddings": True, "num_key_value_heads": 2}),
    "qwen3": ("Qwen3", _SMALL | {"head_dim": 6}),
    "qwen3-biased": ("Qwen3", _SMALL | {
        "head_dim": 4, "attention_bias": True, "tie_word_embeddings": True}),
}  # fmt: skip
"""Each has kernels that are square and some that are not."""


def made(case: str, seed: int = 0) -> Any:
    """A network of transformers whose arrays are all random, none as it starts."""
    import torch
    import transformers

    kind, settings = CASES[case]
    config = getattr(transformers, f"{kind}Config")(
        **settings, bos_token_id=0, eos_token_id=0, pad_token_id=None
    )
    head = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    model = getattr(transformers, kind + head)(config).eval()
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=drawn)
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Lets libraries warn of their own ways."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def arrays(model: Any) -> dict[str, np.ndarray]:
    """The arrays of a network as jfl has them, each looked up by hand."""
    gpt2 = hasattr(model, "transformer")
    body = model.transformer if gpt2 else model.model
    blocks = body.h if gpt2 else body.layers
    words = {"norm1": "ln_1", "attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj",
             "norm2": "ln_2", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"} if gpt2 else {
        "norm1": "input_layernorm", "norm2": "post_attention_layernorm",
        **{f"attention.{w}": f"self_attn.{w}_proj" for w in "qkv"},
        "attention.out": "self_attn.o_proj",
        **{f"attention.{w}": f"self_attn.{w}" for w in ("q_norm", "k_norm")},
        **{f"mlp.{w}": f"mlp.{w}_proj" for w in ("gate", "up", "down")}}  # fmt: skip
    found = {"embed.tokens.embedding": _array((body.wte if gpt2 else body.embed_tokens).weight)}
    if gpt2:
        found["embed.positions.embedding"] = _array(body.wpe.weight)
    for path, module in {**words, "": ""}.items():
        if not path or (path.endswith("_norm") and model.config.model_type != "qwen3"):
            continue
        parts = [_leaves(block.get_submodule(module)) for block in blocks]
        for leaf in parts[0]:
            found[f"layers.{path}.{leaf}"] = np.stack([part[leaf] for part in parts])
    for leaf, array in _leaves(body.ln_f if gpt2 else body.norm).items():
        found[f"norm.{leaf}"] = array
    if model.lm_head.weight is not model.get_input_embeddings().weight:
        found["head.kernel"] = _array(model.lm_head.weight).T
    return found


def _leaves(module: Any) -> dict[str, np.ndarray]:
    kind = type(module).__name__
    weight = _array(module.weight)
    leaves = {"kernel": weight.T if kind == "Linear" else weight}
    if "Norm" in kind:
        leaves = {"scale": weight}
    if getattr(module, "bias", None) is not None:
        leaves["bias"] = _array(module.bias)
    return leaves


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().float().numpy()


CONFIG = _GPT2 | {"model_type": "gpt2"}


def state(seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a GPT-2 by the names of transformers."""
    rng = np.random.default_rng(seed)
    width, inner = 6, 24
    shapes = {"wte.weight": (11, width), "wpe.weight": (7, width), "ln_f.weight": (width,),
              "ln_f.bias": (width,)}  # fmt: skip
    for layer in range(3):
        dense = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width),
                 "mlp.c_fc": (width, inner), "mlp.c_proj": (inner, width)}  # fmt: skip
        for name, shape in dense.items():
            shapes[f"h.{layer}.{name}.weight"] = shape
            shapes[f"h.{layer}.{name}.bias"] = shape[1:]
        for name in ("ln_1", "ln_2"):
            shapes[f"h.{layer}.{name}.weight"] = shapes[f"h.{layer}.{name}.bias"] = (width,)
    return {
        f"transformer.{name}": rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def saved(folder: Path, arrays: dict[str, np.ndarray] | None = None, **config: Any) -> Path:
    """A folder of a GPT-2, written without torch and without jfl."""
    from safetensors.numpy import save_file

    folder.mkdir(exist_ok=True)
    given = state() if arrays is None else arrays
    save_file({k: np.ascontiguousarray(v) for k, v in given.items()}, folder / "model.safetensors")
    settings = {key: value for key, value in (CONFIG | config).items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def sharded(folder: Path, arrays: dict[str, np.ndarray] | None = None) -> Path:
    """The same in two files with an index."""
    from safetensors.numpy import save_file

    saved(folder)
    (folder / "model.safetensors").unlink()
    given = state() if arrays is None else arrays
    names = sorted(given)
    placed = {}
    for number, part in enumerate((names[:20], names[20:]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: given[name] for name in part}, folder / file)
        placed |= dict.fromkeys(part, file)
    about = {"total_size": sum(array.nbytes for array in given.values())}
    index = {"metadata": about, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder

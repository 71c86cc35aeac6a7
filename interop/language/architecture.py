"""What a config.json says of the arrays of a language network: their names, shapes and order.

Source: huggingface/transformers, modeling_gpt2.py, modeling_llama.py, modeling_qwen2.py,
modeling_qwen3.py and modeling_nanochat.py name them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jfl.errors import CheckpointError

HEAD = "lm_head.weight"
_MOST = 1 << 31
_Config = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """One array of a network, or one of each layer."""

    path: str
    """What jfl calls it; those of layers have an axis L in front of their shape."""
    name: str
    """What transformers calls it, without the body's name; `{}` stands for the layer."""
    shape: tuple[int, ...]
    """As transformers has it, of one layer."""
    turned: bool = False
    """Whether it is [out, in] there, and [in, out] in jfl."""

    @property
    def stacked(self) -> bool:
        """Whether every layer has one."""
        return "{}" in self.name

    @property
    def ours(self) -> tuple[int, ...]:
        """Its shape in jfl, of one layer."""
        return self.shape[::-1] if self.turned else self.shape


@dataclass(frozen=True)
class Architecture:
    """The arrays of a network, in the order in which they are used."""

    name: str
    """What config.json calls it: gpt2, llama, qwen2, qwen3, nanochat."""
    model: str
    """The class of transformers that has a head."""
    body: str
    """What that class calls all but its head."""
    layers: int
    counted: str
    """The setting that says how many layers there are."""
    tied: bool
    """Whether the head is the embedding."""
    places: tuple[Place, ...]
    buffers: Mapping[str, tuple[tuple[int, ...], ...]]
    """What older versions saved beside the weights, `{}` for the layer, and the shapes it has."""

    def arrays(self) -> Iterator[tuple[str, Place, int | None]]:
        """Yields the name of each array without the body's, its place, and its layer."""
        for place in (place for place in self.places if not place.stacked):
            yield place.name, place, None
        for layer in range(self.layers):
            for place in (place for place in self.places if place.stacked):
                yield place.name.format(layer), place, layer

    def full(self, name: str) -> str:
        """Returns the name that transformers writes."""
        return name if name.startswith("lm_head.") else self.body + name


def of(config: _Config, where: str = "the config") -> Architecture:
    """Returns the arrays of the network that a config.json describes.

    Raises:
        CheckpointError: it is of another architecture, or contradicts itself.
    """
    name = config.get("model_type")
    if not isinstance(name, str) or name not in _MADE:
        raise CheckpointError(
            f"{where} is of {str(name)[:40]}, which jfl does not have; there are {', '.join(_MADE)}"
        )
    return _MADE[name](config, where)


def _gpt2(config: _Config, where: str) -> Architecture:
    vocabulary, positions, width, layers, heads = (
        _count(config, where, key)
        for key in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
    )
    inner = _count(config, where, "n_inner", 4 * width)
    _require_divides(where, "n_embd", width, "n_head", heads)
    if _flag(config, where, "add_cross_attention", usual=False):
        raise CheckpointError(f"{where} has add_cross_attention, which jfl does not have")
    tied = _flag(config, where, "tie_word_embeddings", usual=True)
    places = [
        Place("embed.tokens.embedding", "wte.weight", (vocabulary, width)),
        Place("embed.positions.embedding", "wpe.weight", (positions, width)),
        *_norm("layers.norm1", "h.{}.ln_1", width),
        *_dense("layers.attention.qkv", "h.{}.attn.c_attn", width, 3 * width, turned=False),
        *_dense("layers.attention.out", "h.{}.attn.c_proj", width, width, turned=False),
        *_norm("layers.norm2", "h.{}.ln_2", width),
        *_dense("layers.mlp.up", "h.{}.mlp.c_fc", width, inner, turned=False),
        *_dense("layers.mlp.down", "h.{}.mlp.c_proj", inner, width, turned=False),
        *_norm("norm", "ln_f", width),
        *_head(vocabulary, width, tied=tied),
    ]
    masks = {"h.{}.attn.bias": ((1, 1, positions, positions),), "h.{}.attn.masked_bias": ((), (1,))}
    return Architecture(
        "gpt2", "GPT2LMHeadModel", "transformer.", layers, "n_layer", tied, tuple(places), masks
    )


def _llama(name: str, model: str) -> Callable[[_Config, str], Architecture]:
    """Returns what makes an architecture of Llama's family; qwen2 has its biases in q, k and v."""

    def made(config: _Config, where: str) -> Architecture:
        vocabulary, width, inner, layers, heads = (
            _count(config, where, key)
            for key in (
                "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                "num_attention_heads",
            )
        )  # fmt: skip
        groups = _count(config, where, "num_key_value_heads", heads)
        _require_divides(where, "num_attention_heads", heads, "num_key_value_heads", groups)
        if name == "qwen3":
            size = _count(config, where, "head_dim", 128)
        else:
            size = _count(config, where, "head_dim", max(1, width // heads))
            if config.get("head_dim") is None:
                _require_divides(where, "hidden_size", width, "num_attention_heads", heads)
        qwen2 = name == "qwen2"
        biased = not qwen2 and _flag(config, where, "attention_bias", usual=False)
        mlp_biased = name == "llama" and _flag(config, where, "mlp_bias", usual=False)
        tied = _flag(config, where, "tie_word_embeddings", usual=False)
        own, within = "layers.{}.self_attn", "layers.{}.mlp"
        sees = {"q": heads * size, "k": groups * size, "v": groups * size}
        places = [
            Place("embed.tokens.embedding", "embed_tokens.weight", (vocabulary, width)),
            Place("layers.norm1.scale", "layers.{}.input_layernorm.weight", (width,)),
        ]
        for word, out in sees.items():
            path, module = f"layers.attention.{word}", f"{own}.{word}_proj"
            places += _dense(path, module, width, out, bias=biased or qwen2)
        places += _dense("layers.attention.out", f"{own}.o_proj", heads * size, width, bias=biased)
        if name == "qwen3":
            for word in ("q_norm", "k_norm"):
                path = f"layers.attention.{word}.scale"
                places.append(Place(path, f"{own}.{word}.weight", (size,)))
        after = "layers.{}.post_attention_layernorm.weight"
        places += [
            Place("layers.norm2.scale", after, (width,)),
            *_dense("layers.mlp.gate", f"{within}.gate_proj", width, inner, bias=mlp_biased),
            *_dense("layers.mlp.up", f"{within}.up_proj", width, inner, bias=mlp_biased),
            *_dense("layers.mlp.down", f"{within}.down_proj", inner, width, bias=mlp_biased),
            Place("norm.scale", "norm.weight", (width,)),
            *_head(vocabulary, width, tied=tied),
        ]
        angles = {f"{own}.rotary_emb.inv_freq": ((size // 2,),)}
        return Architecture(
            name, model, "model.", layers, "num_hidden_layers", tied, tuple(places), angles
        )

    return made


def _nanochat(config: _Config, where: str) -> Architecture:
    vocabulary, width, inner, layers, heads = (
        _count(config, where, key)
        for key in (
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
            "num_attention_heads",
        )
    )  # fmt: skip
    groups = _count(config, where, "num_key_value_heads", heads)
    _require_divides(where, "hidden_size", width, "num_attention_heads", heads)
    _require_divides(where, "num_attention_heads", heads, "num_key_value_heads", groups)
    if _flag(config, where, "tie_word_embeddings", usual=False):
        raise CheckpointError(f"{where} has tie_word_embeddings, which no nanochat has")
    of_groups = width // heads * groups
    own, within = "layers.{}.self_attn", "layers.{}.mlp"
    sizes = {"q": width, "k": of_groups, "v": of_groups, "out": width}
    places = [Place("embed.tokens.embedding", "embed_tokens.weight", (vocabulary, width))]
    for word, out in sizes.items():
        module = f"{own}.{'o' if word == 'out' else word}_proj"
        places += _dense(f"layers.attention.{word}", module, width, out, bias=False)
    places += [
        *_dense("layers.mlp.up", f"{within}.fc1", width, inner, bias=False),
        *_dense("layers.mlp.down", f"{within}.fc2", inner, width, bias=False),
        *_head(vocabulary, width, tied=False),
    ]
    return Architecture(
        "nanochat", "NanoChatForCausalLM", "model.", layers, "num_hidden_layers", tied=False,
        places=tuple(places), buffers={},
    )  # fmt: skip


_MADE: dict[str, Callable[[_Config, str], Architecture]] = {
    "gpt2": _gpt2,
    "llama": _llama("llama", "LlamaForCausalLM"),
    "qwen2": _llama("qwen2", "Qwen2ForCausalLM"),
    "qwen3": _llama("qwen3", "Qwen3ForCausalLM"),
    "nanochat": _nanochat,
}


def _dense(
    path: str, module: str, inputs: int, outputs: int, *, bias: bool = True, turned: bool = True
) -> list[Place]:
    shape = (outputs, inputs) if turned else (inputs, outputs)
    kernel = Place(f"{path}.kernel", f"{module}.weight", shape, turned)
    return [kernel, Place(f"{path}.bias", f"{module}.bias", (outputs,))] if bias else [kernel]


def _norm(path: str, module: str, width: int) -> list[Place]:
    return [
        Place(f"{path}.scale", f"{module}.weight", (width,)),
        Place(f"{path}.bias", f"{module}.bias", (width,)),
    ]


def _head(vocabulary: int, width: int, *, tied: bool) -> list[Place]:
    return [] if tied else [Place("head.kernel", HEAD, (vocabulary, width), turned=True)]


def _count(config: _Config, where: str, key: str, usual: int | None = None) -> int:
    value = config.get(key)
    if value is None and usual is not None:
        return usual
    if type(value) is not int or not 0 < value < _MOST:
        said = f"a {key} of {str(value)[:40]}" if key in config else f"no {key}"
        raise CheckpointError(f"{where} has {said}; it must be a whole number above 0")
    return value


def _flag(config: _Config, where: str, key: str, *, usual: bool) -> bool:
    value = config.get(key)
    if value is not None and type(value) is not bool:
        raise CheckpointError(f"{where} has a {key} of {str(value)[:40]}, not true or false")
    return usual if value is None else value


def _require_divides(where: str, whole: str, size: int, part: str, count: int) -> None:
    if size % count:
        raise CheckpointError(f"{where} contradicts itself: {whole} {size} by {part} {count}")

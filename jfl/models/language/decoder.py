"""From the modules of a family of networks to a LanguageModel.

Layers are alike: they are one module with stacked parameters, run by lax.scan, so that a compiled
program is as large as that of one layer. Those that stand apart are run one after the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jfl.errors import UsageError
from jfl.models.language import attention, cross_entropy, places
from jfl.models.language.base import Computation, Config, LanguageModel
from jfl.models.language.block import Mix
from jfl.models.language.places import Cache, Places
from jfl.models.language.rotary import Angles
from jfl.types import Params, PRNGKey

_REMAT = {
    "none": lambda body: body,
    "full": lambda body: jax.checkpoint(body, prevent_cse=False),
    "dots": lambda body: jax.checkpoint(
        body,
        prevent_cse=False,
        policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    ),
}


@dataclass(frozen=True)
class Family:
    """What one network is made of; the first four make its modules."""

    embed: Callable[[nnx.Rngs], Any]
    """Called with tokens, positions and rngs; its attribute `tokens` is an Embedding."""
    block: Callable[[nnx.Rngs], Any]
    """A Block."""
    norm: Callable[[nnx.Rngs], Any]
    head: Callable[[nnx.Rngs], Any] | None
    """None: logits are products with the embedding."""
    kv_heads: int
    head_size: int
    angles: Callable[[Int[Array, "B T"]], Angles] | None = None
    """Of rotary positions."""
    windows: tuple[int, ...] | None = None
    """Per layer, how many tokens a query sees, itself included; None: all."""
    scaled_by_layer: bool = False
    """Whether attention scores of layer number l are divided by l + 1."""
    longest: int | None = None
    """Tokens of a text, if there is a bound."""
    cap: float | None = None
    """Logits are bent by a tanh to stay between this and its negative; None: they are not."""


def assemble(config: Config, family: Family, computation: Computation) -> LanguageModel:
    """Builds the functions.

    Raises:
        UsageError: it cannot be computed like this.
    """
    attend = attention.choose(computation.attention, computation.dtype)
    d = _Decoder(config, family, computation, attend, _parts(family))
    return LanguageModel(
        config, d.init, d.cache, d.embed, d.layers, d.norm, d.hidden, d.logits, d.losses, d.loss
    )


@dataclass(frozen=True)
class _Part:
    """A module as functions; `bind(params)` is the module, to be called at once."""

    init: Callable[[PRNGKey], Params]
    bind: Callable[[Params], Any]


def _parts(family: Family) -> dict[str, _Part]:
    def part(make: Callable[[nnx.Rngs], Any]) -> _Part:
        graphdef, _ = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
        return _Part(
            init=lambda key: nnx.to_pure_dict(nnx.split(make(nnx.Rngs(key)))[1]),
            bind=lambda params: nnx.merge(graphdef, params),
        )

    made = {"embed": family.embed, "layers": family.block, "norm": family.norm}
    made |= {"head": family.head} if family.head else {}
    return {name: part(make) for name, make in made.items()}


@dataclass(frozen=True)
class _Decoder:
    """The functions of a LanguageModel, which says what they do."""

    config: Config
    family: Family
    computation: Computation
    attend: attention.Attend
    parts: dict[str, _Part]

    @property
    def dtype(self) -> Any:
        return jnp.bfloat16 if self.computation.dtype == "bf16" else jnp.float32

    @property
    def precise(self) -> Any:
        """Products as exact as their type; cards would round those of float32."""
        products = {"float32": "float32", "bf16": "bfloat16"}
        return jax.default_matmul_precision(products[self.computation.dtype])

    def init(self, key: PRNGKey) -> Params:
        keys = jax.random.split(key, len(self.parts))
        params = {}
        for (name, part), own in zip(self.parts.items(), keys, strict=True):
            stacked = name == "layers"
            rows = jax.random.split(own, self.config.layers)
            params[name] = jax.vmap(part.init)(rows) if stacked else part.init(own)
        return {name: made for name, made in params.items() if made}

    def cache(self, batch: int, length: int) -> Cache:
        self._require_fits(length)
        sizes = self.family.kv_heads, self.family.head_size
        return places.empty(self.config.layers, batch, length, *sizes, self.dtype)

    def embed(
        self,
        params: Params,
        tokens: Int[Array, "B T"],
        *,
        positions: Int[Array, "B T"] | None = None,
        mask: Bool[Array, "B T"] | None = None,
        cache: Cache | None = None,
        key: PRNGKey | None = None,
    ) -> Float[Array, "B T d"]:
        self._require_fits(tokens.shape[1])
        if positions is None:
            positions = places.find(tokens, mask, cache).positions(len(tokens))
        module = self.parts["embed"].bind(params["embed"])
        return module(tokens, positions, _rngs(key, 0)).astype(self.dtype)

    def layers(
        self,
        params: Params,
        h: Float[Array, "B T d"],
        *,
        positions: Int[Array, "B T"] | None = None,
        mask: Bool[Array, "B T"] | None = None,
        cache: Cache | None = None,
        key: PRNGKey | None = None,
        first: int = 0,
    ) -> tuple[Float[Array, "B T d"], Cache | None]:
        family, rows = self.family, params["layers"]
        place = places.find(h, mask, cache)
        where = place.positions(len(h)) if positions is None else positions
        by = family.angles(where) if family.angles else None
        unmasked = mask is None and cache is None

        def body(carry: Any, row: Any) -> tuple[Any, None]:
            h, kept = carry
            layer, place_in_cache, params = row
            number = layer + first
            window = None if family.windows is None else jnp.asarray(family.windows)[number]
            causal = unmasked and window is None
            seen = None if causal else attention.visible(place.asked, place.held, window)
            mix = self._mixing(place, kept, place_in_cache, seen, number)
            module = self.parts["layers"].bind(params)
            return module(h, mix, by, _rngs(key, number + 1)), None

        kept = None if cache is None else (cache["keys"], cache["values"])
        body = _REMAT[self.computation.remat](body)
        with self.precise:
            if isinstance(rows, tuple):
                h, kept = _one_by_one(body, h, kept, rows)
            else:
                numbers = jnp.arange(len(jax.tree.leaves(rows)[0]))
                (h, kept), _ = lax.scan(body, (h, kept), (numbers, numbers, rows))
        if kept is None or place.lengths is None:
            return h, None
        return h, {"keys": kept[0], "values": kept[1], "lengths": place.lengths}

    def _mixing(
        self,
        place: Places,
        kept: Any,
        layer: Array | int,
        seen: attention.Seen | None,
        number: Array,
    ) -> Mix:
        def mix(q: Array, k: Array, v: Array, rngs: nnx.Rngs | None) -> tuple[Array, Any]:
            memory, attend = None, self.attend
            if kept is not None and place.slots is not None:
                memory = tuple(
                    places.put(old, layer, place.slots, new)
                    for old, new in zip(kept, (k, v), strict=True)
                )
                k, v = memory[0][layer], memory[1][layer]
                attend = partial(attention.kept, attend)
            if self.family.scaled_by_layer:
                q = q / (number + 1).astype(q.dtype)
            return attend(q, k, v, seen, self.config.attention_dropout, rngs), memory

        return mix

    def norm(self, params: Params, h: Float[Array, "B T d"]) -> Float[Array, "B T d"]:
        return self.parts["norm"].bind(params.get("norm", {}))(h)

    def hidden(
        self,
        params: Params,
        tokens: Int[Array, "B T"],
        *,
        positions: Int[Array, "B T"] | None = None,
        mask: Bool[Array, "B T"] | None = None,
        cache: Cache | None = None,
        key: PRNGKey | None = None,
    ) -> tuple[Float[Array, "B T d"], Cache | None]:
        given: Any = {"positions": positions, "mask": mask, "cache": cache, "key": key}
        h, cache = self.layers(params, self.embed(params, tokens, **given), **given)
        return self.norm(params, h), cache

    def logits(self, params: Params, h: Float[Array, "*s d"]) -> Float[Array, "*s V"]:
        cap = self.family.cap
        with self.precise:
            if self.family.head:
                logits = self.parts["head"].bind(params["head"])(h, None)
            else:
                logits = self.parts["embed"].bind(params["embed"]).tokens.unembed(h)
        return logits if cap is None else cap * jnp.tanh(logits / cap)

    def losses(
        self, params: Params, h: Float[Array, "B T d"], targets: Int[Array, "B T"]
    ) -> Float[Array, "B T"]:
        with self.precise:
            return cross_entropy.in_chunks(
                self.logits, self._of_logits(params), h, targets, self.computation.chunk
            )

    def _of_logits(self, params: Params) -> Params:
        name = "head" if self.family.head else "embed"
        return {name: params[name]}

    def loss(
        self,
        params: Params,
        tokens: Int[Array, "B T"],
        targets: Int[Array, "B T"],
        weights: Float[Array, "B T"],
        *,
        positions: Int[Array, "B T"] | None = None,
        mask: Bool[Array, "B T"] | None = None,
        key: PRNGKey | None = None,
    ) -> Float[Array, ""]:
        h, _ = self.hidden(params, tokens, positions=positions, mask=mask, key=key)
        labels, chunk = jnp.where(weights > 0, targets, 0), self.computation.chunk
        with self.precise:
            total = cross_entropy.total(
                self.logits, self._of_logits(params), h, labels, weights, chunk
            )
        count = weights.sum()
        return total / jnp.where(count > 0, count, 1)

    def _require_fits(self, length: int) -> None:
        longest = self.family.longest
        if longest is not None and length > longest:
            raise UsageError(f"a text of {length} tokens is longer than language.context={longest}")


def _one_by_one(body: Any, h: Array, kept: Any, rows: tuple[Params, ...]) -> tuple[Array, Any]:
    """Runs layers that stand apart; a cache is a stack all the same, or stands apart likewise."""
    if kept is None or not isinstance(kept[0], tuple):
        for number, row in enumerate(rows):
            (h, kept), _ = body((h, kept), (jnp.asarray(number), number, row))
        return h, kept
    after = []
    for number, (row, *own) in enumerate(zip(rows, *kept, strict=True)):
        (h, memory), _ = body((h, tuple(own)), (jnp.asarray(number), 0, row))
        after.append(memory)
    return h, tuple(zip(*after, strict=True))


def _rngs(key: PRNGKey | None, number: Any) -> nnx.Rngs | None:
    """Returns what draws dropout in layer number - 1 of the whole network, or in the embedding."""
    return None if key is None else nnx.Rngs(dropout=jax.random.fold_in(key, number))

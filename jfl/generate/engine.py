"""What runs on the device: prompts into a cache, and several tokens of all rows per call.

The device keeps keys, values and which tokens each row has seen. All else of a row is a few numbers
that the host has and hands over with every call, so rows may come and go between calls.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, UInt32

from jfl.generate.sampling import Knobs, choose
from jfl.models.language import base, places, turned
from jfl.models.language.base import Computation, LanguageModel
from jfl.types import Params

_SMALLEST = 16


class Rows(NamedTuple):
    """What the host knows of each slot."""

    tokens: Any
    """[B] the newest token of each, which is not in the cache yet."""
    lengths: Any
    """[B] tokens in the cache."""
    going: Any
    """[B] whether there is a row that goes on."""
    left: Any
    """[B] tokens that may still come."""
    made: Any
    """[B] tokens that have come."""
    keys: Any
    """[B, 2] the data of random keys."""
    stops: Any
    """[B, E] tokens that end a row; -1 is none."""
    pauses: Any
    """[B, E] tokens that pause it."""
    forced: Any
    """[B, K] tokens that come next, whatever the network thinks."""
    due: Any
    """[B] how many of them there are."""
    knobs: Knobs


class Held(NamedTuple):
    """What the device keeps between calls, for B rows."""

    cache: dict[str, tuple[Array, ...]]
    """`keys` and `values`, for each layer [1, B, K, S, h]."""
    seen: Bool[Array, "B V"]


@dataclass(frozen=True)
class Engine:
    """Programs on one network; what is `Held` is given away and given back."""

    params: Params
    empty: Callable[[], Held]
    prefill: Callable[..., dict[str, Any]]
    """`prefill(params, tokens [1, T], count)`: keys and values of a text's first `count` tokens."""
    insert: Callable[..., Held]
    """`insert(held, kept, seen [V], row)`: a prefilled text becomes a row."""
    decode: Callable[..., tuple[Held, Int[Array, "B K"]]]
    """`decode(params, held, rows)`: up to K new tokens of each row; -1 where there is none."""


def buckets(length: int) -> list[int]:
    """Returns the lengths that prompts are padded to: a third of them is padding at the most."""
    sizes = [_SMALLEST << n for n in range(32)]
    steps = sorted(sizes + [size * 3 // 2 for size in sizes])
    return [size for size in steps if size < length] + [length]


def build(model: LanguageModel, params: Params, slots: int, length: int) -> Engine:
    """Lays a network out for decoding; K is the width of `rows.forced`."""
    dtype = "bf16" if model.cache(1, 1)["keys"].dtype == jnp.bfloat16 else "float32"
    network = base.build(model.config, Computation(dtype=dtype), turned.wrap(params))
    vocabulary = model.config.vocabulary

    def empty() -> Held:
        cache = places.apart(network.cache(slots, length))
        return Held(_kept(cache), jnp.zeros((slots, vocabulary), bool))

    def prefill(params: Params, tokens: Array, count: Array) -> dict[str, Any]:
        mask = jnp.arange(tokens.shape[1])[None] < count
        cache = places.apart(network.cache(1, tokens.shape[1]))
        return _kept(network.hidden(params, tokens, mask=mask, cache=cache)[1])

    def insert(held: Held, kept: dict[str, Any], seen: Array, row: Array) -> Held:
        def put(old: Array, new: Array) -> Array:
            return lax.dynamic_update_slice(old, new, (0, row, 0, 0, 0))

        return Held(jax.tree.map(put, held.cache, kept), held.seen.at[row].set(seen))

    return Engine(
        base.apart(turned.params(params)),
        jax.jit(empty),
        jax.jit(prefill),
        jax.jit(insert, donate_argnums=0),
        jax.jit(partial(_decode, network), donate_argnums=1),
    )


def renewed(engine: Engine, params: Params | None) -> Engine:
    """Returns the same programs on other weights; None: on none yet."""
    return replace(engine, params={} if params is None else base.apart(turned.params(params)))


def _kept(cache: Any) -> dict[str, Any]:
    return {name: cache[name] for name in ("keys", "values")}


class _Carry(NamedTuple):
    number: Int[Array, ""]
    held: Held
    tokens: Int[Array, " B"]
    lengths: Int[Array, " B"]
    going: Bool[Array, " B"]
    made: Int[Array, "B K"]


def _decode(
    network: LanguageModel, params: Params, held: Held, rows: Rows
) -> tuple[Held, Int[Array, "B K"]]:
    rows = jax.tree.map(jnp.asarray, rows)
    steps = rows.forced.shape[1]
    every = jnp.arange(len(rows.tokens))

    def more(carry: _Carry) -> Array:
        return (carry.number < steps) & carry.going.any()

    def step(carry: _Carry) -> _Carry:
        number, going, seen = carry.number, carry.going, carry.held.seen
        cache: Any = carry.held.cache | {"lengths": carry.lengths}
        h, cache = network.hidden(params, carry.tokens[:, None], mask=going[:, None], cache=cache)
        keys = _keys(rows.keys, rows.made + number)
        chosen = choose(network.logits(params, h[:, 0]), seen, rows.knobs, keys)
        forced = number < rows.due
        tokens = jnp.where(forced, rows.forced[:, number], chosen)
        halts = ~forced & (_among(tokens, rows.stops) | _among(tokens, rows.pauses))
        return _Carry(
            number + 1,
            # a row that does not go on marks nothing: its column is out of bounds
            Held(_kept(cache), seen.at[every, jnp.where(going, tokens, seen.shape[1])].set(True)),
            jnp.where(going, tokens, carry.tokens),
            cache["lengths"],
            going & ~halts & (number + 1 < rows.left),
            carry.made.at[:, number].set(jnp.where(going, tokens, -1)),
        )

    made = jnp.full(rows.forced.shape, -1, jnp.int32)
    start = _Carry(jnp.asarray(0), held, rows.tokens, rows.lengths, rows.going, made)
    end = lax.while_loop(more, step, start)
    return end.held, end.made


def _keys(data: UInt32[Array, "B 2"], numbers: Int[Array, " B"]) -> Any:
    return jax.vmap(jax.random.fold_in)(jax.random.wrap_key_data(data), numbers)


def _among(tokens: Int[Array, " B"], ends: Int[Array, "B E"]) -> Bool[Array, " B"]:
    return (tokens[:, None] == ends).any(axis=1)

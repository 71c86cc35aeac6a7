"""How adapters of several clients become one: what trains, what is mixed, and how.

Source: fedit: Zhang et al., "Towards Building the Federated GPT: Federated Instruction Tuning",
2023. ffa: Sun et al., ICLR 2024. stack: Wang et al., "FLoRA", NeurIPS 2024. svd: Bai et al.,
"Federated Fine-tuning of Large Language Models under Heterogeneous Tasks and Client Resources",
2024.
Departs from it: of stack, what was aggregated is kept beside the base in full size rather than in
it, as the base is shared by all; the first factor goes on from the clients' mean, not anew.
"""

from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jfl import tree
from jfl.adapters import averages, lora
from jfl.adapters.base import merged
from jfl.adapters.lora import LORA
from jfl.models.base import Model
from jfl.types import Params, PRNGKey

Rule = Literal["fedit", "ffa", "stack", "svd"]
RULES: tuple[Rule, ...] = get_args(Rule)
MERGED = "merged"
"""The key of `params` under which `stack` keeps what was aggregated."""
_A = f".{LORA}.a"


def applied(rule: Rule, config: lora.Config, model: Model) -> Model:
    """Returns an adapted model, such that `model.mix` aggregates by a rule."""
    if rule == "ffa":
        return replace(_frozen_a(model), mean_error=_exact)
    if rule == "stack":
        return replace(_stacking(config, model), mean_error=_exact)
    mix = averages.mix_products if rule == "svd" else model.mix
    return replace(model, mix=mix, mean_error=partial(averages.error, scale_of=config.scale_of))


def whole(rule: Rule, config: lora.Config, params: Params, frozen: Params) -> Params:
    """Returns the weights of the network without an adapter that compute what a model computes."""
    base, adapter = frozen["base"], params
    if rule == "ffa":
        adapter = tree.merge(frozen["a"], params)
    if rule == "stack":
        base, adapter = _summed(base, params)
    return merged(config, adapter, base)


def _exact(*_: Any) -> Float[Array, ""]:
    return jnp.zeros(())


def _summed(base: Params, params: Params) -> tuple[Params, Params]:
    """Returns the base with what `stack` has added up, and the adapter beside it."""
    for path, leaf in tree.paths(params[MERGED]).items():
        base = tree.merge(base, tree.nested({path: tree.at(base, path) + leaf}))
    return base, {name: child for name, child in params.items() if name != MERGED}


def _frozen_a(model: Model) -> Model:
    """The first matrix of each pair stays as it was drawn; means of the second are exact."""

    def split(params: Params) -> tuple[Params, Params]:
        flat = tree.paths(params)
        parts = ({p: v for p, v in flat.items() if p.endswith(_A) == own} for own in (False, True))
        trained, fixed = map(tree.nested, parts)
        return trained, fixed

    def init(key: PRNGKey) -> tuple[Params, Params]:
        params, frozen = model.init(key)
        trained, fixed = split(params)
        return trained, frozen | {"a": fixed}

    def whole(params: Params, frozen: Params) -> tuple[Params, Params]:
        return tree.merge(frozen["a"], params), frozen

    order = tuple(path for path in model.order if not path.endswith(_A))
    return replace(model.through(whole), init=init, order=order)


def _stacking(config: lora.Config, model: Model) -> Model:
    """Products are added up beside the base; the second matrix begins anew."""

    def init(key: PRNGKey) -> tuple[Params, Params]:
        params, frozen = model.init(key)
        sums = {}
        for path, _ in averages.pairs(params):
            layer = tree.at(frozen["base"], path)
            (name,) = (name for name in ("kernel", "embedding") if name in layer)
            sums[f"{path}.{name}"] = jnp.zeros_like(layer[name])
        return params | {MERGED: tree.nested(sums)}, frozen

    def whole(params: Params, frozen: Params) -> tuple[Params, Params]:
        base, adapter = _summed(frozen["base"], params)
        return adapter, frozen | {"base": base}

    def mix(matrix: Float[Array, "K P"], stacked: Params) -> Params:
        mixed = tree.mix(matrix, stacked)
        sums = tree.paths(mixed[MERGED])
        for path, factors in averages.pairs(stacked):
            place = next(known for known in sums if known.rpartition(".")[0] == path)

            def product(weights: Array, factors: averages.Factors = factors) -> Array:
                pair = averages.side_by_side(weights, factors)
                return jnp.matmul(*pair, precision=tree.HIGHEST)

            added = config.scale_of(path) * jax.lax.map(product, matrix)
            sums[place] = sums[place] + added.reshape(sums[place].shape)
            b = jnp.zeros_like(tree.at(mixed, f"{path}.{LORA}.b"))
            mixed = tree.merge(mixed, tree.nested({f"{path}.{LORA}.b": b}))
        return mixed | {MERGED: tree.nested(sums)}

    shapes = jax.eval_shape(lambda: init(jax.random.key(0))[0])
    order = (*model.order, *(f"{MERGED}.{path}" for path in tree.paths(shapes[MERGED])))
    return replace(model.through(whole), init=init, mix=mix, fixed=(MERGED,), order=order)


def truncated(params: Params, rank: Any) -> Params:
    """Returns an adapter of which only the first `rank` of each layer's ranks are not zero."""
    for path, (a, _) in averages.pairs(params):
        kept = jnp.arange(a.shape[-1]) < rank
        own = tree.at(params, f"{path}.{LORA}")
        cut = {"a": jnp.where(kept, own["a"], 0), "b": jnp.where(kept[:, None], own["b"], 0)}
        params = tree.merge(params, tree.nested({f"{path}.{LORA}": cut}))
    return params

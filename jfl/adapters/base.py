"""A network with an adapter: what trains, what stays, and both put together.

The weights that stay are one copy without a client axis, an argument of every function; what trains
is a small tree of its own. Both are nested dicts in the places of the network's own layers.
"""

import zlib
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx

from jfl import tree
from jfl.adapters import lora
from jfl.adapters.lora import LORA, Config, Wrapping, fits
from jfl.models.base import Model
from jfl.models.language import base as languages
from jfl.models.language.base import Computation, LanguageModel
from jfl.types import Params, PRNGKey

_WEIGHTS = ("kernel", "embedding")


@dataclass(frozen=True)
class Adapted:
    """A network of language with an adapter; the functions of `model` take what `whole` returns."""

    config: Config
    model: LanguageModel
    paths: tuple[str, ...]
    """The layers beside which something stands."""

    def init(self, key: PRNGKey, base: Params) -> Params:
        """Returns what trains, as it starts; the network then computes what it did without."""
        shapes = jax.eval_shape(self.model.init, jax.random.key(0))
        return drawn(self.config, shapes, key, base)

    def whole(self, adapter: Params, base: Params) -> Params:
        """Returns the tree that the model takes; see `whole`."""
        return whole(adapter, base)

    def merged(self, adapter: Params, base: Params) -> Params:
        """Returns weights of the network without an adapter that compute the same."""
        return merged(self.config, adapter, base)


def whole(adapter: Params, base: Params) -> Params:
    """Returns the tree that a network with an adapter takes.

    The layers of one of language may be a stack in the base, or stand apart (`languages.apart`). Of
    the base nothing is copied.
    """
    if isinstance(base.get("layers"), tuple) and "layers" in adapter:
        own = languages.apart(adapter)["layers"]
        pairs = zip(base["layers"], own, strict=True)
        adapter = adapter | {"layers": tuple(tree.merge(*pair) for pair in pairs)}
    return tree.merge(base, adapter)


def build(
    config: Config, network: languages.Config, computation: Computation | None = None
) -> Adapted:
    """Puts an adapter on a network of language.

    Raises:
        UsageError: a pattern fits no layer, or a rank is above one of a layer's sides.
    """
    wrap = Wrapping(config)
    model = languages.build(network, computation, wrap)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0)))
    wrap.require_fit(network.name, [path for path, _ in layers(shapes)])
    return Adapted(config, model, tuple(dict.fromkeys(wrap.paths)))


def beside(config: Config, name: str, model: Model) -> Model:
    """Puts an adapter on a network of a federation.

    Returns:
        A model whose `params` are the adapter and whose `frozen` are the weights that stay; its
        `init(key)` draws both.

    Raises:
        UsageError: as `build`.
    """
    wrap = Wrapping(config)
    wrapped = model.wrapped(wrap, _seeded if config.dropout else None)
    shapes, _ = jax.eval_shape(lambda: wrapped.init(jax.random.key(0)))
    wrap.require_fit(name, [path for path, _ in layers(shapes)])
    key = jax.eval_shape(lambda: jax.random.key(0))
    trained = tree.paths(jax.eval_shape(lambda key: drawn(config, shapes, key, shapes), key))

    def init(key: PRNGKey) -> tuple[Params, Params]:
        base, frozen = model.init(key)
        adapter = drawn(config, shapes, jax.random.fold_in(key, zlib.crc32(b"lora")), base)
        return adapter, {"base": base, "frozen": frozen}

    def both(params: Params, frozen: Params) -> tuple[Params, Params]:
        return whole(params, frozen["base"]), frozen["frozen"]

    order = tuple(path for path in wrapped.order if path in trained)
    return replace(wrapped.through(both), init=init, order=order)


def _seeded(module: nnx.Module, rngs: nnx.Rngs) -> None:
    """Gives the adapted layers of a network that classifies what their dropout draws from."""
    if isinstance(module, lora.CLASSIFYING):
        module.rngs = rngs
    for child in list(vars(module).values()):
        if isinstance(child, nnx.Module) and not isinstance(child, nnx.Rngs):
            _seeded(child, rngs)


def drawn(config: Config, shapes: Params, key: PRNGKey, base: Params) -> Params:
    """Returns an adapter as it starts, of all weights' shapes: matrices, and layers that train."""
    found: Params = {}
    for path, layer in layers(shapes):
        own: Params = {}
        if any(fits(path, pattern) for pattern in config.trains):
            own |= {name: leaf for name, leaf in tree.at(base, path).items() if name != LORA}
        if LORA in layer:
            keyed = jax.random.fold_in(key, zlib.crc32(path.encode()))
            own[LORA] = lora.draw(layer[LORA], keyed, table="embedding" in layer)
        if own:
            found = tree.merge(found, tree.nested({path: own}))
    return found


def merged(config: Config, adapter: Params, base: Params) -> Params:
    """Returns the weights W + s a b, and those that trained, in place of the base's own."""
    found = base
    for path, own in layers(adapter):
        layer = tree.at(base, path) | {name: leaf for name, leaf in own.items() if name != LORA}
        if LORA in own:
            (name,) = (name for name in _WEIGHTS if name in layer)
            a, b = own[LORA]["a"], own[LORA]["b"]
            product = jnp.matmul(a, b, precision=tree.HIGHEST)
            layer |= {name: layer[name] + config.scale_of(path) * product}
        found = tree.merge(found, tree.nested({path: layer}))
    return found


def layers(params: Params, prefix: str = "") -> list[tuple[str, Params]]:
    """Returns the dicts that hold weights or matrices themselves, by dotted path."""
    found = []
    for name, child in params.items():
        if not isinstance(child, dict):
            continue
        path = f"{prefix}{name}"
        if LORA in child or any(not isinstance(leaf, dict) for leaf in child.values()):
            found.append((path, child))
        else:
            found += layers(child, f"{path}.")
    return found

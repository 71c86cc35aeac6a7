"""What every network is to the rest of jfl: plain functions on nested dicts of arrays.

Those of this folder classify; those of language (language/next_token.py) tell what follows.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from flax import nnx
from jaxtyping import Array, Float, Shaped

from jfl import plugins, tree
from jfl.config import Section
from jfl.models.layers import Init, Lowering
from jfl.types import Params, PRNGKey

Wrap = Callable[[str, Any], Any]
"""`wrap(path, layer) -> layer`: what stands at a path such as `fc1`; called for each layer."""
Seeded = Callable[[Any, nnx.Rngs], None]
"""`seeded(module, rngs)`: gives random streams to layers that `features` passes none."""

HEAD = "head"
"""The key of `params` under which every network keeps its projection head, and nothing else."""


class Config(Section):
    """Settings all models share."""

    name: str
    init: Init = "torch"
    """Initial weights: PyTorch's uniform(+-1/sqrt(fan_in)), or Flax's LeCun normal, zero bias."""

    def for_words(self, largest: int) -> "Config":
        """Returns the settings for texts whose largest word number this is."""
        del largest
        return self


class Network(Protocol):
    """A Flax nnx module with a backbone and a projection head.

    Its attributes name the keys of `params`, so a row of layers is `fc1`, `fc2`, not a list.
    """

    head: Callable[[Array], Array]
    """The layer from features [B, d] to logits [B, C]: a submodule, hence the key HEAD."""

    def features(self, x: Shaped[Array, "B ..."], *, rngs: nnx.Rngs | None) -> Float[Array, "B d"]:
        """Returns what the head sees; `rngs` feeds dropout, None means evaluation."""
        ...


@dataclass(frozen=True)
class Model:
    """A network as functions; `params` train, `frozen` do not. `key=None` means evaluation."""

    init: Callable[[PRNGKey], tuple[Params, Params]]
    """`init(key) -> params, frozen`: float32 leaves."""
    apply: Callable[..., Float[Array, "B C"]]
    """`apply(params, frozen, x, *, key=None) -> logits`; x is [B, *input_shape]: float images or
    features, or int32 words."""
    features: Callable[..., Float[Array, "B d"]]
    """`features(params, frozen, x, *, key=None) -> z`: what the head sees."""
    head: Callable[..., Float[Array, "B C"]]
    """`head(params, frozen, z) -> logits`, from `params[HEAD]`."""
    input_shape: tuple[int, ...]
    num_classes: int
    wrapped: Callable[[Wrap, "Seeded | None"], "Model"]
    """`wrapped(wrap, seeded) -> model`: the same with something put around its layers."""
    order: tuple[str, ...]
    """Dotted paths of all weights, as the network defines them: PyTorch's order."""
    mix: Callable[[Float[Array, "K P"], Params], Params] = tree.mix
    """`mix(matrix, stacked) -> stacked`: K models, each a weighted sum of P models."""
    fixed: tuple[str, ...] = ()
    """Keys of `params` that local training leaves as they are."""
    mean_error: Callable[..., Float[Array, ""]] | None = None
    """`mean_error(weights, stacked, mean)`: how far a mean is from that of what models compute, as
    a share of its size; None where a mean of weights is all there is."""
    losses: Callable[..., Float[Array, " B"]] | None = None
    """`losses(params, frozen, x, *, key=None)`: nats a token of each window, of a network of
    language; None = it is trained by the cross entropy of logits and labels."""
    loss: Callable[..., Float[Array, ""]] | None = None
    """`loss(params, frozen, x, weights, *, key=None)`: the weighted sum of `losses`."""

    def through(self, whole: "Whole") -> "Model":
        """Returns the model whose functions see what `whole(params, frozen)` makes of both."""

        def put(function: Callable[..., Any]) -> Callable[..., Any]:
            def called(params: Params, frozen: Params, *given: Any, **rest: Any) -> Any:
                return function(*whole(params, frozen), *given, **rest)

            return called

        functions = {name: getattr(self, name) for name in _FUNCTIONS}
        return replace(self, **{name: put(f) for name, f in functions.items() if f is not None})

    def in_order(self, params: Params) -> Params:
        """Returns weights as dicts in that order; JAX sorts the keys of what it returns."""
        flat = tree.paths(params)
        return tree.nested({path: flat[path] for path in self.order})


Whole = Callable[[Params, Params], tuple[Params, Params]]
"""`whole(params, frozen) -> params, frozen`."""
_FUNCTIONS = ("apply", "features", "head", "losses", "loss")


def build(
    config: Config, input_shape: tuple[int, ...], num_classes: int, lowering: Lowering
) -> Model:
    """Builds the model a config names for samples of one shape.

    Raises:
        UsageError: there is no such model, or it cannot take samples of this shape.
    """
    module = plugins.load("model", config.name)
    return module.build(config, input_shape, num_classes, lowering)


def takes_words(config: Config) -> bool:
    """Tells whether a network takes texts as rows of word numbers: it has no `image_size`."""
    return not hasattr(plugins.load("model", config.name), "image_size")


def functional(
    network: Callable[[nnx.Rngs], Any],
    input_shape: tuple[int, ...],
    num_classes: int,
    seeded: Seeded | None = None,
) -> Model:
    """Turns an nnx module into a Model. Only split, merge and to_pure_dict are used of nnx.

    Args:
        network: makes the module.
        input_shape: of one sample.
        num_classes: of the logits.
        seeded: gives random streams to layers; None = none but `features` needs any.
    """
    order: list[str] = []

    def traced() -> Any:
        module = network(nnx.Rngs(0))
        order.extend(_defined(module))
        return module

    graphdef, *_ = nnx.split(nnx.eval_shape(traced), nnx.Param, ...)

    def init(key: PRNGKey) -> tuple[Params, Params]:
        _, params, frozen = nnx.split(network(nnx.Rngs(key)), nnx.Param, ...)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(frozen)

    def made(params: Params, frozen: Params, key: PRNGKey | None) -> tuple[Any, nnx.Rngs | None]:
        module = nnx.merge(graphdef, params, frozen)
        if key is None:
            return module, None
        rngs = nnx.Rngs(dropout=key)
        if seeded is not None:
            seeded(module, rngs)
        return module, rngs

    def features(
        params: Params, frozen: Params, x: Shaped[Array, "B ..."], *, key: PRNGKey | None = None
    ) -> Float[Array, "B d"]:
        module, rngs = made(params, frozen, key)
        return module.features(x, rngs=rngs)

    def head(params: Params, frozen: Params, z: Float[Array, "B d"]) -> Float[Array, "B C"]:
        return made(params, frozen, None)[0].head(z)

    def apply(
        params: Params, frozen: Params, x: Shaped[Array, "B ..."], *, key: PRNGKey | None = None
    ) -> Float[Array, "B C"]:
        module, rngs = made(params, frozen, key)
        return module.head(module.features(x, rngs=rngs))

    def wrapped(wrap: Wrap, seeded: Seeded | None) -> Model:
        def made(rngs: nnx.Rngs) -> Any:
            return _wrapped(network(rngs), "", wrap)

        return functional(made, input_shape, num_classes, seeded)

    return Model(
        init, apply, features, head, input_shape, num_classes, wrapped, tuple(dict.fromkeys(order))
    )


def _wrapped(module: nnx.Module, prefix: str, wrap: Wrap) -> nnx.Module:
    for name, child in list(vars(module).items()):
        if isinstance(child, nnx.Module):
            path = f"{prefix}{name}"
            setattr(module, name, _wrapped(wrap(path, child), f"{path}.", wrap))
    return module


def _defined(module: nnx.Module, prefix: str = "") -> list[str]:
    """Returns the paths of a module's weights in the order of its attributes, or its `ordered`."""
    found: list[str] = []
    for name, child in vars(module).items():
        if isinstance(child, nnx.Param):
            found.append(f"{prefix}{name}")
        elif isinstance(child, nnx.Module):
            found += _defined(child, f"{prefix}{name}.")
    return getattr(module, "ordered", list)(found)

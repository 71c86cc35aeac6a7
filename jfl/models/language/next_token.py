"""A network of language as a model of a federation: windows of tokens, each to tell the next one.

A window [L + 1] holds L tokens that are seen and, one place further, the L that follow them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jfl import tree
from jfl.errors import UsageError
from jfl.models.base import HEAD, Model
from jfl.models.language import base as languages
from jfl.models.language.base import Computation, LanguageModel
from jfl.models.language.maker import Wrap, unwrapped
from jfl.types import Params, PRNGKey

_PARTS = ("embed", "layers", "norm", HEAD)


def sized(config: languages.Config, vocabulary: int, window: int) -> languages.Config:
    """Returns the settings for texts of a tokenizer; a size that is None is as the texts need it.

    Args:
        config: of the network.
        vocabulary: tokens of the tokenizer.
        window: tokens that are seen at a time.

    Raises:
        UsageError: one that is set is too small.
    """
    needs = {"vocabulary": vocabulary, "context": window}
    given = {name: size for name in needs if (size := getattr(config, name)) is not None}
    for name, value in given.items():
        if value < needs[name]:
            raise UsageError(
                f"model.{name}={value} is below the {needs[name]} of the data; set it higher, or "
                "leave it out"
            )
    return config.model_copy(update=needs | given)


def build(config: languages.Config, window: int, wrap: Wrap = unwrapped) -> Model:
    """Returns the network as functions of windows.

    Its `features` are those behind the last norm [B, L, d], and logits are [B, L, V]. What is
    given as bfloat16 is computed so.

    Raises:
        UsageError: there is no such network.
    """
    full = languages.build(config, Computation(), wrap)
    half = languages.build(config, Computation(dtype="bf16"), wrap)

    def computed(params: Params) -> tuple[LanguageModel, Params]:
        if not any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(params)):
            return full, params
        # the network rounds its products itself, and norms are not to be rounded
        return half, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)

    def features(
        params: Params, frozen: Params, x: Int[Array, "B M"], *, key: PRNGKey | None = None
    ) -> Float[Array, "B L d"]:
        del frozen
        network, params = computed(params)
        return network.hidden(params, x[:, :-1], key=key)[0]

    def head(params: Params, frozen: Params, z: Float[Array, "B L d"]) -> Float[Array, "B L V"]:
        del frozen
        network, params = computed(params)
        return network.logits(params, z)

    def apply(
        params: Params, frozen: Params, x: Int[Array, "B M"], *, key: PRNGKey | None = None
    ) -> Float[Array, "B L V"]:
        return head(params, frozen, features(params, frozen, x, key=key))

    def losses(
        params: Params, frozen: Params, x: Int[Array, "B M"], *, key: PRNGKey | None = None
    ) -> Float[Array, " B"]:
        z = features(params, frozen, x, key=key)
        network, params = computed(params)
        return network.losses(params, z, x[:, 1:]).mean(axis=1)

    def loss(
        params: Params,
        frozen: Params,
        x: Int[Array, "B M"],
        weights: Float[Array, " B"],
        *,
        key: PRNGKey | None = None,
    ) -> Float[Array, ""]:
        del frozen
        seen, told = x[:, :-1], x[:, 1:]
        each = jnp.broadcast_to(weights[:, None], told.shape).astype(jnp.float32)
        network, params = computed(params)
        return network.loss(params, seen, told, each, key=key) * weights.sum()

    shapes = jax.eval_shape(full.init, jax.random.key(0))
    order = [
        f"{part}.{path}" for part in _PARTS if part in shapes for path in tree.paths(shapes[part])
    ]
    return Model(
        init=lambda key: (full.init(key), {}),
        apply=apply,
        features=features,
        head=head,
        input_shape=(window + 1,),
        num_classes=config.vocabulary,
        wrapped=_wrapped(config, window),
        order=tuple(order),
        losses=losses,
        loss=loss,
    )


def _wrapped(config: languages.Config, window: int) -> Callable[[Wrap, Any], Model]:
    def wrapped(wrap: Wrap, seeded: Any) -> Model:
        del seeded  # each layer is given what dropout draws from
        return build(config, window, wrap)

    return wrapped

"""A function forwards, and backwards later in a program of its own, by what the first one kept.

What it keeps leaves out the frozen weights, which are there anyway: without that, layers that stand
apart would be copied in every step.
"""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from jfl.models.language import base as languages
from jfl.types import Params

_WIDE = 512
"""Features from which on layers stand apart: then a step is faster by more than compiling costs."""


def placed(base: Params, width: int) -> Params:
    """Returns frozen weights on the device, in the form that is fastest."""
    base = jax.device_put(base)
    count = len(jax.tree.leaves(base["layers"])[0])
    return languages.apart(base) if width >= _WIDE and count else base


class Kept:
    """`run(adapter, base, *inputs)`, of which gradients are by adapter and the last input.

    Where that is of whole numbers, as tokens are, they are by the adapter alone.
    """

    def __init__(self, run: Callable[..., Array], *, by_input: bool = True) -> None:
        self._run, self._by_input = run, by_input
        self._forms: dict[Any, tuple[Any, list[int | None]]] = {}
        self._keep: Any
        self._pull: Any
        self._keep, self._pull = jax.jit(self._kept), jax.jit(self._pulled, static_argnums=0)

    def keep(self, adapter: Params, base: Params, *inputs: Array) -> tuple[Array, Any]:
        """Returns the result, and what `pull` wants to have again."""
        out, own = self._keep(adapter, base, *inputs)
        return out, (_form(adapter, inputs), own)

    def pull(self, kept: Any, base: Params, gradient: Array) -> Any:
        """Returns the gradients, given that of the result."""
        form, own = kept
        return self._pull(form, own, base, gradient)

    def clear_cache(self) -> None:
        """Forgets what was compiled; what `keep` has returned can still be pulled."""
        self._keep.clear_cache()
        self._pull.clear_cache()

    def _kept(self, adapter: Params, base: Params, *inputs: Array) -> tuple[Array, list[Array]]:
        *rest, last = inputs
        if self._by_input:
            out, pull = jax.vjp(lambda a, x: self._run(a, base, *rest, x), adapter, last)
        else:
            out, pull = jax.vjp(lambda a: self._run(a, base, *inputs), adapter)
        frozen = {id(leaf): number for number, leaf in enumerate(jax.tree.leaves(base))}
        leaves, structure = jax.tree.flatten(pull)
        places = [frozen.get(id(leaf)) for leaf in leaves]
        self._forms[_form(adapter, inputs)] = structure, places
        return out, [leaf for leaf in leaves if id(leaf) not in frozen]

    def _pulled(self, form: Any, own: list[Array], base: Params, gradient: Array) -> Any:
        structure, places = self._forms[form]
        frozen, left = jax.tree.leaves(base), iter(own)
        leaves = [next(left) if place is None else frozen[place] for place in places]
        return jax.tree.unflatten(structure, leaves)(gradient)


def _form(adapter: Params, inputs: tuple[Array, ...]) -> Any:
    """Returns the shapes on which a program depends."""
    return (
        tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(adapter)),
        tuple((value.shape, str(value.dtype)) for value in inputs),
    )

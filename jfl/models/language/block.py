"""One layer of a decoder: attention, then a feed-forward part, each beside a shortcut.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, whose norms
stand before the parts ("pre-norm"), as in all networks here.
"""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from jfl.models.language.rotary import Angles
from jfl.models.layers import dropout

Mix = Callable[[Array, Array, Array, nnx.Rngs | None], tuple[Array, Any]]
"""`mix(q, k, v, rngs) -> mixed, memory`: what queries read, and what is kept of keys and values."""


class Block(nnx.Module):
    """The layer; `rate` of what each part adds is dropped in training.

    `attention` has `project(x, by, rngs) -> q, k, v`, which are [B, T, heads, h] and turned by `by`
    where positions are rotary, and `out(mixed, rngs)`; `mlp` is called with x and rngs.
    """

    def __init__(self, *, norm1: Any, attention: Any, norm2: Any, mlp: Any, rate: float):
        self.norm1, self.attention, self.norm2, self.mlp = norm1, attention, norm2, mlp
        self.rate = rate

    def __call__(
        self, x: Float[Array, "B T d"], mix: Mix, by: Angles | None, rngs: nnx.Rngs | None
    ) -> tuple[Float[Array, "B T d"], Any]:
        """Returns the features after the layer, and the memory of `mix`."""
        q, k, v = self.attention.project(self.norm1(x), by, rngs)
        mixed, memory = mix(q, k, v, rngs)
        added = self.attention.out(mixed.reshape(*mixed.shape[:2], -1), rngs)
        x = x + dropout(added, self.rate, rngs)
        return x + dropout(self.mlp(self.norm2(x), rngs), self.rate, rngs), memory

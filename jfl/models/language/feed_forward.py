"""What a block does to each position alone: an MLP with GELU, or with a gate (SwiGLU)."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from jfl.models.language.layers import beside
from jfl.models.language.maker import Maker


class GeluMlp(nnx.Module):
    """Up, GELU in its tanh form, down.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """

    def __init__(self, width: int, inner: int, make: Maker, *, shrunk: float):
        self.up = make.dense("layers.mlp.up", width, inner, bias=True)
        self.down = make.dense("layers.mlp.down", inner, width, bias=True, shrunk=shrunk)

    def __call__(self, x: Float[Array, "B T d"], rngs: nnx.Rngs | None) -> Float[Array, "B T d"]:
        """Maps each position."""
        return self.down(jax.nn.gelu(self.up(x, rngs), approximate=True), rngs)


class SwiGlu(nnx.Module):
    """silu(gate) times up, then down.

    Source: Shazeer, "GLU Variants Improve Transformer", 2020.
    """

    def __init__(self, width: int, inner: int, make: Maker, *, bias: bool):
        self.gate = make.dense("layers.mlp.gate", width, inner, bias=bias)
        self.up = make.dense("layers.mlp.up", width, inner, bias=bias)
        self.down = make.dense("layers.mlp.down", inner, width, bias=bias)

    def __call__(self, x: Float[Array, "B T d"], rngs: nnx.Rngs | None) -> Float[Array, "B T d"]:
        """Maps each position."""
        gate, up = beside((self.gate, self.up), x, rngs)
        return self.down(jax.nn.silu(gate) * up, rngs)

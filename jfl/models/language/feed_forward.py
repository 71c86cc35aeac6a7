"""What a block does to each position alone: an MLP with GELU, a gate (SwiGLU), or squared ReLU."""

import jax
import jax.numpy as jnp
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


class SquaredRelu(nnx.Module):
    """Up, the square of what is above 0, down; nothing comes out at first.

    Source: So, Manke, Liu, Dai, Shazeer and Le, "Primer: Searching for Efficient Transformers for
    Language Modeling", NeurIPS 2021.
    """

    def __init__(self, width: int, inner: int, make: Maker):
        self.up = make.dense("layers.mlp.up", width, inner, bias=False)
        self.down = make.dense("layers.mlp.down", inner, width, bias=False, shrunk=0.0)

    def __call__(self, x: Float[Array, "B T d"], rngs: nnx.Rngs | None) -> Float[Array, "B T d"]:
        """Maps each position."""
        return self.down(jnp.square(jax.nn.relu(self.up(x, rngs))), rngs)

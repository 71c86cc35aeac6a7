"""How the modules of one network are made: their initial weights, and what is put around them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flax import nnx

from jfl.models.language.layers import Dense, Draw, Embedding, Head, normal

Wrap = Callable[[str, Any], Any]
"""`wrap(path, layer) -> layer`: what stands at a path such as `layers.attention.qkv`.

It is asked for every Dense, Embedding and Head, and may return a module that is called likewise.
"""


def unwrapped(path: str, layer: Any) -> Any:
    """Returns the layer as it is."""
    del path
    return layer


@dataclass(frozen=True)
class Maker:
    """Makes layers; `std` is that of their initial weights, `draw` draws those of affine maps."""

    rngs: nnx.Rngs
    std: float
    wrap: Wrap
    draw: Draw = normal

    def dense(
        self, path: str, inputs: int, outputs: int, *, bias: bool, shrunk: float = 1.0
    ) -> Any:
        """Makes an affine map; its initial weights are `shrunk` times as large as others'."""
        std = self.std * shrunk
        layer = Dense(inputs, outputs, bias=bias, std=std, rngs=self.rngs, draw=self.draw)
        return self.wrap(path, layer)

    def embedding(self, path: str, rows: int, width: int) -> Any:
        """Makes an embedding."""
        return self.wrap(path, Embedding(rows, width, std=self.std, rngs=self.rngs))

    def head(self, path: str, width: int, vocabulary: int) -> Any:
        """Makes an output head of its own."""
        return self.wrap(path, Head(width, vocabulary, std=self.std, rngs=self.rngs))

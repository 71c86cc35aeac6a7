"""SplitFed: the adapters of several clients become one between epochs, as a federation's models do.

Source: Thapa, Chamikara, Camtepe, Sun, "SplitFed: When Federated Learning Meets Split Learning",
AAAI 2022 (arXiv 2004.12088), version 1: each client has a trunk of its own, and all are averaged.
Of `fedit` (arXiv 2305.05644) the matrices `a` and `b` are averaged each by itself, so clients must
start from one seed: the mean of products is another thing than the product of means. `svd` takes
the mean of products, brought back to the rank; and where clients train `b` alone, both are exact.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from jfl import tree
from jfl.adapters import averages
from jfl.config import Section
from jfl.optimize import server as servers
from jfl.split.server.refused import Refused
from jfl.split.server.store import Store
from jfl.split.wire.tensors import Malformed, decode
from jfl.types import Params

_NAME, _TRUNK = "average", "trunk."
_MOST, _KEPT = 10_000, 15
_ARRAY = re.compile(r"(bottom|top)\.layers(\.[a-z_]+){1,4}\.lora\.[ab]")
_AGAIN = 1.0
"""Seconds after which a client asks whether the others are there."""
Flat = dict[str, Any]
"""Arrays by dotted path."""


class Config(Section):
    """The section `average`."""

    clients: int = Field(default=0, ge=0, le=1 << 12)
    """How many clients there are, each of which waits for all others; 0 = nothing is averaged."""
    server: servers.Config = servers.Config()
    """How the mean of a round is stepped towards: FedAvg, or with momentum, adam, yogi, adagrad."""
    aggregate: Literal["fedit", "svd"] = "fedit"
    """fedit: means of both matrices; svd: the mean of their products, brought back to the rank."""


class Averages:
    """The rounds of a federation; the last one is on the disk."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store
        self._came: dict[int, dict[str, tuple[float, Flat]]] = {}
        self._last: tuple[int, Flat, dict[str, Flat]] | None = None

    def call(
        self, who: str, number: int, weight: float, named: Iterable[Any], trunk: Params
    ) -> tuple[Flat, Params]:
        """Takes a client's adapters in; returns the mean of all, and that of their trunks.

        Args:
            who: the client.
            number: of the round, from 1.
            weight: how much it counts, such as its pieces of text.
            named: its arrays, as messages.
            trunk: what it has trained in the trunk; empty where that is nothing.

        Raises:
            Refused: not all clients are there yet, or it does not fit the others.
            Malformed: an array is not what it says.
        """
        if not self._config.clients:
            words = "this server averages nothing; give it average.clients=N"
            raise Refused("FAILED_PRECONDITION", words)
        last = self._restored()
        done = 0 if last is None else last[0]
        if number in self._store.steps(_NAME):  # a client that went back to before it
            return self._parted(self._read(number)[1], trunk)
        if number != done + 1:
            raise Refused("OUT_OF_RANGE", f"round {number} of averages, but {done} are done")
        if not 0 < weight < 1e12:
            raise Refused("INVALID_ARGUMENT", f"a weight of {weight}")
        own = self._taken(named) | {
            f"{_TRUNK}{path}": np.asarray(leaf) for path, leaf in tree.paths(trunk).items()
        }
        came = self._came.setdefault(number, {})
        for _, other in came.values():
            if {k: v.shape for k, v in other.items()} != {k: v.shape for k, v in own.items()}:
                words = "these adapters are of another shape than those of others"
                raise Refused("INVALID_ARGUMENT", words)
        came[who] = weight, own
        missing = self._config.clients - len(came)
        if missing > 0:
            raise Refused(
                "ABORTED", f"round {number} waits for {missing} more clients", again=_AGAIN
            )
        mean = self._stepped(number, came, last)
        del self._came[number]
        return self._parted(mean, trunk)

    def _stepped(
        self, number: int, came: Mapping[str, tuple[float, Flat]],
        last: tuple[int, Flat, dict[str, Flat]] | None,
    ) -> Flat:  # fmt: skip
        order = sorted(came)  # whoever came first, the bits are the same
        weights = np.array([came[who][0] for who in order], np.float64)
        shares = jnp.asarray((weights / weights.sum()).astype(np.float32))
        flats = [came[who][1] for who in order]
        stacked = {path: np.stack([flat[path] for flat in flats]) for path in flats[0]}
        mean = _mean(self._config.aggregate, shares, stacked)
        if last is None:  # there is nothing yet from which to step
            memory = servers.init(self._config.server, mean)
        else:
            mean, memory = servers.step(self._config.server, last[2], last[1], mean)
        self._last = number, mean, memory
        shapes = {path: list(leaf.shape) for path, leaf in mean.items()}
        state = {"mean": mean, "memory": memory}
        self._store.save(_NAME, number, {"shapes": shapes}, _nested(state))
        self._store.prune(_NAME, range(number - _KEPT, number + 1))
        return mean

    def _restored(self) -> tuple[int, Flat, dict[str, Flat]] | None:
        rounds = self._store.steps(_NAME)
        if self._last is None and rounds:
            self._last = self._read(rounds[-1])
        return self._last

    def _read(self, number: int) -> tuple[int, Flat, dict[str, Flat]]:
        about = self._store.about(_NAME, number)
        shapes = {
            path: jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
            for path, shape in about["shapes"].items()
        }
        config = self._config.server
        memory = jax.eval_shape(lambda: servers.init(config, _zeros(shapes)))
        like = _nested({"mean": shapes, "memory": memory})
        state, _ = self._store.load(_NAME, number, like)
        mean = tree.paths(state["mean"])
        return number, mean, {key: tree.paths(own) for key, own in state["memory"].items()}

    def _taken(self, named: Iterable[Any]) -> Flat:
        found: Flat = {}
        for item in named:
            if item.name in found or not _ARRAY.fullmatch(item.name) or len(found) > _MOST:
                raise Malformed(f"{item.name[:80]} stands twice, or is none of a client's arrays")
            found[item.name] = decode(item.tensor, (None, None, None))
        for path in {name[:-1] for name in found}:
            a, b = (found.get(f"{path}{side}") for side in "ab")
            if a is None or b is None or (len(a), a.shape[2]) != b.shape[:2]:
                raise Malformed(f"{path[:80]}a and b are no pair")
        if not found:
            raise Malformed("no arrays to average")
        return found

    def _parted(self, mean: Flat, trunk: Params) -> tuple[Flat, Params]:
        own = {p.removeprefix(_TRUNK): leaf for p, leaf in mean.items() if p.startswith(_TRUNK)}
        rest = {path: leaf for path, leaf in mean.items() if not path.startswith(_TRUNK)}
        if own.keys() != tree.paths(trunk).keys():
            raise Refused("INVALID_ARGUMENT", "others train other parts of the trunk")
        return rest, tree.nested(own)


@partial(jax.jit, static_argnums=0)
def _mean(rule: str, shares: Any, stacked: Flat) -> Flat:
    if rule == "fedit":
        return tree.mean(shares, stacked)
    mixed = averages.mix_products(shares[None], tree.nested(stacked))
    return {path: leaf[0] for path, leaf in tree.paths(mixed).items()}


def _nested(state: Mapping[str, Any]) -> dict[str, Any]:
    memory = {key: tree.nested(own) for key, own in state["memory"].items()}
    return {"mean": tree.nested(state["mean"]), "memory": memory}


def _zeros(shapes: Mapping[str, Any]) -> Flat:
    return {path: jnp.zeros(leaf.shape, leaf.dtype) for path, leaf in shapes.items()}

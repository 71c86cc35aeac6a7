"""Adapters of a saved round, put together with their base from the run folder, without its data."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfl import tree
from jfl.adapters import rules
from jfl.errors import CheckpointError, UsageError
from jfl.federated import adapter as adapters
from jfl.federated.experiment import Experiment
from jfl.federated.streams import stream
from jfl.models import base as models
from jfl.models.base import Model
from jfl.runs.folder import RunFolder
from jfl.types import Params


@dataclass(frozen=True)
class SavedAdapters:
    """The adapters of one round, of each client or of the server."""

    experiment: Experiment
    run: RunFolder
    round: int
    personal: bool
    """Whether each client has one of its own."""
    plain: Model
    """The network without adapters."""
    frozen: Params
    """What does not train: the base, and of `ffa` the first factors."""

    @property
    def config(self) -> adapters.Config:
        """The settings of the adapters."""
        assert self.experiment.adapter is not None
        return self.experiment.adapter

    @property
    def base(self) -> Params:
        """The weights the adapters stand beside."""
        return self.frozen["base"]

    def read(self, client: int | None) -> Params:
        """Returns what is kept of one client, or of the server where they share one adapter."""
        entry = "own.params" if self.personal else "shared.params"
        ids = np.array([client]) if self.personal else None
        found = self.run.checkpoints.read_clients(self.round, entry, ids)
        return jax.tree.map(lambda leaf: leaf[0], found) if self.personal else found

    def adapter(self, kept: Params) -> Params:
        """Returns both factors of each layer, and the layers that train whole.

        Raises:
            UsageError: what was aggregated is kept in full size, by `stack`.
        """
        if rules.MERGED in kept:
            raise UsageError(
                f"{self.run.path} has adapter.aggregate=stack, which adds up whole matrices: there "
                "is no adapter of rank "
                f"{self.config.rank} that holds them; merged weights hold all: jfl convert "
                f"{self.run.path} FILE.safetensors"
            )
        return tree.merge(self.frozen.get("a", {}), kept)

    def merged(self, kept: Params) -> Params:
        """Returns the weights of the network without an adapter that compute the same."""
        whole = partial(rules.whole, self.config.aggregate, self.config.lora)
        return whole(jax.tree.map(jnp.asarray, kept), self.frozen)


def load(run: RunFolder, number: int, shape: tuple[int, ...] | None) -> SavedAdapters:
    """Puts the adapters of a round together.

    Args:
        run: of a federation with an adapter.
        number: the round.
        shape: of one sample.

    Raises:
        UsageError: `adapter.base` is not there, or the run does not say of what shape samples are.
        CheckpointError: `adapter.base` is another one now, or damaged.
    """
    experiment: Experiment = run.config
    config = experiment.adapter
    assert config is not None
    classes = run.environment.get("data", {}).get("classes")
    if shape is None or not isinstance(classes, int) or classes < 1:
        raise UsageError(f"{run.path} does not say of what shape its samples are; train it anew")
    plain = models.build(experiment.model, shape, classes, "native")
    base = adapters.base(config, experiment.model, plain)
    model = adapters.build(config, experiment.model.name, plain)
    params, frozen = jax.jit(model.init)(stream(experiment.seed, "init"))
    _, frozen = adapters.with_base(params, frozen, base)
    kept: dict[str, Any] = run.checkpoints.read_clients(number, adapters.BASE, None)
    adapters.require_same(adapters.identity(config, frozen), kept)
    shapes = run.checkpoints.shapes(number)
    personal = any(path.startswith("own.params.") for path in shapes)
    if not personal and not any(path.startswith("shared.params.") for path in shapes):
        raise CheckpointError(f"{run.path} has no weights in round {number}")
    return SavedAdapters(experiment, run, number, personal, plain, frozen)

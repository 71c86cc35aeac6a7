"""Adapters of a saved round, put together with their base from the run folder, without its data."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jfl import tree
from jfl.adapters import rules
from jfl.errors import UsageError
from jfl.federated import adapter as adapters
from jfl.federated.experiment import Experiment
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

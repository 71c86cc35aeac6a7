"""The plan of a federation: by what one client takes, of which the compiler is asked."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil

from jfl import tree
from jfl.datasets.base import Dataset
from jfl.federated.algorithms.base import Algorithm
from jfl.federated.clients import plan as plans
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Rows, Samples
from jfl.federated.clients.plan import Plan
from jfl.federated.experiment import Experiment
from jfl.federated.partition.base import Partition
from jfl.models.base import Lowering, Model
from jfl.runs import backend as backends
from jfl.types import PRNGKey

MEMORY_SHARE = 0.8  # of a device, where no budget is set
_UNPLANNED = ("", "map", 1, "native", 1, "host", "gather")  # for a client that runs alone


def choose(
    experiment: Experiment,
    dataset: Dataset,
    partition: Partition,
    algorithm: Algorithm,
    build: Callable[[Lowering], Model],
) -> Plan:
    """Asks the compiler what one client takes, and chooses the plan.

    `build(lowering)` returns the network.

    Raises:
        UsageError: not even one client fits the memory.
    """
    backend = backends.name(jax.default_backend())
    loop, lowering = plans.loop_and_lowering(experiment.plan, backend)
    model = build(lowering)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    state = jax.eval_shape(
        lambda weights: algorithm.init(model.in_order(weights), experiment.clients), params
    )
    client_bytes = None
    if loop == "vmap":  # one after another, clients take what one client takes
        client_bytes = _client_bytes(experiment, dataset, partition, model)
        client_bytes *= algorithm.trains_at_once
    return plans.choose(
        experiment.plan,
        backend=backend,
        num_devices=len(jax.devices()),
        cohort=experiment.cohort_size,
        steps=-(-np.array([len(rows) for rows in partition.train]) // experiment.train.batch_size),
        client_bytes=client_bytes,
        state_bytes=tree.nbytes(state.own),
        peer_bytes=tree.nbytes(state.own.get("params", {})),
        budget=_budget(experiment),
    )


def _client_bytes(
    experiment: Experiment, dataset: Dataset, partition: Partition, model: Model
) -> int:
    """Returns the memory one training client takes, by the compiler's own analysis."""
    longest = max(len(rows) for rows in partition.train)

    def one(x: jax.Array, y: jax.Array, index: jax.Array, row: jax.Array, key: PRNGKey) -> Any:
        params, frozen = model.init(key)
        client = Client(frozen, model, experiment.train, plans.Plan(*_UNPLANNED))
        samples = Samples(x, y, index, max(longest, 1), 1, experiment.data.augment)
        return client.fit(params, samples, Rows(row[0], row[1]), key, jnp.float32(0.1))

    shape = jax.ShapeDtypeStruct
    arrays = [
        shape(dataset.x.shape, dataset.x.dtype),
        *(shape(s, jnp.int32) for s in (dataset.y.shape, dataset.y.shape, (2,))),
    ]
    key = jax.eval_shape(lambda: jax.random.key(0))
    analysis = jax.jit(one).lower(*arrays, key).compile().memory_analysis()
    if analysis is None:
        return 0
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


def _budget(experiment: Experiment) -> int:
    fixed = experiment.memory.budget_bytes()
    if fixed is not None:
        return fixed
    limits = jax.devices()[0].memory_stats() or {}
    total = limits.get("bytes_limit", psutil.virtual_memory().total)
    return int(MEMORY_SHARE * total)

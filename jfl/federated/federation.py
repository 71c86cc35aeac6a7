"""Everything a run is made of, put together from its config: data, partition, model, plan, clients.

Nothing here depends on the round; `federate` trains it, `jfl eval` measures it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from jfl import mesh as meshes
from jfl import plugins, tree
from jfl.adapters import rules
from jfl.datasets import base as datasets
from jfl.datasets.base import Dataset
from jfl.federated import adapter as adapters
from jfl.federated import adapter_start, checks, networks, operations, planned, traffic
from jfl.federated.algorithms.base import Algorithm, RoundData, State
from jfl.federated.clients import data as client_data
from jfl.federated.clients import plan as plans
from jfl.federated.clients import store as stores
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Rows, Samples
from jfl.federated.clients.plan import Plan
from jfl.federated.evaluation import classified, next_tokens
from jfl.federated.evaluation.evaluator import Evaluator, Result
from jfl.federated.experiment import Experiment
from jfl.federated.fitting import fitted
from jfl.federated.partition import base as partitions
from jfl.federated.partition.base import Partition
from jfl.federated.streams import stream
from jfl.federated.traffic import Traffic
from jfl.models.base import Lowering, Model
from jfl.types import Params


@dataclass(frozen=True)
class Federation:
    """A run put together; see the module."""

    experiment: Experiment
    dataset: Dataset
    partition: Partition
    model: Model
    client: Client
    algorithm: Algorithm
    notes: tuple[str, ...]
    samples: Samples
    rows: dict[str, Rows]
    base: dict[str, np.ndarray] | None = None
    """What checkpoints say of the base of adapters; None = there are none."""
    begun: Params | None = None
    """An adapter as it starts; None = there are none, and whole models are drawn."""

    @property
    def plan(self) -> Plan:
        """How the clients run."""
        return self.client.plan

    def initial(self) -> State:
        """The state before the first round: every client starts from the same model."""
        params = self.begun
        if params is None:
            params, _ = jax.jit(self.model.init)(stream(self.experiment.seed, "init"))
        return self.algorithm.init(self.model.in_order(params), self.experiment.clients)

    @cached_property
    def model_bytes(self) -> int:
        """Bytes of one model's trainable weights."""
        params, _ = jax.eval_shape(self.model.init, jax.random.key(0))
        return tree.nbytes(params)

    def operations(self, size: int) -> tuple[float, float]:
        """Returns the operations of a local step and of the model alone, for a batch of a size.

        A step with an adapter has no gradients of frozen kernels.
        """
        model = _model(self.experiment, self.dataset, "native")
        return operations.counted(
            model, size, words=not networks.takes_images(self.experiment.model)
        )

    @cached_property
    def traffic(self) -> Traffic:
        """Bytes that go to clients and come back."""
        params, _ = jax.eval_shape(self.model.init, jax.random.key(0))
        sent, config = jax.eval_shape(self.algorithm.sent, params), self.experiment.adapter
        return traffic.of(sent, config.client_ranks, config.rank) if config else traffic.of(sent)

    @cached_property
    def sample_operations(self) -> float:
        """Floating-point operations that training on one sample takes."""
        size = self.experiment.train.batch_size
        return self.operations(size)[0] / size

    def round_data(
        self,
        ids: Int[np.ndarray, " K"],
        round_number: int,
        trains: Bool[np.ndarray, " K"] | None = None,
    ) -> RoundData:
        """Returns what the cohort trains and validates on, and who of it trains; None = all."""
        train, valid = (
            jax.tree.map(lambda leaf: jnp.asarray(leaf[ids]), self.rows[part])
            for part in ("train", "valid")
        )
        rate = jnp.float32(self.experiment.train.rate(round_number - 1))
        who = None if trains is None else jnp.asarray(trains)
        return RoundData(jnp.asarray(ids), self.samples, train, valid, rate, who)

    def steps(self, ids: Int[np.ndarray, " K"]) -> Int[np.ndarray, " K"]:
        """Returns the local steps of each of the clients."""
        settings = self.experiment.train
        samples = np.asarray(self.rows["train"].count[ids])
        return -(-samples // settings.batch_size) * settings.local_epochs

    @cached_property
    def _evaluator(self) -> Evaluator:
        kind = classified if self.model.losses is None else next_tokens
        return Evaluator(self.client, self.samples, kind.measured)

    @property
    def block(self) -> int:
        """Clients whose models are evaluated at once."""
        return max(self.experiment.cohort_size, self.plan.devices)

    def evaluate(
        self, part: str, shared: dict[str, Any], own: Callable[[Int[np.ndarray, " K"], str], Params]
    ) -> dict[str, Result]:
        """Measures each client's own models, or the global one where clients have none.

        Args:
            part: valid or test.
            shared: the algorithm's shared state.
            own: reads one entry of some clients' state.

        Returns:
            Results by entry of `own`; the first is the algorithm's result. `global` is that of
            the one model all share.
        """
        rows, sums = self.rows[part], {}
        counts = np.asarray(rows.count)
        algorithm = self.algorithm

        def models_of(name: str) -> Iterator[tuple[Int[np.ndarray, " K"], Params]]:
            for ids in stores.blocks(self.experiment.clients, self.block):
                laid_out = ids[plans.order(self.plan, counts[ids])]
                yield laid_out, own(laid_out, name)

        for name in algorithm.personal:
            sums[name] = self._evaluator.own(models_of(name), rows)
        if algorithm.common or not algorithm.personal:
            order = plans.order(self.plan, counts)
            sums["global"] = self._evaluator.shared(shared["params"], rows, order)
        return {name: self._result(part, said) for name, said in sums.items()}

    def _result(self, part: str, sums: dict[str, np.ndarray]) -> Result:
        if self.dataset.text_bytes is None:
            return classified.Result(sums)
        owned = getattr(self.partition, part)
        nbytes = np.array([self.dataset.text_bytes[rows].sum() for rows in owned], np.int64)
        return next_tokens.Result(sums, self.dataset.x.shape[1] - 1, nbytes)


def prepare(
    experiment: Experiment, partition: Partition | None = None, plan: Plan | None = None
) -> Federation:
    """Puts a run together; a resumed one brings the partition and plan of its folder.

    Raises:
        UsageError: the settings do not fit the data or the machine.
        DataError: the data are missing or bad.
    """
    loaded = datasets.load(experiment.data, experiment.seed)
    dataset, experiment, notes = fitted(loaded, experiment)
    if partition is None:
        given = partitions.Given(dataset.owner, dataset.held_out)
        partition = partitions.partition(
            dataset.y, experiment.clients, experiment.partition, experiment.seed, given
        )
    else:
        checks.stored(partition, len(dataset.y), experiment.clients)
    notes += partition.notes
    algorithm = algorithm_of(experiment)
    checks.steps(experiment, algorithm)
    if experiment.adapter is not None:
        personal = bool(algorithm.personal)
        adapters.require_fits(experiment.adapter, experiment.clients, personal=personal)
    notes += checks.unvalidated(experiment, partition, algorithm)
    if plan is None:
        build = partial(_model, experiment, dataset)
        plan = planned.choose(experiment, dataset, partition, algorithm, build)
    mesh = meshes.make(plan.devices)
    plan = replace(plan, mesh=mesh)
    model = _model(experiment, dataset, plan.lowering)
    frozen, base, begun = _frozen(experiment, dataset, model, plan.backend, notes)
    everywhere = meshes.everywhere(mesh)
    owners = {part: getattr(partition, part) for part in ("train", "valid", "test")}
    chunks = plans.CHUNKS[plan.backend]
    samples, rows = client_data.place(
        dataset.x, dataset.y, owners, everywhere, chunks, experiment.data.augment
    )
    rows |= _ranks(experiment, rows["train"])
    client = Client(frozen, model, experiment.train, plan)
    return Federation(
        experiment, dataset, partition, model, client, algorithm, tuple(notes), samples, rows, base,
        begun,
    )  # fmt: skip


def merged(federation: Federation) -> tuple[Federation, Callable[[Params], Params]]:
    """Returns a federation whose models are whole networks, and what makes these of adapters.

    Networks of language keep theirs, as nothing is built upon them and some cannot be put together.
    """
    experiment, client = federation.experiment, federation.client
    config, frozen = experiment.adapter, client.frozen
    if config is None or federation.model.losses is not None:
        return federation, lambda params: params
    plain = _plain(experiment, federation.dataset, federation.plan.lowering)
    client = replace(client, frozen=frozen["frozen"], model=plain)
    made = partial(rules.whole, config.aggregate, config.lora, frozen=frozen)
    return replace(federation, model=plain, client=client, base=None), made


def _frozen(
    experiment: Experiment, dataset: Dataset, model: Model, backend: str, notes: list[str]
) -> tuple[Params, dict[str, np.ndarray] | None, Params | None]:
    """Returns what does not train, what is said of the base of adapters, and how these start."""
    config = experiment.adapter
    params, frozen = jax.jit(model.init)(stream(experiment.seed, "init"))
    if config is None:
        return frozen, None, None
    plain = _plain(experiment, dataset, "native")
    base = adapters.base(config, experiment.model, plain)
    params, frozen = adapters.with_base(params, frozen, base)
    start, said = adapter_start.read(config, experiment.model, model, frozen)
    notes += said
    params, frozen = adapter_start.applied(params, frozen, start)
    identity = adapters.identity(config, frozen)
    return adapters.laid_out(config, frozen, model, backend), identity, params


def _ranks(experiment: Experiment, rows: Rows) -> dict[str, Rows]:
    """Returns the training rows with clients' ranks of the adapter, nothing where all are full."""
    if experiment.adapter is None or not experiment.adapter.client_ranks:
        return {}
    return {"train": replace(rows, rank=np.array(experiment.adapter.client_ranks, np.int32))}


def algorithm_of(experiment: Experiment) -> Algorithm:
    """Builds the algorithm a config names."""
    module = plugins.load("algorithm", experiment.algorithm.name)
    return module.build(experiment.algorithm, experiment.clients, experiment.cohort_size)


def _model(experiment: Experiment, dataset: Dataset, lowering: Lowering) -> Model:
    plain = _plain(experiment, dataset, lowering)
    if experiment.adapter is None:
        return plain
    return adapters.build(experiment.adapter, experiment.model.name, plain)


def _plain(experiment: Experiment, dataset: Dataset, lowering: Lowering) -> Model:
    return networks.build(experiment.model, dataset.input_shape, dataset.num_classes, lowering)

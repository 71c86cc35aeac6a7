"""What methods share whose server averages models: its step, own heads, fine-tuning."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int

from jfl import tree
from jfl.errors import UsageError
from jfl.federated.algorithms import base
from jfl.federated.algorithms.base import Algorithm, RoundData, State
from jfl.federated.clients.base import Bend, Client
from jfl.federated.clients.data import Samples
from jfl.models.base import HEAD
from jfl.optimize import server as servers
from jfl.types import Metrics, Params, PRNGKey

_MEMORY = "server"  # the entry of `shared` that the server's optimizer needs


class Config(base.Config):
    """Settings of methods whose server averages models."""

    server: servers.Config = servers.Config()
    """What the server does with the mean."""


def remembered(config: Config, params: Params) -> dict[str, Any]:
    """Returns the entry of `shared` that the server's optimizer needs, none for the plain mean."""
    memory = servers.init(config.server, params)
    return {_MEMORY: memory} if memory else {}


def aggregate(
    client: Client,
    config: Config,
    shared: dict[str, Any],
    before: Params,
    trained: Params,
    data: RoundData,
    rejected: Int[Array, " K"],
) -> tuple[Params, dict[str, Any], Metrics]:
    """Returns the server's next model, its optimizer's entry of `shared`, and what to tell of it.

    Clients weigh by their samples. A server none of whose clients was accepted stays as it is.
    """
    counts = data.trained_on.count
    mean, told = base.average(client, trained, before, counts, rejected)
    if _MEMORY not in shared:
        return mean, {}, told
    moved, memory = servers.step(config.server, shared[_MEMORY], before, mean)
    heard = (jnp.where(rejected > 0, 0, counts) > 0).any()
    memory = tree.select(heard, memory, shared[_MEMORY])
    return tree.select(heard, moved, before), {_MEMORY: memory}, told


def backbone(params: Params) -> Params:
    """Returns all of a model, or of stacked ones, but the head."""
    return {name: leaf for name, leaf in params.items() if name != HEAD}


Fit = Callable[[Client, Any, Params, Samples, Array], tuple[Params, Metrics]]


def with_own_heads(config: Config, num_clients: int, cohort_size: int, fit: Fit) -> Algorithm:
    """Returns a method whose clients share the backbone and keep heads of their own.

    `own["params"]` are whole models: the head as the client left it, the backbone the newest.

    Args:
        config: of the server.
        num_clients: N.
        cohort_size: K.
        fit: trains one client; (client, (head, rows, key), backbone, samples, learning rate)
            -> whole model, metrics.
    """

    def init(params: Params, num_clients: int) -> State:
        if HEAD not in params:
            raise UsageError(
                "clients keep heads of their own under this algorithm, and the adapter has nothing "
                "at the head: add head to adapter.targets or adapter.trains"
            )
        shared = backbone(params)
        return State(
            {"backbone": shared} | remembered(config, shared),
            {"params": tree.stack(params, num_clients)},
        )

    def run_round(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],
        peers: None,  # noqa: ARG001
        data: RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
        before = shared["backbone"]
        head = {HEAD: own["params"][HEAD]}
        rows = head, data.trained_on, base.keys(key, data.ids)
        trained, metrics = client.each(fit, rows, before, data.samples, data.learning_rate)
        rejected = metrics["rejected"]
        own_backbones = backbone(trained)
        after, memory, told = aggregate(
            client, config, shared, before, own_backbones, data, rejected
        )
        return {"backbone": after} | memory, {"params": trained}, metrics | told

    def personalise(
        client: Client,  # noqa: ARG001
        shared: dict[str, Any],
        own: dict[str, Any],
        data: RoundData,
        key: PRNGKey,  # noqa: ARG001
    ) -> dict[str, Any]:
        newest = tree.stack(shared["backbone"], len(data.ids))
        return {"params": newest | {HEAD: own["params"][HEAD]}}

    needs = base.anyone(num_clients, cohort_size)
    return Algorithm(
        init, needs, run_round, personalise=personalise, personal=("params",), sent=backbone
    )


def whole(params: Params) -> Params:
    """Returns all of a model."""
    return params


def one_model(
    config: Config,
    num_clients: int,
    cohort_size: int,
    *,
    trains: Callable[[Params], Params] = whole,
    bend: Callable[[Params], Bend] | None = None,
) -> Algorithm:
    """Returns a method whose clients all start from one model, of which they average a part.

    Args:
        config: of the server.
        num_clients: N.
        cohort_size: K.
        trains: the part of the model, by top-level key, that is trained and averaged.
        bend: of the part a round starts from, what changes gradients; see `Client.fit`.
    """

    def init(params: Params, num_clients: int) -> State:  # noqa: ARG001
        return State({"params": params} | remembered(config, trains(params)), own={})

    def run_round(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],
        peers: None,  # noqa: ARG001
        data: RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
        model = shared["params"]
        rows = data.trained_on, base.keys(key, data.ids)
        trained, metrics = client.each(_fit, rows, model, data.samples, data.learning_rate)
        before, rejected = trains(model), metrics["rejected"]
        after, memory, told = aggregate(client, config, shared, before, trained, data, rejected)
        return {"params": model | after} | memory, own, metrics | told

    def _fit(
        client: Client, row: Any, model: Params, samples: Samples, rate: Array
    ) -> tuple[Params, Metrics]:
        rows, key = row
        part = trains(model)
        fixed = {name: leaf for name, leaf in model.items() if name not in part}
        bent = bend(part) if bend else None
        return client.fit(part, samples, rows, key, rate, fixed=fixed, bend=bent)

    return Algorithm(init, base.anyone(num_clients, cohort_size), run_round, sent=trains)


def fine_tuned(
    config: Config,
    num_clients: int,
    cohort_size: int,
    epochs: int,
    *,
    trains: Callable[[Params], Params] = whole,
) -> Algorithm:
    """Returns `one_model`, of which clients fine-tune all for some epochs on their samples.

    `own["params"]` are the fine-tuned models.
    """
    common = one_model(config, num_clients, cohort_size, trains=trains)

    def init(params: Params, num_clients: int) -> State:
        own = {"params": tree.stack(params, num_clients)}
        return common.init(params, num_clients)._replace(own=own)

    def personalise(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],  # noqa: ARG001
        data: RoundData,
        key: PRNGKey,
    ) -> dict[str, Any]:
        rows = data.train_rows, base.keys(key, data.ids)
        arguments = shared["params"], data.samples, data.learning_rate
        return {"params": client.each(_tune, rows, *arguments)}

    def _tune(client: Client, row: Any, params: Params, samples: Samples, rate: Array) -> Params:
        rows, key = row
        return client.fit(params, samples, rows, key, rate, epochs=epochs)[0]

    return replace(common, init=init, personalise=personalise, personal=("params",), common=True)

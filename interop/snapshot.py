"""What a server of PFLlib's kind left in its snapshot: clients, their own models, affinity, round.

Clients are found by what they hold. Which of their models is taken is what the server measures
(`servers`); where a file does not say what that is, it is asked, not guessed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from interop import discover, one_model, servers
from interop.discover import Found
from interop.formats import torch_file
from interop.left_out import left_out
from interop.measured import Weights, attribute, measured, weights
from interop.servers import Rule
from jfl.errors import CheckpointError
from jfl.plugins import nearest
from jfl.sources.pickles import budget
from jfl.sources.pickles.values import Record, Tensor

_ROUNDS = ("round", "current_round", "global_round", "rounds_done", "cur_round", "epoch")
_COUNTS = ("send_time_cost", "train_time_cost")
_AFFINITY = ("P", "affinity", "weight_matrix")
_MANY = 4
_FORMER = ("old_model", "global_model")  # what a client keeps of the round before
_REMEDY = (
    "add algorithm.name=local to take each client's model, or algorithm.name=fedavg to take the "
    "global one"
)


@dataclass(frozen=True)
class Client:
    """The model a client is measured with, the mix its training started from, its samples."""

    model: Weights
    before: Weights | None = None
    test_samples: int | None = None
    train_samples: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """See the module."""

    clients: list[Client]
    common: Weights | None
    """The one model all clients are measured with, or the only one of the file."""
    affinity: Float[np.ndarray, "N N"] | None
    uploaded: tuple[int, ...]
    round: int | None
    settings: dict[str, Any]
    """The program's arguments."""
    where: str
    """The dotted path of the clients."""
    skipped: tuple[str, ...] = ()
    method: str = "fedavg"
    """The algorithm of jfl whose state the models are."""
    notes: tuple[str, ...] = ()
    refused: str | None = None
    """Why nothing in the file is what its server would measure."""

    @property
    def nothing(self) -> str:
        """Says that there are no models, and what there is instead."""
        known = f"; not understood: {one_model.listed(list(self.skipped))}" if self.skipped else ""
        return f"holds no models: neither clients, nor a state dict{known}"


def of_one(model: Weights | None, arrays: Mapping[str, Any] = {}) -> Snapshot:
    """Returns a snapshot of one model alone; `arrays` are what is there where it is no model."""
    left = model.left if model else arrays
    return Snapshot([], model, None, (), None, {}, "", _unread(left))


def find(value: Any, asked: str | None = None, source: str = "the file") -> Snapshot:
    """Returns what a snapshot holds; it has no clients where none were found.

    Args:
        value: the file.
        asked: the algorithm whose models are wanted, whatever the server measures.
        source: what messages call the file.

    Raises:
        CheckpointError: what the server measures is not in the file.
        UsageError: there are no clients, but several models to choose from.
    """
    found = discover.find(value)
    places = (found.holder, value)
    arguments = _first(places, "args")
    settings = dict(arguments.state) if isinstance(arguments, Record) else {}
    held = (weights(attribute(p, k)) for p in places for k in discover.GLOBAL)
    common = next((w for w in held if w), None) or weights(value)
    count = len(found.members)
    place = ""
    if common is None and not count:
        place, common = one_model.only(value, source)
    affinity = _affinity(places, count)
    server, notes, unclear = _server(found, places, settings, common, affinity is not None)
    rule = servers.ASKED.get(asked or "") or servers.rule_of(server, settings)
    if _measured_last(places, settings) and rule.as_left:
        rule = Rule()
    sure = asked in servers.ASKED or not count
    refused = None if sure else unclear or _refused(server, rule)
    if refused or (asked == "fedavg" and count):
        rule = Rule()
    chosen = common if asked == "fedavg" else None
    if asked == "fedavg" and count and chosen is None:
        raise CheckpointError("the file has no global model; leave out algorithm.name=fedavg")
    clients = [_client(rule, places, m, chosen, n) for n, m in enumerate(found.members)]
    shared = bool(clients) and rule.sent is not None and _alike([c.model for c in clients])
    method = _method(server, asked, shared=shared or chosen is not None, clients=bool(clients))
    if shared:
        common = clients[0].model
    notes = (*notes, *_filed(server, rule, method)) if clients and not refused else notes
    notes = () if asked in servers.ASKED else notes
    taken = _taken(clients, common if method == "fedavg" else None, method)
    models = [common] if common else [client.model for client in clients[:1]]
    left = {name: array for model in models for name, array in model.left.items()}
    taken += [tensor for array in left.values() for *_, tensor in torch_file.walk(array)]
    notes = (*notes, f"the model is what the file calls {place}") if place else notes
    taken += [t for t in [_first(places, name) for name in _AFFINITY] if method == "fedfomo"]
    return Snapshot(
        clients,
        common,
        affinity,
        _uploaded(places, count),
        _round(places, found.members, settings),
        {str(k): v for k, v in settings.items() if isinstance(v, int | float | str)},
        found.where,
        tuple(sorted((*left_out(value, found, taken), *_unread(left)))),
        method,
        notes,
        refused,
    )


def _unread(arrays: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns names of arrays with what they are."""
    return tuple(f"{name} ({torch_file.what(array)})" for name, array in arrays.items())


def _server(
    found: Found,
    places: Sequence[Any],
    settings: Mapping[str, Any],
    common: Weights | None,
    affinity: bool,
) -> tuple[str, tuple[str, ...], str | None]:
    """Returns the server as PFLlib calls it, notes, and what is unclear where that is a guess."""
    classes = [p.name.rpartition(".")[2] for p in places if isinstance(p, Record)]
    given = [settings.get("algorithm"), _first(places, "algorithm"), *classes]
    names = [name for name in given if isinstance(name, str) and name]
    server = servers.first_known(names)
    if server is not None or not found.members:
        return server or "Local", (), None
    name = names[0] if names else ""
    said = f"PFLlib has no server {name}{nearest(name, servers.SERVERS)}" if name else (
        "the file does not name its server"
    )  # fmt: skip
    if affinity:
        return (
            "FedFomo",
            (f"{said}: by its affinity it is taken for FedFomo",) if name else (),
            None,
        )
    first = found.members[0]
    inside = torch_file.parts(first) if discover.own(first) else ()
    models = [k for k, part in inside if k not in _FORMER and weights(part)]
    there = [f"{k} of each client" for k in models] + ["a global model"] * (common is not None)
    if len(there) > 1:
        which = " or ".join(there if len(there) < _MANY else [*there[:2], f"{len(there) - 2} more"])
        return "Local", (), f"{said}, so it is not clear which it measures, {which}; {_REMEDY}"
    return "Local", (f"{said}: each client is measured with its own model",) if name else (), None


def _refused(server: str, rule: Rule) -> str | None:
    if rule.reason is None:
        return None
    return (
        f"a snapshot of {server} cannot be measured as PFLlib measures it: {rule.reason}; add "
        "algorithm.name=local to take each client's model as it was left"
    )


def _client(
    rule: Rule, places: Sequence[Any], member: Any, chosen: Weights | None, number: int
) -> Client:
    own = discover.own(member)
    model = own or weights(member)
    assert model is not None
    model = chosen or measured(rule, places, member, model, f"client {number}")
    if own is None:
        return Client(model)
    counts = {name: attribute(member, name) for name in ("test_samples", "train_samples")}
    whole = {k: int(v) for k, v in counts.items() if isinstance(v, int | float)}
    return Client(model, weights(attribute(member, "old_model")), **whole)


def _method(server: str, asked: str | None, *, shared: bool, clients: bool) -> str:
    """Returns the algorithm of jfl the run is filed under."""
    if not clients or shared:
        return "fedavg"
    if asked in servers.ASKED:
        return str(asked)
    return "fedfomo" if server == "FedFomo" else "local"


def _filed(server: str, rule: Rule, method: str) -> tuple[str, ...]:
    """Says what is measured, where the name of the run's algorithm does not."""
    if server.lower() == method:
        return ()
    return (f"a server of {server}, filed under {method}: measured is {rule.words}",)


def _alike(models: Sequence[Weights]) -> bool:
    """Tells whether all clients have the very same arrays."""
    first = {name: id(array) for name, array in models[0].state.items()}
    return all({n: id(a) for n, a in model.state.items()} == first for model in models)


def _taken(clients: Sequence[Client], common: Weights | None, method: str) -> list[Any]:
    models = [c.model for c in clients] if common is None else [common]
    if not clients and common is None:
        return []
    former = [c.before for c in clients if c.before] if method == "fedfomo" else []
    return [array for model in (*models, *former) for array in model.state.values()]


def _affinity(places: Sequence[Any], count: int) -> Float[np.ndarray, "N N"] | None:
    for name in _AFFINITY:
        found = _first(places, name)
        if isinstance(found, Tensor) and found.shape == (count, count):
            return found.read().astype(np.float32)
        if isinstance(found, list) and len(found) == count:
            budget.spend(count * count)
            rows = [row if isinstance(row, list) else None for row in found]
            if all(row is not None and len(row) == count and _are_numbers(row) for row in rows):
                return np.array(rows, np.float32)
    return None


def _are_numbers(row: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) for value in row)


def _uploaded(places: Sequence[Any], count: int) -> tuple[int, ...]:
    ids = _first(places, "uploaded_ids")
    if not isinstance(ids, list):
        return ()
    return tuple(sorted({i for i in ids if type(i) is int and 0 <= i < count}))


def _round(
    places: Sequence[Any], members: Sequence[Any], settings: Mapping[str, Any]
) -> int | None:
    """Returns how often the server's loop was passed, each time with training."""
    if budget := _first(places, "Budget"):  # one entry a pass
        return len(budget) if isinstance(budget, list) else None
    for name in _ROUNDS:
        if type(found := _first(places, name)) is int and found >= 0:
            return found
    costs = [attribute(member, name) for member in members for name in _COUNTS]
    counts = [cost.get("num_rounds") for cost in costs if isinstance(cost, dict)]
    if most := max((n for n in counts if type(n) is int), default=0):
        return most
    measured_often = _first(places, "rs_test_acc")
    if isinstance(measured_often, list) and measured_often:
        return (len(measured_often) - 1) * _gap(settings) + 1
    return None


def _measured_last(places: Sequence[Any], settings: Mapping[str, Any]) -> bool:
    """Tells whether the clients were measured after the last pass, and not trained since."""
    budget, scores = _first(places, "Budget"), _first(places, "rs_test_acc")
    if not isinstance(budget, list) or not isinstance(scores, list):
        return False
    of_others = 1 if _first(places, "eval_new_clients") is True else 0
    return len(scores) - of_others > math.ceil(len(budget) / _gap(settings))


def _gap(settings: Mapping[str, Any]) -> int:
    gap = settings.get("eval_gap", 1)
    return max(gap, 1) if type(gap) is int else 1


def _first(places: Sequence[Any], name: str) -> Any:
    found = (attribute(place, name) for place in places)
    return next((value for value in found if value is not None), None)

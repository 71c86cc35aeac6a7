"""The model a client is measured with: its own, with what the server sends put over it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interop import fold
from interop import torch_names as names
from interop.formats import torch_file
from interop.servers import Rule
from jfl.errors import CheckpointError
from jfl.sources.pickles import budget
from jfl.sources.pickles.values import Record, Tensor

_LOOK = 6  # units of looking whether an object is a model

_BUFFERS = (*fold.STATISTICS, *names.COUNTERS)


@dataclass(frozen=True)
class Made:
    """An array that is computed from some of the file when it is read."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    sources: tuple[Any, ...]


@dataclass(frozen=True)
class Weights:
    """A model in a snapshot: its state dict, unread, and the plain attributes of its layers."""

    state: Mapping[str, Any]
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left: Mapping[str, Any] = field(default_factory=dict)
    """Arrays of it that are no numbers jfl reads."""

    @property
    def epsilon(self) -> dict[str, float]:
        """What normalisation layers add to the variance."""
        found = {name: layer.get("eps") for name, layer in self.layers.items()}
        return {name: eps for name, eps in found.items() if isinstance(eps, float)}

    @property
    def groups(self) -> int | None:
        """Groups of the first GroupNorm, None where there is none."""
        found = [layer.get("num_groups") for layer in self.layers.values()]
        return next((n for n in found if isinstance(n, int)), None)

    @property
    def parameters(self) -> dict[str, Any]:
        """What is trained, without buffers."""
        return {k: v for k, v in self.state.items() if k.rpartition(".")[2] not in _BUFFERS}


def weights(value: Any) -> Weights | None:
    """Returns a module or a state dict as a model, None where it is neither."""
    budget.spend(_LOOK)
    if torch_file.is_module(value):
        return readable(*torch_file.module_state(value))
    return readable(torch_file.state_dict(value) or {})


def readable(arrays: Mapping[str, Any], layers: Mapping[str, Any] = {}) -> Weights | None:
    """Returns those of some arrays that jfl reads as a model, None where it reads none."""
    state = {name: array for name, array in arrays.items() if torch_file.is_readable(array)}
    left = {name: array for name, array in arrays.items() if name not in state}
    return Weights(state, layers, left) if state else None


def attribute(value: Any, name: str) -> Any:
    """Returns an attribute of a record, or what a dict has under a name; None where it is not."""
    if isinstance(value, Record):
        return value.state.get(name, value.entries.get(name))
    return value.get(name) if isinstance(value, dict) else None


def measured(rule: Rule, servers: Sequence[Any], client: Any, own: Weights, whose: str) -> Weights:
    """Returns the model a client is measured with.

    Args:
        rule: what the server measures.
        servers: the objects that may hold what is sent.
        client: the object that holds the client's models.
        own: the client's own model.
        whose: the client, for errors.

    Raises:
        CheckpointError: something the rule needs is not there, or does not fit.
    """
    over = _sent(rule, servers, own, whose) if rule.sent else {}
    base = _chosen(rule, client, own, whose)
    # PFLlib writes into the parameters, so whatever is the same parameter changes too
    state = {name: over.get(id(tensor), tensor) for name, tensor in base.state.items()}
    if rule.head:
        state |= _added(state, weights(attribute(client, rule.head)), f"{rule.head} of {whose}")
    if rule.shift:
        state |= _shifted(state, attribute(client, rule.shift), f"{rule.shift} of {whose}")
    return Weights(state, base.layers)


def _chosen(rule: Rule, client: Any, own: Weights, whose: str) -> Weights:
    if rule.own == "model":
        return own
    value = attribute(client, rule.own)
    if isinstance(value, list) and value and all(isinstance(item, Tensor) for item in value):
        listed = _zipped(own.parameters, value, f"{rule.own} of {whose}")
        return Weights({**own.state} | listed, own.layers)
    found = weights(value)
    if found is not None:
        return found
    if rule.sent:  # a list of parameters that was not kept apart from the model
        return own
    raise CheckpointError(f"{whose} has no {rule.own}, with which its server measures it")


def _sent(rule: Rule, servers: Sequence[Any], own: Weights, whose: str) -> dict[int, Any]:
    """Returns what is sent, by the identity of the client's parameter it replaces."""
    held = (weights(attribute(server, str(rule.sent))) for server in servers)
    source = next((found for found in held if found), None)
    if source is None:
        raise CheckpointError(
            f"the file has no {rule.sent}, with which its server measures each client; add "
            "algorithm.name=local to take the clients' models as they were left"
        )
    prefix = f"{rule.into}." if rule.into else ""
    target = {k: v for k, v in own.parameters.items() if k.startswith(prefix)}
    if not target:
        raise CheckpointError(
            f"the model of {whose} has no {rule.into} for the server's to go over"
        )
    new = _zipped(target, list(source.parameters.values()), f"{rule.sent} for {whose}")
    return {id(target[k]): v for k, v in new.items() if not (rule.kept and rule.kept in k)}


def _zipped(target: Mapping[str, Any], values: Sequence[Any], what: str) -> dict[str, Any]:
    """Returns values under the names of the target, one after another, as torch's users copy."""
    made = dict(zip(target, values, strict=False))
    for name, value in made.items():
        if tuple(value.shape) != tuple(target[name].shape):
            raise CheckpointError(
                f"{what} does not fit: {name} is {list(target[name].shape)}, what goes over it "
                f"{list(value.shape)}"
            )
    return made


def _added(state: Mapping[str, Any], other: Weights | None, what: str) -> dict[str, Any]:
    """Returns the head whose outputs are the sum of two heads' outputs."""
    pairs = [("weight", "head.weight"), ("bias", "head.bias")]
    if other is None or set(other.state) != {w for w, name in pairs if name in state}:
        raise CheckpointError(f"{what} is no dense layer such as the model's own head")
    _zipped({name: state[name] for w, name in pairs if w in other.state},
            [other.state[w] for w, _ in pairs if w in other.state], what)  # fmt: skip
    return {
        name: Made(
            tuple(state[name].shape),
            lambda a=state[name], b=other.state[word]: a.read() + b.read(),
            (state[name], other.state[word]),
        )
        for word, name in pairs
        if word in other.state
    }


def _shifted(state: Mapping[str, Any], shift: Any, what: str) -> dict[str, Any]:
    """Returns the bias that does what a shift of the features before the head does."""
    weight, bias = state.get("head.weight"), state.get("head.bias")
    if weight is None or bias is None or not isinstance(shift, Tensor):
        raise CheckpointError(f"{what} cannot be added before a head that is no dense layer")
    if math.prod(shift.shape) != weight.shape[-1]:
        raise CheckpointError(
            f"{what} does not fit: it has {math.prod(shift.shape)} numbers, the head "
            f"{weight.shape[-1]} features"
        )

    def moved() -> np.ndarray:
        product = weight.read().astype(np.float64) @ shift.read().reshape(-1).astype(np.float64)
        return (bias.read() + product).astype(np.float32)

    return {"head.bias": Made(tuple(bias.shape), moved, (bias, shift))}

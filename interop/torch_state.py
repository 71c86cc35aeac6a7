"""State dicts of PyTorch and parameters of jfl: names, order of numbers, folding, strict checks."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from interop import fold, layout
from interop import torch_names as names
from interop.layout import Array
from jfl.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from jfl.models import base as models

State = Mapping[str, Any]
"""Torch's names to arrays, or to tensors that are read with `read()`."""


_MOST_ORDERED = 6  # dense layers whose order is looked for


@dataclass(frozen=True)
class Imported:
    """A model that came from torch: jfl's dotted names, and what was found out on the way."""

    model: str
    settings: dict[str, Any]
    scheme: str
    params: dict[str, Array]
    names: dict[str, tuple[str, ...]]
    """For each of jfl's arrays, the names of torch it was made of."""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def to_torch(
    params: Mapping[str, Array],
    model: str,
    input_shape: tuple[int, ...] | None = None,
    scheme: str | None = None,
) -> dict[str, Array]:
    """Returns parameters, by dotted path, as a state dict of C-contiguous arrays.

    Raises:
        UsageError: there is no such scheme, or the input shape is needed.
        CheckpointError: the parameters are not of that model.
    """
    layers = _scheme(model, scheme, params)
    state = {}
    for path, value in params.items():
        layer, _, leaf = path.rpartition(".")
        if layer not in layers:
            raise CheckpointError(f"{path} is no array of model.name={model}")
        array = np.asarray(value)
        if leaf == "kernel":
            seen = picture(model, layer, array, params, input_shape)
            array = layout.to_torch(layout.flatten_as_torch(array, seen) if seen else array)
        word = leaf if leaf == "bias" else "weight"
        state[names.array(layers[layer], word)] = np.ascontiguousarray(array)
    return state


def from_torch(
    state: State,
    model: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    epsilon: Mapping[str, float] | None = None,
) -> Imported:
    """Returns a state dict as parameters of the model it fits.

    Args:
        state: the state dict; tensors are read one after another.
        model: which model it must be; None = whichever fits.
        input_shape: of one sample [H, W, C], where layers flatten pictures that are not square.
        epsilon: of normalisation layers, by torch's module name.

    Raises:
        CheckpointError: it fits no model; names the first array that is missing or too many.
    """
    given, wrapper = _unwrapped(state)
    known = given.keys() - {k for k in given if k.endswith(names.COUNTERS)}
    found, scheme, layers, settings = _recognise(given, known, model)
    params: dict[str, Array] = {}
    made: dict[str, tuple[str, ...]] = {}
    used: set[str] = set()
    for layer, module in layers.items():
        folded = layer.endswith("norm") and settings.get("norm") == "none"
        if folded:
            continue
        leaves, sources = _layer(given, layer, module)
        norm = layers.get(f"{layer.removesuffix('conv')}norm", "") if layer != "head" else ""
        if not layer.endswith("norm") and f"{norm}.running_mean" in known:
            leaves, more = _folded(given, norm, leaves, (epsilon or {}).get(norm, fold.EPSILON))
            sources = {leaf: (*sources["kernel"], *more) for leaf in leaves}
        for leaf, array in leaves.items():
            params[f"{layer}.{leaf}"] = array
            made[f"{layer}.{leaf}"] = tuple(wrapper + name for name in sources[leaf])
            used.update(sources[leaf])
    for path in [p for p in params if p.endswith("kernel")]:
        seen = picture(found, path.rpartition(".")[0], params[path], params, input_shape)
        if seen:
            params[path] = layout.flatten_as_jfl(params[path], seen)
    if missed := sorted(known - used):
        raise CheckpointError(f"{missed[0]} is no array of model.name={found}")
    notes = ()
    if any(name.endswith("running_mean") for name in known):
        notes = ("BatchNorm was folded into the convolutions: for evaluation, not for training on",)
    skipped = tuple(sorted(wrapper + k for k in given.keys() - known))
    return Imported(found, settings, scheme, dict(sorted(params.items())), made, skipped, notes)


def difference(
    given: Mapping[str, tuple[tuple[int, ...], str]],
    model: str,
    wanted: Mapping[str, tuple[int, ...]],
    input_shape: tuple[int, ...],
) -> str | None:
    """Returns in what the first array of a state dict differs from those of a network.

    Args:
        given: shape and type of each array.
        model: the network's name.
        wanted: shapes of its arrays by jfl's dotted path.
        input_shape: of one sample.
    """
    there, _ = _unwrapped(given)
    there = {name: about for name, about in there.items() if not name.endswith(names.COUNTERS)}
    zeros = {path: np.zeros(shape, np.float32) for path, shape in wanted.items()}
    lines: list[list[str]] = []
    for scheme in schemes(model):
        made = to_torch(zeros, model, input_shape, scheme)
        right = {name: array.shape for name, array in made.items()}
        said = []
        for name in [*right, *(name for name in there if name not in right)]:
            shape, dtype = there.get(name, (None, "float"))
            if shape != right.get(name):
                ours, theirs = (
                    "absent" if known is None else str(list(known))
                    for known in (right.get(name), shape)
                )
                said.append(f"{name} is {theirs}, but in this {model} it is {ours}")
            elif "int" in dtype or dtype == "bool":
                said.append(f"{name} is {dtype}, but weights are floats")
        lines.append(said)
    return next(iter(min(lines, key=len)), None)


def _layer(
    given: State, layer: str, module: str
) -> tuple[dict[str, Array], dict[str, tuple[str, ...]]]:
    """Returns one layer's arrays as jfl has them, and what each was called."""
    word = layer.rpartition(".")[2]
    first = "scale" if word.endswith("norm") else "embedding" if word == "embedding" else "kernel"
    named, bias = names.array(module, "weight"), names.array(module, "bias")
    weight = _array(given[named])
    leaves = {first: layout.from_torch(weight) if first == "kernel" else weight}
    sources: dict[str, tuple[str, ...]] = {first: (named,)}
    if bias in given:
        leaves["bias"] = _array(given[bias])
        sources["bias"] = (bias,)
    return leaves, sources


def _folded(
    given: State, norm: str, leaves: dict[str, Array], epsilon: float
) -> tuple[dict[str, Array], list[str]]:
    """Returns a convolution with its BatchNorm in it, and what that was called."""
    words = (*fold.STATISTICS, "weight", "bias")
    parts = {w: _array(given[f"{norm}.{w}"]) for w in words if f"{norm}.{w}" in given}
    kernel, bias = fold.fold(leaves["kernel"], leaves.get("bias"), parts, epsilon)
    return {"kernel": kernel, "bias": bias}, [f"{norm}.{w}" for w in parts]


def usual(model: "models.Config") -> str | None:
    """Returns the scheme a model is written in, None for the first: PFLlib's LSTM has a ReLU."""
    return "pfllib" if getattr(model, "relu", False) else None


def schemes(model: str) -> list[str]:
    """Returns the names of the schemes a model can be written in."""
    return list(names.SCHEMES.get(model, {"plain": {}}))


def picture(
    model: str,
    layer: str,
    kernel: Array,
    params: Mapping[str, Array],
    input_shape: tuple[int, ...] | None,
) -> layout.Picture | None:
    """Returns the picture a dense layer sees flattened, None where there is none."""
    if model == "cnn" and layer == "fc":
        return layout.cnn_picture(kernel.shape[0], params["conv2.kernel"].shape[-1], input_shape)
    first = "fc1" if "fc1.kernel" in params else "head"
    if model == "mlp" and layer == first and input_shape is not None and len(input_shape) == 3:
        height, width, channels = input_shape
        return height, width, channels
    return None


def _scheme(model: str, scheme: str | None, params: Mapping[str, Any]) -> names.Scheme:
    if model not in names.SCHEMES:
        return {layer: layer for layer in {path.rpartition(".")[0] for path in params}}
    known = names.SCHEMES[model]
    if scheme is not None and scheme not in known:
        raise UsageError(f"--names {scheme} is not known for {model}; there are {', '.join(known)}")
    layers = {path.rpartition(".")[0] for path in params}
    return names.filled(known[scheme or next(iter(known))], layers)


def _recognise(
    given: State, known: set[str], model: str | None
) -> tuple[str, str, dict[str, str], dict[str, Any]]:
    """Returns model, scheme, the layers that are there, and settings."""
    nearest: tuple[int, str] | None = None
    modules = {names.module(k) for k in known}
    for name, schemes in names.SCHEMES.items():
        if model not in (None, name):
            continue
        for scheme, starred in schemes.items():
            layers = names.filled(starred, modules)
            there = {o: t for o, t in layers.items() if names.array(t, "weight") in known}
            optional = {o for o in layers if o.endswith("norm")} if name == "resnet18" else set()
            absent = layers.keys() - there.keys() - optional
            missing = sorted(names.array(layers[o], "weight") for o in absent)
            recurrent = (names.array(t, "bias") for t in there.values() if "{}" in t)
            missing += sorted(name for name in recurrent if name not in known)
            surplus = sorted(k for k in known if names.module(k) not in layers.values())
            if not missing and not surplus:
                settings = _settings(name, scheme, layers, given, known)
                return name, scheme, _present(layers, known), settings
            wrong = f"{missing[0]} is missing" if missing else f"{surplus[0]} is too many"
            score = len(missing) + len(surplus)
            if nearest is None or score < nearest[0]:
                nearest = score, f"for {name} {wrong}"
    if model in (None, "mlp") and (layers := _row(given, known)):
        widths = [int(given[f"{t}.weight"].shape[0]) for t in list(layers.values())[:-1]]
        return "mlp", "plain", layers, {"name": "mlp", "hidden": widths}
    reason = nearest[1] if nearest else "it is no row of dense layers"
    raise CheckpointError(
        f"the weights are of no model jfl has ({reason}); there are cnn, lstm, mlp and resnet18"
    )


def _present(layers: names.Scheme, known: set[str]) -> dict[str, str]:
    """Returns the layers that have weights, or statistics to fold."""
    words = ("weight", "running_mean")
    return {o: t for o, t in layers.items() if any(names.array(t, w) in known for w in words)}


def _row(given: State, known: set[str]) -> dict[str, str]:
    """Returns dense layers in a row as layers of an mlp; nothing where they are not."""
    modules = list(dict.fromkeys(k.rpartition(".")[0] for k in given if k in known))
    wanted = {f"{m}.{w}" for m in modules for w in ("weight", "bias")}
    if not modules or wanted != known:
        return {}
    shapes = {m: tuple(given[f"{m}.weight"].shape) for m in modules}
    if any(len(shape) != 2 for shape in shapes.values()):
        return {}

    def chained(order: Sequence[str]) -> bool:
        return all(shapes[b][1] == shapes[a][0] for a, b in itertools.pairwise(order))

    fitting: list[Sequence[str]] = [modules] if chained(modules) else []
    if not fitting and len(modules) <= _MOST_ORDERED:  # a file may have sorted their names
        fitting = [order for order in itertools.permutations(modules) if chained(order)]
    if len(fitting) != 1:
        return {}
    ours = [*(f"fc{i + 1}" for i in range(len(modules) - 1)), "head"]
    return dict(zip(ours, fitting[0], strict=True))


def _settings(
    name: str, scheme: str, layers: names.Scheme, given: State, known: set[str]
) -> dict[str, Any]:
    settings: dict[str, Any] = {"name": name}
    if name == "lstm":
        table, state = (
            given[names.array(layers[layer], "weight")].shape
            for layer in ("embedding", "lstm.l0.state")
        )
        settings |= {"words": int(table[0]), "embedding": int(table[-1]), "hidden": int(state[-1])}
        settings["bidirectional"] = both = "lstm.l0_reverse.state" in layers
        settings["layers"] = sum(layer.endswith(".state") for layer in layers) // (1 + both)
        settings["relu"] = scheme.startswith("pfllib")
    if name == "resnet18":
        stem = tuple(given[f"{layers['stem.conv']}.weight"].shape)
        settings["stem"] = "torchvision" if stem[-1] == 7 else "cifar"
        norm = layers["stem.norm"]
        grouped = f"{norm}.weight" in known and f"{norm}.running_mean" not in known
        settings["norm"] = "group" if grouped else "none"
    return settings


def _unwrapped(state: State) -> tuple[dict[str, Any], str]:
    given, wrapper = dict(state), ""
    for prefix in names.WRAPPERS * 2:
        if given and all(key.startswith(prefix) for key in given):
            given = {key.removeprefix(prefix): value for key, value in given.items()}
            wrapper += prefix
    return given, wrapper


def _array(value: Any) -> Array:
    array = value if isinstance(value, np.ndarray) else value.read()
    if array.dtype.kind in "buic":
        raise CheckpointError(f"weights of {array.dtype} are of no model jfl has; they are floats")
    return array

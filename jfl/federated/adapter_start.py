"""Adapters that training goes on from, and those of a saved round, each with its base.

An adapter to go on from is a run's, a folder of PEFT's, or that of a file of LoRA matrices.
"""

import math
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfl import plugins, tree
from jfl.adapters import foreign, rules
from jfl.adapters.base import layers
from jfl.adapters.lora import LORA
from jfl.errors import CheckpointError, UsageError
from jfl.federated import adapter as adapters
from jfl.federated import networks
from jfl.federated.adapter_saved import SavedAdapters
from jfl.federated.experiment import Experiment
from jfl.federated.streams import stream
from jfl.models import files
from jfl.models.base import Model
from jfl.models.language import base as languages
from jfl.runs.folder import RunFolder
from jfl.runs.reopen import chosen
from jfl.types import Params


def read(
    config: adapters.Config, network: networks.Config, model: Model, frozen: Params
) -> tuple[Params | None, list[str]]:
    """Reads the adapter of `adapter.start`; None = as it is drawn.

    Args:
        config: the `adapter` section.
        network: the `model` section.
        model: the network with its adapter.
        frozen: its base.

    Returns:
        Both matrices of each layer and layers that train whole, and sentences on what is unknown.

    Raises:
        UsageError: there is nothing like that, or other ranks or scales are set.
        CheckpointError: it is damaged, of another base or network: the first array that differs.
        SafetyError: it is made to attack its reader.
    """
    if config.start is None:
        return None, []
    path = Path(os.path.expanduser(config.start))
    if not path.exists():
        raise UsageError(
            f"adapter.start={config.start} is not there; name a run, a folder of PEFT or a file of "
            "LoRA matrices"
        )
    if adapters.is_run(path):
        found, scales = _of_run(path, model, frozen)
    elif isinstance(network, languages.Config):
        found, scales = _of_language(path, network)
    else:
        opened = files.open_matrices(path, network.name, frozen["base"], model.input_shape)
        found, scales = opened.params, opened.scales
    _require_fits(config, network, model, frozen, found)
    notes = []
    for layer, scale in scales.items():
        ours = config.lora.scale_of(layer)
        if scale is None:
            notes = [
                f"adapter.start={config.start} does not say its alpha; adapter.alpha="
                f"{config.alpha:g} counts"
            ]
        elif not math.isclose(scale, ours, rel_tol=1e-6):
            rank = config.lora.rank_of(layer)
            raise UsageError(
                f"adapter.start={config.start} counts {scale:g} at {layer}, and by adapter.alpha "
                f"it would count {ours:g}; set adapter.alpha={scale * rank:g}"
            )
    return jax.tree.map(jnp.asarray, found), notes


def _of_language(path: Path, network: languages.Config) -> tuple[Params, dict[str, float | None]]:
    said = getattr(plugins.load("language", network.name), "to_hf", None)
    if said is None or not path.is_dir():
        raise UsageError(
            f"adapter.start={path} must be a run or a folder of PEFT for a {network.name}"
        )
    config, found = foreign.taken(files.open_adapter(path, said(network)))
    paths = [place for place, layer in layers(found) if LORA in layer]
    return found, {place: config.scale_of(place) for place in paths}


def _of_run(path: Path, model: Model, frozen: Params) -> tuple[Params, dict[str, float | None]]:
    run = RunFolder(path)
    number = chosen(run.checkpoints, "last")
    run.check(number)
    config = getattr(run.config, "adapter", None)
    if config is None:
        raise UsageError(f"adapter.start={path} has no adapters; adapter.base takes such a run")
    kept = saved(run, number, model.input_shape)
    if kept.personal:
        raise UsageError(
            f"adapter.start={path} is a run in which each client has an adapter of its own; "
            f"convert that of one first: jfl convert {path} FOLDER --client 0"
        )
    if tree.sha256(kept.base) != tree.sha256(frozen["base"]):
        seed = run.config.seed
        had = f"adapter.base={config.base}" if config.base else f"seed={seed} and no adapter.base"
        raise CheckpointError(
            f"adapter.start={path} stands beside another base; set {had}, as it had"
        )
    found = kept.adapter(kept.read(None))
    paths = [place.partition(f".{LORA}.")[0] for place in tree.paths(found) if f".{LORA}." in place]
    return found, {layer: config.lora.scale_of(layer) for layer in dict.fromkeys(paths)}


def _require_fits(
    config: adapters.Config, network: networks.Config, model: Model, frozen: Params, found: Params
) -> None:
    """Refuses other arrays than an adapter of the settings has; names the first."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0))[0])
    wanted = tree.paths(tree.merge(frozen.get("a", {}), _without_sums(shapes)))
    flat = tree.paths(found)
    for place in sorted(wanted.keys() | flat.keys()):
        there, right = (side[place].shape if place in side else None for side in (flat, wanted))
        if there == right:
            continue
        remedy = ""
        if there and right and place.endswith(f".{LORA}.a"):
            remedy = f"; its rank is {there[-1]}: see adapter.rank={config.rank}"
        elif there is None or right is None:
            remedy = "; see adapter.targets and adapter.trains"
        raise CheckpointError(
            f"adapter.start={config.start}: {place} is {adapters.shown(there)}, but in this "
            f"{network.name} it is {adapters.shown(right)}{remedy}"
        )
    for place, leaf in flat.items():
        if not np.isfinite(leaf).all():
            raise CheckpointError(
                f"adapter.start={config.start}: {place} has numbers that are not finite"
            )


def _without_sums(params: Params) -> Params:
    return {name: child for name, child in params.items() if name != rules.MERGED}


def applied(params: Params, frozen: Params, start: Params | None) -> tuple[Params, Params]:
    """Returns what trains and what stays, with an adapter that was read in place of a drawn one."""
    if start is None:
        return params, frozen
    fixed = tree.paths(frozen.get("a", {}))
    flat = tree.paths(start)
    own = tree.nested({place: leaf for place, leaf in flat.items() if place not in fixed})
    if fixed:
        frozen = frozen | {"a": tree.nested({place: flat[place] for place in fixed})}
    return tree.merge(params, own), frozen


def saved(run: RunFolder, number: int, shape: tuple[int, ...] | None) -> SavedAdapters:
    """Puts the adapters of a round together.

    Args:
        run: of a federation with an adapter.
        number: the round.
        shape: of one sample.

    Raises:
        UsageError: `adapter.base` or `adapter.start` is not there, or the run does not say of what
            shape samples are.
        CheckpointError: `adapter.base` is another one now, or damaged.
    """
    experiment: Experiment = run.config
    config = experiment.adapter
    assert config is not None
    classes = run.environment.get("data", {}).get("classes")
    if shape is None or not isinstance(classes, int) or classes < 1:
        raise UsageError(f"{run.path} does not say of what shape its samples are; train it anew")
    plain = networks.build(experiment.model, shape, classes, "native")
    base = adapters.base(config, experiment.model, plain)
    model = adapters.build(config, experiment.model.name, plain)
    params, frozen = jax.jit(model.init)(stream(experiment.seed, "init"))
    params, frozen = adapters.with_base(params, frozen, base)
    begun, _ = read(config, experiment.model, model, frozen)
    _, frozen = applied(params, frozen, begun)
    kept: dict[str, Any] = run.checkpoints.read_clients(number, adapters.BASE, None)
    adapters.require_same(adapters.identity(config, frozen), kept)
    shapes = run.checkpoints.shapes(number)
    personal = any(path.startswith("own.params.") for path in shapes)
    if not personal and not any(path.startswith("shared.params.") for path in shapes):
        raise CheckpointError(f"{run.path} has no weights in round {number}")
    return SavedAdapters(experiment, run, number, personal, plain, frozen)

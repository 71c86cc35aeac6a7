"""LoRA in a federation: only adapters train, travel and are kept; the base is one for all."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from jfl import tree
from jfl.adapters import lora, rules
from jfl.adapters.base import beside
from jfl.adapters.lora import LORA, Rank
from jfl.adapters.rules import Rule
from jfl.errors import CheckpointError, UsageError
from jfl.federated import networks
from jfl.models import files
from jfl.models.base import Model
from jfl.models.language import base as languages
from jfl.runs.folder import RunFolder
from jfl.runs.reopen import chosen
from jfl.types import Params

BASE = "base"
"""The entry of a checkpoint that says for which base its adapters are, and how they mix."""
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""What a folder of weights holds."""
_TRAINING = {
    "vocabulary", "context", "init_std", "attention_dropout", "embedding_dropout",
    "residual_dropout",
}  # fmt: skip
"""Settings of a network of language that its weights do not depend on, or whose arrays tell."""
_WORD = 8  # letters of a rule's name in a checkpoint


class Config(lora.Config):
    """The `adapter` section."""

    base: str | None = None
    """Weights that stay: a run whose clients share one model, a file of weights (.pt, .pth,
    .safetensors, .npz) or a folder with one, of language a folder of transformers or a GGUF file;
    none = weights as they are drawn."""
    start: str | None = None
    """An adapter to go on from: a run's, a folder of PEFT, or a file of LoRA matrices (.pt, .pth,
    .safetensors, .npz); none = one that changes nothing yet."""
    aggregate: Rule = "fedit"
    """How adapters become one: fedit: means of both factors; ffa: the first factor never trains;
    svd: the mean of products, brought back to the rank; stack: products are added up in full."""
    ranks: dict[str, Rank] | tuple[Rank, ...] = Field(default={})  # pyright: ignore[reportIncompatibleVariableOverride]
    """By a pattern of layers, another rank; or a list, a rank for each client, at most `rank`: the
    rest of a client's factors is zero."""

    targets: tuple[str, ...] | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """Which layers: whole paths or their ends, such as attention.qkv; * stands for anything; none =
    all of them, of networks of language layers.*."""

    @property
    def client_ranks(self) -> tuple[int, ...]:
        """Returns a rank for each client; nothing where all have `rank`."""
        return () if isinstance(self.ranks, dict) else self.ranks

    @property
    def lora(self) -> lora.Config:
        """Returns what every adapter has."""
        own = self.model_dump(include={*lora.Config.model_fields})
        own |= {"targets": ("*",)} if self.targets is None else {}
        return lora.Config.model_validate(own | ({"ranks": {}} if self.client_ranks else {}))


def require_fits(config: Config, clients: int, *, personal: bool) -> None:
    """Refuses settings that a federation cannot have.

    Raises:
        UsageError: there are not as many ranks as clients, one is above `rank`, or clients would
            keep what `stack` adds up.
    """
    ranks = config.client_ranks
    if ranks and len(ranks) != clients:
        raise UsageError(
            f"adapter.ranks has {len(ranks)} ranks for {clients} clients; give one for each"
        )
    if ranks and max(ranks) > config.rank:
        raise UsageError(
            f"adapter.ranks has {max(ranks)}, and adapter.rank is {config.rank}, the "
            "largest there can be; raise that"
        )
    if config.aggregate == "stack" and personal:
        raise UsageError(
            "adapter.aggregate=stack adds up whole matrices, and with this algorithm every client "
            "would keep its own; use fedit, ffa or svd"
        )


def fitted(config: Config | None, *, language: bool) -> Config | None:
    """Returns the settings of an adapter as its network needs them.

    Beside a network of language it stands in the layers, where `targets` does not say otherwise:
    where an embedding is the head too, a product beside one is none beside the other.
    """
    if config is None or config.targets is not None:
        return config
    return config.model_copy(update={"targets": ("layers.*",) if language else ("*",)})


def build(config: Config, name: str, model: Model) -> Model:
    """Returns a network with an adapter, which mixes by the rule.

    Raises:
        UsageError: a pattern fits no layer, or a rank is above one of a layer's sides.
    """
    adapted = beside(config.lora, name, model)
    return rules.applied(config.aggregate, config.lora, adapted)


def base(config: Config, network: networks.Config, plain: Model) -> Params | None:
    """Reads the weights that stay; None = those that are drawn.

    Raises:
        UsageError: there is nothing like that, or its clients have models of their own.
        CheckpointError: it is damaged, or of another network: the first array that differs.
        SafetyError: it is made to attack its reader.
    """
    if config.base is None:
        return None
    path = Path(os.path.expanduser(config.base))
    if not path.exists():
        raise UsageError(
            f"adapter.base={config.base} is not there; name a run or a file of weights"
        )
    wanted = tree.paths(jax.eval_shape(lambda: plain.init(jax.random.key(0))[0]))
    whole = _of_run(path) if is_run(path) else _of_file(config, path, network, plain, wanted)
    flat = tree.paths(whole)
    for place in (*plain.order, *sorted(flat.keys() - wanted.keys())):
        there, right = (side[place].shape if place in side else None for side in (flat, wanted))
        if there != right:
            raise CheckpointError(
                f"adapter.base={config.base}: {place} is {shown(there)}, but in this "
                f"{network.name} it is {shown(right)}"
            )
        if not np.isfinite(flat[place]).all():
            raise CheckpointError(
                f"adapter.base={config.base}: {place} has numbers that are not finite"
            )
    return jax.tree.map(jnp.asarray, whole)


def is_run(path: Path) -> bool:
    """Tells whether a path is the folder of a run."""
    return (path / "config.yaml").is_file()


def shown(shape: tuple[int, ...] | None) -> str:
    """Returns a shape for a message; None is an array that is not there."""
    return "absent" if shape is None else str(list(shape))


def _of_run(path: Path) -> Params:
    run = RunFolder(path)
    number = chosen(run.checkpoints, "last")
    run.check(number)
    if getattr(run.config, "adapter", None) is not None:
        raise UsageError(
            f"adapter.base={path} has adapters itself; convert it first: jfl convert {path} FILE"
        )
    if not any(name.startswith("shared.params.") for name in run.checkpoints.shapes(number)):
        raise UsageError(
            f"adapter.base={path} is a run in which each client has a model of its own; convert "
            f"that of one first: jfl convert {path} --client 0 base.safetensors"
        )
    return run.checkpoints.read_clients(number, "shared.params", None)


def _of_file(
    config: Config, path: Path, network: networks.Config, plain: Model, wanted: dict[str, Any]
) -> Params:
    if isinstance(network, languages.Config):
        return _of_language(config, path, network)
    if path.is_dir():
        found = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
        if found is None:
            raise UsageError(
                f"adapter.base={config.base} is neither a run nor a folder with {WEIGHTS[0]}"
            )
        path = found
    if path.suffix.lower() == ".gguf" or (path.parent / "config.json").is_file():
        raise UsageError(
            f"adapter.base={config.base} holds a network of language, and model.name="
            f"{network.name} is another; give a run or a file of weights of one"
        )
    shapes = {place: wanted[place].shape for place in plain.order}
    try:
        params = files.open_model(path, network.name, plain.input_shape).params
    except CheckpointError as error:
        said = files.difference(path, network.name, shapes, plain.input_shape)
        raise CheckpointError(f"adapter.base={config.base}: {said or error}") from error
    if {place: leaf.shape for place, leaf in tree.paths(params).items()} != shapes:
        said = files.difference(path, network.name, shapes, plain.input_shape)
        if said:
            raise CheckpointError(f"adapter.base={config.base}: {said}")
    return params


def _of_language(config: Config, path: Path, network: languages.Config) -> Params:
    found = files.open_language(path)
    theirs = found.network
    for name in ("name", *type(network).model_fields):
        own = getattr(network, name)
        if name in _TRAINING or (there := getattr(theirs, name, own)) == own:
            continue
        raise CheckpointError(
            f"adapter.base={config.base} is a network with {name}={there}, and model.{name}={own}; "
            f"set model.{name}={there}"
        )
    return found.params


def with_base(params: Params, frozen: Params, weights: Params | None) -> tuple[Params, Params]:
    """Returns what trains and what stays, with weights that were read in place of drawn ones."""
    if weights is None:
        return params, frozen
    own = tree.part(weights, {p for p in tree.paths(params) if f".{LORA}." not in f".{p}"})
    return tree.merge(params, own), frozen | {"base": weights}


def laid_out(config: Config, frozen: Params, model: Model, backend: str) -> Params:
    """Returns what stays as it is read fastest: on CPUs a network of language layer by layer."""
    if model.losses is None or backend != "cpu" or config.aggregate == "stack":
        return frozen
    return frozen | {"base": languages.apart(frozen["base"])}


def identity(config: Config, frozen: Params) -> dict[str, np.ndarray]:
    """Returns the entry BASE of a checkpoint; of `ffa` its fixed factors belong to the base."""
    fixed = {name: frozen[name] for name in ("base", "a") if name in frozen}
    digest = bytes.fromhex(tree.sha256(fixed if "a" in fixed else frozen["base"]))
    word = config.aggregate.ljust(_WORD).encode()
    return {"sha256": np.frombuffer(digest, np.uint8), "rule": np.frombuffer(word, np.uint8)}


def require_same(own: dict[str, np.ndarray], kept: dict[str, Any]) -> None:
    """Refuses a checkpoint whose adapters are for another base.

    Raises:
        CheckpointError: they are.
    """
    if not np.array_equal(own["sha256"], np.asarray(kept["sha256"])):
        said = bytes(np.asarray(kept["sha256"])).hex()[:12]
        raise CheckpointError(
            f"the checkpoint's adapters are for a base of SHA-256 {said}..., and adapter.base is "
            "another one now; put back the base it was trained on"
        )

"""A trained network with its tokenizer: of a run here, or from a file of nanochat or its forks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jfl.adapters import networks
from jfl.adapters.networks import Network
from jfl.errors import CheckpointError, DataError, UsageError
from jfl.lm.base.config import Config
from jfl.lm.named import Named
from jfl.lm.tokenizer import saved
from jfl.models import files
from jfl.models.language import base as languages
from jfl.models.language.base import Computation
from jfl.runs import reopen, seal
from jfl.runs.folder import RunFolder
from jfl.runs.lock import check_links
from jfl.text.base import Tokenizer
from jfl.types import Params

KINDS = ("lm.base",)
TOKENIZER = "tokenizer"
"""The folder of a run in which its tokenizer is."""


@dataclass(frozen=True)
class Opened:
    """A network as it was saved."""

    title: str
    network: Any
    """A nanochat.Config."""
    params: Params
    """Nested dicts of NumPy arrays."""
    tokenizer: Tokenizer
    step: int
    config: Config | None
    """The settings of its run; None of others' files."""
    notes: tuple[str, ...] = ()


def takes(path: Path) -> bool:
    """Tells whether `opened` reads what lies at a path."""
    if (path / seal.CONFIG).is_file():
        return RunFolder(path).kind.name in KINDS
    return files.is_nanochat(path)


def opened(named: Named, tokenizer: str | None = None) -> Opened:
    """Opens a network; of a run only its parameters are read.

    Args:
        named: which one.
        tokenizer: the folder of one, for others' files that have none beside them.

    Raises:
        UsageError: it is of another job, or there is no such file.
        CheckpointError: it is damaged.
        DataError: the tokenizer is not the one it was trained with.
        SafetyError: it is made to attack its reader.
    """
    if (named.path / seal.CONFIG).is_file():
        if tokenizer is not None:
            raise UsageError(f"{named.path} has a tokenizer of its own; leave --tokenizer out")
        return _of_run(named)
    found = files.open_nanochat(named.path, named.step)
    place = tokenizer or found.tokenizer
    if place is None:
        raise UsageError(f"no tokenizer lies beside {named.path}; give --tokenizer FOLDER")
    known = saved.open(place)
    if known.vocabulary != found.network.vocabulary:
        raise DataError(
            f"{place} has {known.vocabulary:,} tokens, but {named.path} was trained with "
            f"{found.network.vocabulary:,}; give its own with --tokenizer FOLDER"
        )
    title = f"{named.path.name}, depth {found.network.layers}"
    return Opened(title, found.network, found.params, known, found.step, None, found.notes)


def _of_run(named: Named) -> Opened:
    run = RunFolder(named.path)
    check_links(run.path)
    if run.kind.name not in KINDS:
        raise UsageError(f"{run.path} is a run of {run.kind.name}; name one of jfl lm base-train")
    config, checkpoints = run.config, run.checkpoints
    number = reopen.chosen(checkpoints, named.step, run.kind.unit)
    run.check(number)
    tokenizer = saved.open(run.path / TOKENIZER)
    require_own(tokenizer, run)
    network = config.network(tokenizer.vocabulary)
    params = checkpoints.read_clients(number, "params", None)
    wanted = {len(params["embed"]["tokens"]["embedding"]), len(params["head"]["kernel"].T)}
    if wanted != {network.vocabulary}:
        raise CheckpointError(f"the checkpoint {number} of {run.path} is of another tokenizer")
    title = f"{config.name}, depth {config.depth}, seed {config.seed}"
    return Opened(title, network, params, tokenizer, number, config)


def require_own(tokenizer: Tokenizer, run: RunFolder) -> None:
    """Refuses a tokenizer that is not the one a run was begun with.

    Raises:
        DataError: its hash is another.
    """
    known = run.environment.get("data")
    wanted = known.get("tokenizer") if isinstance(known, dict) else None
    if wanted is not None and wanted != tokenizer.digest:
        raise DataError(
            f"the tokenizer of {run.path} is another than when it began; put it back, or start a "
            "new run"
        )


def network(found: Opened, computation: Computation | None = None) -> Network:
    """Returns it as what texts are sampled from."""
    model = languages.build(found.network, computation)
    return networks.made(found.title, model, found.params, found.tokenizer)

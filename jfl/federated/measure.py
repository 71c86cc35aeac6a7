"""Evaluation of a saved run: one block of clients in memory, whatever their number."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jfl import tree
from jfl.errors import UsageError
from jfl.federated import folder as folders
from jfl.federated import out_of_distribution, saved
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Rows, Samples
from jfl.federated.heads import members
from jfl.federated.heads.folder import HeadsFolder
from jfl.federated.heads.members import Ensemble, Outputs
from jfl.federated.heads.methods import base as adapters
from jfl.federated.out_of_distribution import OutOfDistribution
from jfl.federated.reliability import Predictions
from jfl.federated.saved import Saved
from jfl.files.strict_json import plain
from jfl.metrics import temperature, uncertainty
from jfl.models.base import HEAD
from jfl.report import evaluations
from jfl.report.evaluations import BASE, FINGERPRINT, SCALED
from jfl.runs.compiled import CompileClock
from jfl.runs.costs import peak_rss_mb
from jfl.runs.summary import summarise
from jfl.types import Params

MOST_SHOWN = 1000
"""Samples out of distribution that each client is shown, at the most."""

Models = tuple[Params, dict[str, Params]]
"""Clients' own models and, by name, the members of their heads; all stacked."""


def run(
    path: str,
    which: str,
    *,
    heads: Sequence[str] = (),
    ood: str | Sequence[str] | None = None,
    device: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the metrics of a saved round, all together and per client.

    Args:
        path: the run folder.
        which: a round, `best` or `last`.
        heads: names of heads of the run to measure beside its own.
        ood: noise, unseen or a data set, or several; see `out_of_distribution.find`.
        device: as in `jfl train`.
        data: settings of the data that are now others, such as `dir`.

    Raises:
        JflError: no such run, round or heads, a damaged checkpoint, missing data.
    """
    started = time.perf_counter()
    base = saved.load(path, which, device=device, data=data)
    if base.federation.model.losses is not None:
        return _of_language(base, started, heads, ood)
    clock = CompileClock()
    words = [ood] if isinstance(ood, str) else list(ood or ())
    strange = [out_of_distribution.find(base.federation, word, MOST_SHOWN) for word in words]
    evaluation = Evaluation(base, heads)
    found, divisor = evaluation.measure(strange)
    methods = {name: said.summary() for name, said in found.items()}
    if divisor is not None:
        methods[SCALED]["temperature"] = divisor
    result = saved.describe(base) | methods[BASE]
    result |= {SCALED: methods.get(SCALED)}  # none without validation samples
    if heads:
        prints = {name: {FINGERPRINT: evaluation.fingerprint(name)} for name in heads}
        result |= {"heads": {name: methods[name] | prints[name] for name in heads}}
    sets = {item.name: {"name": item.name, "samples": item.rows.count} for item in strange}
    if sets:
        result |= {"ood": sets[strange[-1].name], "ood_sets": sets}
    result |= _costs(base, started, clock) | {"per_client": found[BASE].result.per_client()}
    bins = {name: said.bins() for name, said in found.items()}
    result, files = evaluations.keep(base.folder.path, plain(result), bins)
    return result | {"files": files}


def _costs(base: Saved, started: float, clock: CompileClock) -> dict[str, Any]:
    return {
        "seconds": time.perf_counter() - started,
        "seconds_per_round": summarise(base.folder.path, base.folder.kind)["seconds_per_round"],
        **clock.record(),
        "params_sha256": params_sha256(base),
        "peak_rss_mb": peak_rss_mb(),
        "data": folders.data_record(base.federation),
    }


def _of_language(base: Saved, started: float, heads: Sequence[str], ood: Any) -> dict[str, Any]:
    """Returns the metrics of a network that tells what follows; there is nothing to calibrate."""
    if heads or ood:
        raise UsageError(
            f"{base.folder.path} is of a network of language, which has neither heads nor samples "
            "out of distribution; leave --heads and --ood out"
        )
    clock, federation = CompileClock(), base.federation
    shared = {} if federation.algorithm.personal else {"params": base.shared()}
    own = (lambda ids, _: base.own(ids)) if federation.algorithm.personal else _nothing
    only = replace(federation.algorithm, personal=federation.algorithm.personal[:1], common=False)
    (found,) = replace(federation, algorithm=only).evaluate("test", shared, own).values()
    result = saved.describe(base)
    result |= {f"test_{name}": value for name, value in found.summary().items()}
    result |= _costs(base, started, clock) | {"per_client": found.per_client()}
    result, files = evaluations.keep(base.folder.path, plain(result), {})
    return result | {"files": files}


def _nothing(ids: Any, name: str) -> Params:
    del ids, name
    return {}


class Evaluation:
    """Predictions of a saved round on its clients' own test samples."""

    def __init__(self, base: Saved, heads: Sequence[str]) -> None:
        """Finds the heads to measure beside the base.

        Raises:
            UsageError: there are no such heads, or they are of another round.
        """
        self._base = base
        self._heads = {name: HeadsFolder(base.folder.path, name) for name in heads}
        prior = jax.eval_shape(base.federation.model.init, jax.random.key(0))[0][HEAD]
        self._ensembles: dict[str, Ensemble] = {}
        for name, folder in self._heads.items():
            if name in (BASE, SCALED):
                raise UsageError(f"heads cannot be measured under the name {name}; it is taken")
            folder.require(base.round, base.fingerprint())
            config = folder.config
            self._ensembles[name] = Ensemble(config, adapters.build(config, prior))
        self._shared = base.shared()
        self._predict = jax.jit(self._predict_block, static_argnames="length")

    def fingerprint(self, name: str) -> str:
        """Returns the fingerprint of heads."""
        return self._heads[name].fingerprint()

    def measure(
        self, strange: Sequence[OutOfDistribution]
    ) -> tuple[dict[str, Predictions], float | None]:
        """Returns what base, temperature scaling and heads say, and the temperature.

        There is no temperature without validation samples.
        """
        base, federation = self._base, self._base.federation
        divisor = self._temperature() if federation.rows["valid"].count.any() else None
        names = [BASE, *([] if divisor is None else [SCALED]), *self._ensembles]
        clients = base.experiment.clients
        found = {name: Predictions(clients, name in self._ensembles) for name in names}
        for ids in base.blocks("test"):
            models = self._models(ids)
            counts = np.asarray(federation.rows["test"].count)[ids]
            length = members.room(federation.samples, base.longest("test"))
            said = self._said(models, federation.samples, base.rows("test", ids), length, divisor)
            labels = self._labels("test", ids, length)
            for name, outputs in said.items():
                found[name].add(ids, outputs, labels, counts)
            for item in strange:
                shown = Rows(item.rows.start[ids], item.rows.count[ids])
                room = members.room(item.samples, int(np.max(item.rows.count)))
                said = self._said(models, item.samples, base.place(shown), room, divisor)
                for name, outputs in said.items():
                    found[name].add_strange(item.name, ids, outputs, np.asarray(shown.count))
        return found, divisor

    def _temperature(self) -> float:
        """Fits one temperature to the validation samples of all clients."""
        base, federation = self._base, self._base.federation
        totals = np.zeros((base.experiment.clients, len(temperature.GRID)))
        sums = jax.jit(jax.vmap(temperature.sums))
        length = members.room(federation.samples, base.longest("valid"))
        for ids in base.blocks("valid"):
            rows = base.rows("valid", ids)
            models = (base.own(ids), {})
            said = self._predict(
                federation.client, models, self._shared, federation.samples, rows, length=length
            )
            mask = np.arange(length) < np.asarray(federation.rows["valid"].count)[ids][:, None]
            labels = self._labels("valid", ids, length)
            totals[ids] = sums(said[BASE].log_probabilities, labels, mask)["nll_at"]
        return temperature.fit(totals.sum(axis=0))

    def _models(self, ids: Int[np.ndarray, " K"]) -> Models:
        read = {name: folder.read(ids) for name, folder in self._heads.items()}
        return self._base.own(ids), self._base.place(read)

    def _labels(self, part: str, ids: Int[np.ndarray, " K"], length: int) -> Int[np.ndarray, "K L"]:
        federation = self._base.federation
        labels = np.zeros((len(ids), length), np.int32)
        for place, client in enumerate(ids):
            own = federation.dataset.y[getattr(federation.partition, part)[client]]
            labels[place, : len(own)] = own
        return labels

    def _said(
        self, models: Models, samples: Samples, rows: Rows, length: int, divisor: float | None
    ) -> dict[str, Outputs]:
        client = self._base.federation.client
        said = self._predict(client, models, self._shared, samples, rows, length=length)
        if divisor is not None:
            said[SCALED] = _at_temperature(said[BASE], np.float32(divisor))
        return said

    def _predict_block(
        self,
        client: Client,
        models: Models,
        shared: Params,
        samples: Samples,
        rows: Rows,
        *,
        length: int,
    ) -> dict[str, Outputs]:
        def one(client: Client, row: Any, shared: Params, samples: Samples) -> dict[str, Outputs]:
            (own, heads), rows = row
            ensembles = {name: (self._ensembles[name], heads[name]) for name in heads}
            said, others = members.predict(client, own | shared, ensembles, samples, rows, length)
            return {BASE: said, **others}

        return client.each(one, (models, rows), shared, samples)


@jax.jit
def _at_temperature(said: Outputs, divisor: Float[Array, ""]) -> Outputs:
    scaled = temperature.scaled(said.log_probabilities, divisor)
    logits = None if said.logits is None else said.logits / divisor
    return Outputs(scaled, uncertainty.entropy(scaled), logits)


def params_sha256(base: Saved) -> str:
    """Returns the fingerprint `jfl train` prints, of the models saved, read block by block."""
    personal, checkpoints = base.federation.algorithm.personal, base.checkpoints
    prefix = f"own.{personal[0]}." if personal else "shared.params."
    models = {
        path.removeprefix(prefix): jax.ShapeDtypeStruct(shape, dtype)
        for path, (shape, dtype) in checkpoints.shapes(base.round).items()
        if path.startswith(prefix)
    }
    clients, size = base.experiment.clients, base.block

    def read(path: str) -> Iterator[np.ndarray]:
        for first in range(0, clients, size) if personal else [None]:
            ids = None if first is None else np.arange(first, min(first + size, clients))
            yield checkpoints.read_clients(base.round, prefix + path, ids)

    return tree.sha256(models, read)

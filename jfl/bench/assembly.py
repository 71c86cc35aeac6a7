"""Heads of a run of one round, to be timed: on features that are there, or with them."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfl.bench import training
from jfl.bench.clock import seconds
from jfl.federated import saved
from jfl.federated.heads import members
from jfl.federated.heads import train as heads
from jfl.federated.heads.folder import HeadsFolder
from jfl.federated.heads.job import Heads, build
from jfl.models.base import HEAD
from jfl.runs import start
from jfl.runs.costs import peak_rss_mb
from jfl.runs.progress import Steps, Watch
from jfl.types import Params


def case(spec: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, float]]]:
    """Trains a run, and times its heads."""
    scratch = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    words = [*spec["settings"], "checkpoint.every=1"]
    result, _ = start.start([], words, Watch(), out=scratch, device=spec["device"])
    base = saved.load(result["run"], "last", device=spec["device"])
    job = build(base, heads.settings(spec["method"], []))
    federation = base.federation
    if spec["arrays"]:
        training.export(federation, Path(spec["arrays"]))
    whole = spec["work"] == "assembly"
    count, given = 0, () if whole else _features(job)
    fit = jax.jit(_fit, static_argnums=0)

    def one() -> Any:
        nonlocal count
        count += 1
        if not whole:
            return fit(job, federation.client, *given)
        folder = HeadsFolder(Path(result["run"]), str(count))
        folder.start(job.identity)
        return heads.fill(folder, job, Steps())

    def times() -> Iterator[dict[str, float]]:
        while True:
            yield {"seconds": seconds(one), "peak_rss_mb": peak_rss_mb()}

    one()
    facts = {
        "backend": federation.plan.backend,
        "embedded": federation.dataset.embedded,
        "plan": federation.plan.describe(),
        "padding": 0.0,
        "flops": _operations(job, whole=whole),
        "shape": federation.model.input_shape,
        "classes": federation.model.num_classes,
    }
    return facts, times()


def _features(job: Heads) -> tuple[Any, Params]:
    """Returns features, labels, counts and keys of all clients, and the heads."""
    base = job.base
    assert base.experiment.clients <= base.block
    (ids,) = base.blocks("train")
    own = base.own(ids)
    length = members.room(base.federation.samples, base.longest("train"))

    def one(client: Any, row: Any, samples: Any) -> Any:
        params, rows, ident = row
        key = jax.random.fold_in(jax.random.key(0), ident)
        return *members.features(client, params, samples, rows, length), rows.count, key

    def everyone(client: Any, rows: Any, samples: Any) -> Any:
        return client.each(one, rows, samples)

    given = (own, base.rows("train", ids), base.place(ids))
    return jax.jit(everyone)(base.federation.client, given, base.federation.samples), own[HEAD]


def _fit(job: Heads, client: Any, features: Any, priors: Params) -> Any:
    def one(_: Any, row: Any) -> Any:
        (z, labels, count, key), prior = row
        return job.fit(z, labels, count, prior, key)

    return client.each(one, (features, priors))


def _operations(job: Heads, *, whole: bool) -> float:
    """Returns the floating-point operations of the heads and, if asked for, the features."""
    federation, config = job.base.federation, job.config
    size = federation.experiment.train.batch_size
    prior = jax.eval_shape(federation.model.init, jax.random.key(0))[0][HEAD]
    key = jax.eval_shape(lambda: jax.random.key(0))
    member, frozen = jax.eval_shape(job.ensemble.method.init, prior, key)
    z = jax.ShapeDtypeStruct((size, prior["kernel"].shape[0]), jnp.float32)

    def loss(member: Params, frozen: Params, z: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(job.ensemble.method.apply(member, frozen, z), axis=-1).sum()

    analysis = jax.jit(jax.grad(loss)).lower(member, frozen, z).cost_analysis()
    samples = int(np.sum(federation.rows["train"].count))
    steps = samples / size * config.sampling_num * config.global_epoch
    total = steps * (analysis["flops"] if analysis else float("nan"))
    return total + (federation.operations(size)[1] / size * samples if whole else 0.0)

"""A client and a server over a real socket against the network in one piece."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import tree
from jfl.split import cut as cuts
from jfl.split import source, steps
from jfl.split.cut import PARTS, Cut
from jfl.split.parts import dropout_key
from tests.split import servers

SHAKEN = {"trunk": "own", "accumulate": 2, "batch_size": 2}


def joined(job: Any) -> Any:
    """What makes the weights of the network in one piece of the adapters of its parts."""
    found = source.open(job.config.model.name, *servers.CUT, PARTS)
    base = jax.device_put(cuts.join(found.parts))
    base |= {"head": {"kernel": base["embed"]["tokens"]["embedding"].T}}

    def params(adapter: dict) -> dict:
        stacks = [tree.paths(adapter[part]["layers"]) for part in PARTS]
        layers = {path: jnp.concatenate([s[path] for s in stacks]) for path in stacks[0]}
        return job._ends.built.adapted.whole({"layers": tree.nested(layers)}, base)

    return params


def whole(job: Any) -> Any:
    """The loss of the network in one piece, by the adapters of its parts."""
    built, params_of = job._ends.built, joined(job)

    def loss(adapter: dict, micros: list, seed: jax.Array, step: jax.Array) -> jax.Array:
        count, total = sum(rows[:, 1:].size for rows in micros), jnp.zeros(())
        params = params_of(adapter)
        for micro, rows in enumerate(micros):
            key = dropout_key(seed, step, jnp.uint32(micro))
            tokens, targets = jnp.asarray(rows[:, :-1]), jnp.asarray(rows[:, 1:])
            h, _ = built.model.hidden(params, tokens, key=key)
            total += built.model.losses(params, h, targets).sum() / count
        return total

    compiled = jax.jit(jax.value_and_grad(loss))
    return lambda adapter, micros, seed, step: compiled(
        adapter, micros, jnp.uint32(seed), jnp.uint32(step)
    )


def start(job: Any) -> dict[str, Any]:
    return job._ends.built.adapter(jax.random.key(job.config.seed))


def shaken(adapter: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), adapter)


@pytest.mark.parametrize("stash", [0, 64])
def test_gradients_are_those_of_the_whole_network(tmp_path: Path, stash: int) -> None:
    with servers.served(tmp_path, limits={"stash_mb": stash}) as (address, server):
        job = servers.client(tmp_path, address, **SHAKEN)
        adapter = shaken(start(job))
        job._adapter = {part: adapter[part] for part in ("bottom", "top")}
        job._given["trunk"] = adapter["trunk"]
        job._greet()
        micros = [job._texts.batch(0, 0, n, 2) for n in range(2)]
        passed = job._exchange.passed(job._adapter, micros, 0, 1)
        (session,) = server._ready._sessions.values()
        ours = tree.paths({**passed.gradients, "trunk": session.total})
        loss, theirs = whole(job)(adapter, micros, 0, 1)
        assert passed.loss == pytest.approx(float(loss), rel=1e-6)
        theirs = tree.paths(theirs)
        assert ours.keys() == theirs.keys()
        for path, gradient in theirs.items():
            scale = float(np.abs(gradient).max())
            assert scale > 1e-3, path
            np.testing.assert_allclose(ours[path], gradient, rtol=0, atol=1e-6 * max(1, scale))


@pytest.mark.slow
@pytest.mark.parametrize("trunk", ["own", "frozen"])
def test_the_loss_curve_is_that_of_the_whole_network(tmp_path: Path, trunk: str) -> None:
    changes = SHAKEN | {"trunk": trunk, "epochs": 4, "clip": 0.5, "schedule": "cosine", "warmup": 2}
    with servers.served(tmp_path) as (address, _):
        job = servers.client(tmp_path, address, **changes)
        ours = servers.trained(job)
        bottom = job._adapter["bottom"]
        own = job._trunk() if trunk == "own" else start(job)["trunk"]
        job._leave()
    adapter, gradient = start(job), whole(job)
    moments, parts = None, [p for p in PARTS if p != "trunk" or trunk == "own"]
    theirs = []
    for number in range(1, job.total + 1):
        epoch, index = divmod(number - 1, job._in_epoch)
        first = 2 * index
        numbers = range(first, min(first + 2, job._batches))
        micros = [job._texts.batch(0, epoch, n, 2) for n in numbers]
        loss, grads = gradient(adapter, micros, 0, number)
        moving, grads = ({p: tree_[p] for p in parts} for tree_ in (adapter, grads))
        moments = moments or steps.start(job.config.optimizer, moving)
        factor = steps.clipping(float(steps.squared_norm(grads)), 0.5)
        rate = [0.01, 0.02, *(0.03 * (1 + np.cos(np.pi * n / 6)) / 2 for n in range(6))][number - 1]
        moved, moments = steps.step(
            job.config.optimizer, moving, moments, grads, jnp.float32(rate), jnp.float32(factor)
        )
        adapter |= moved
        theirs.append(float(loss))
    assert np.ptp(theirs) > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)
    for path, leaf in tree.paths({"bottom": bottom, "trunk": own}).items():
        expected = tree.paths({part: adapter[part] for part in ("bottom", "trunk")})[path]
        np.testing.assert_allclose(leaf, expected, rtol=1e-2, atol=2e-4)
        if path.startswith("bottom") and path.endswith(".b"):
            assert np.abs(leaf).max() > 1e-3  # the original's bottom never had a gradient


@pytest.mark.parametrize("wire", ["bf16", "f16", "int8"])
def test_a_narrower_wire_costs_little(tmp_path: Path, wire: str) -> None:
    with servers.served(tmp_path) as (address, _):
        exact, narrow = (servers.client(tmp_path, address, wire=w, epochs=2) for w in ("f32", wire))
        ours, theirs = servers.trained(narrow), servers.trained(exact)
        assert ours != theirs
        np.testing.assert_allclose(ours, theirs, rtol=0.02)
        assert narrow._remote.traffic.up < 0.75 * exact._remote.traffic.up
        done = narrow.step(narrow.total + 1, 0)
        assert 0 < done.record["wire_error"] < 0.02
        assert {"bytes_up", "wire_seconds", "server_seconds"} <= done.costs.keys()


def test_the_first_factors_may_stay_as_they_are(tmp_path: Path) -> None:
    """FFA-LoRA, in all three parts, whatever the weight decay."""
    optimizer = {"factors": "b", "weight_decay": 0.5}
    with servers.served(tmp_path) as (address, _):
        job = servers.client(tmp_path, address, trunk="own", clip=0.5, optimizer=optimizer)
        servers.trained(job)
        trained, begun = job._adapter | {"trunk": job._trunk()}, start(job)
    for path, leaf in tree.paths(trained).items():
        same = np.array_equal(leaf, tree.paths(begun)[path])
        assert same == path.endswith(".a"), path


def test_counts_are_those_of_gpt2(tmp_path: Path) -> None:
    """196,608 numbers train in two blocks at rank 8, not the 12,288 that the original said."""
    from jfl.adapters.lora import Config
    from jfl.models.language import gpt2
    from jfl.split import parts

    config = Config(rank=8, targets=parts.targets(("c_attn", "c_fc", "c_proj")))
    built = parts.build(gpt2.Config(), Cut(2, 10, 12), config)
    found = jax.eval_shape(lambda: built.adapter(jax.random.key(0)))
    assert {part: tree.size(found[part]) for part in PARTS} == {
        "bottom": 196_608, "trunk": 786_432, "top": 196_608,
    }  # fmt: skip

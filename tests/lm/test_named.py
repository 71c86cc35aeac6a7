"""Which network a command means, and how it is opened."""

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("rustbpe")

from jfl.errors import CheckpointError, DataError, UsageError
from jfl.lm import named, opened
from jfl.lm.named import Named
from jfl.lm.tokenizer import training
from tests.lm import base_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one name, and one that is deeper."""
    place = tmp_path_factory.mktemp("named")
    found = [base_runs.saved(place, number) for number in (3, 6)]
    return place / "outputs", *found, base_runs.saved(place, 6, "deep", depth=2)


def test_by_its_place_or_by_stage_name_and_step(runs):
    out, first, second, deep = runs
    at = str(out)
    assert named.named(str(first), None, None, None, at) == Named(first, "last")
    assert named.named(str(first / "checkpoints" / "3"), None, None, None, at) == Named(first, "3")
    assert named.named(str(out / "tiny"), None, None, "best", at) == Named(second, "best")
    assert named.named(None, "base", "tiny", "6", at) == Named(second, "6")
    assert named.named(None, "base", "d2", None, at) == Named(deep, "last")
    assert named.named(None, "base", None, None, at) == Named(deep, "last")


@pytest.mark.parametrize(
    ("place", "stage", "name", "said"),
    [
        (None, None, None, r"^name a run, as in .* or -i base -g d12 -s 1000$"),
        ("outputs", "base", None, r"^outputs is one network, and -i and -g another; give one$"),
        (None, "sft", None, r"^-i sft is no stage that jfl trains; there are: base"),
        (None, "base", "d9", r"holds no run of base called d9 with a checkpoint; give --out DIR$"),
        ("absent", None, None, r"^absent is not there; name a run"),
    ],
)
def test_what_means_nothing_is_one_sentence(runs, place, stage, name, said):
    with pytest.raises(UsageError, match=said):
        named.named(place, stage, name, None, str(runs[0]))
    with pytest.raises(UsageError, match=r"3 is step 3, not 4; leave --step out$"):
        named.named(str(runs[1] / "checkpoints" / "3"), None, None, "4", "outputs")


def test_of_a_run_parameters_and_tokenizer_are_read(runs, tmp_path):
    _, first, *_ = runs
    found = opened.opened(Named(first, "last"))
    assert (found.step, found.network.depth, found.tokenizer.vocabulary) == (3, 1, 290)
    assert found.params["layers"]["mlp"]["up"]["kernel"].shape == (1, 64, 256)
    network = opened.network(found)
    h, _ = network.model.hidden(network.params, jnp.asarray([found.tokenizer.encode("the cat")]))
    assert np.isfinite(h).all()
    with pytest.raises(UsageError, match="has a tokenizer of its own; leave --tokenizer out"):
        opened.opened(Named(first, "last"), "tokenizer")
    with pytest.raises(CheckpointError, match=r"no checkpoint of round 5; there are: 3"):
        opened.opened(Named(first, "5"))


def test_a_run_with_another_tokenizer_is_refused(tmp_path):
    run = base_runs.saved(tmp_path)
    other = training.train(["once upon a time " * 3] * 3, 270)
    (run / "manifest.json").unlink()  # as a run of an older jfl, which has no seal
    other.save(run / "tokenizer")
    with pytest.raises((DataError, CheckpointError), match=r"another than when it began|manifest"):
        opened.opened(Named(run, "last"))

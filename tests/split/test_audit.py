"""The attack finds what was written, where it should, and not where it cannot."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import config as configs
from jfl.errors import UsageError
from jfl.models.language import base as languages
from jfl.split.audit.attack import Audit
from jfl.split.audit.search import searcher
from jfl.split.audit.settings import Config
from jfl.split.cut import Cut, rows
from jfl.split.parts import build
from tests.split import servers

SMALL = servers.NETWORK.model_copy(update={"vocabulary": 23})


def test_tokens_are_found_one_by_one() -> None:
    weights = jax.jit(languages.build(SMALL).init)(jax.random.key(0))
    cut = Cut(2, 3, 4)
    base = rows(weights, cut, "bottom") | {"embed": weights["embed"]}
    built = build(SMALL, cut, None)
    tokens = np.random.default_rng(0).integers(0, 23, (1, 9))
    seen = built.bottom({}, base, jnp.asarray(tokens), None)[0]
    search = searcher(built.model, base, 9)
    np.testing.assert_array_equal(search(seen), tokens[0])
    late = seen.at[5:].set(jax.random.normal(jax.random.key(1), (4, 8)))
    found = np.asarray(search(late))
    np.testing.assert_array_equal(found[:5], tokens[0, :5])
    assert (found[5:] != tokens[0, 5:]).any()


def test_an_audit_says_how_much_is_recovered(tmp_path: Path) -> None:
    given = {
        "kind": "split.audit", "model": {"name": str(servers.model()), "cut": [1, 3]},
        "data": {"samples": 6, "validation": 0, "max_length": 7, "tokenizer": "bytes"},
        "cuts": [1], "noises": [0.0, 30.0], "wires": ["f32", "int8"], "texts": 2, "steps": 2,
        "lora": {"rank": 2},
    }  # fmt: skip
    job = Audit(configs.check(Config, given))
    record = job.step(1, 1).record
    by = {(row["noise"], row["wire"]): row["recovered"] for row in record["rows"]}
    assert by[0.0, "f32"] == 1.0
    assert by[0.0, "int8"] > 0.5
    assert by[30.0, "f32"] < 0.3
    assert record["recovered"] == 1.0
    assert 0 < record["guess"] < 0.6
    with pytest.raises(UsageError, match="does not fit 4 layers"):
        Audit(configs.check(Config, given | {"cuts": [9]}))

"""What `jfl bench` says of itself; how fast anything is decides no test."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from jfl.adapters import base as adapters
from jfl.adapters import lora
from jfl.bench import cases, generation, language_cases, language_training, pairs, split_cases
from jfl.cli import cli
from jfl.commands import bench
from jfl.errors import UsageError
from jfl.federated import experiment
from jfl.models.language import base as languages
from jfl.models.language import gpt2, llama
from jfl.report import tables

KEYS = {"name", "backend", "size", "seconds", "reference", "reference_seconds", "speedup",
        "peak_fraction", "peak_rss_mb", "padding"}  # fmt: skip


SLOW = pytest.mark.slow


def small(case: cases.Case, *words: str) -> cases.Case:
    return replace(case, words=(*case.words, "data.name=digits", "data.on_missing=error", *words))


@pytest.mark.parametrize("suite", cases.NAMES)
def test_every_case_is_a_run_that_loads(suite: str) -> None:
    for case in cases.suite(suite, cores=2):
        if not isinstance(case, cases.Case):
            continue
        loaded = experiment.load([], case.settings)
        assert loaded.algorithm.name in case.name or case.work == "step" or case.method
        assert case.name.split("/")[0] == ("heads" if case.method else case.work)


def test_the_fixed_names_are_there() -> None:
    names = [case.name for case in cases.suite("quick", cores=2)]
    assert {"round/fedfomo/cnn-28", "round/fedavg/cnn-28", "step/cnn-32"} <= set(names)
    assert bench.SUITES == cases.NAMES


@pytest.mark.parametrize("algorithm", [pytest.param("fedavg", marks=SLOW), "fedfomo", "fedala"])
def test_a_round_is_measured_in_turns_with_pytorch(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases.Case, "pairs", 2)
    case = cases.federated_round(algorithm, 3, 200)
    case = small(case, "model={name: mlp, hidden: [200]}", "partition.name=iid")
    case = replace(case, name=f"round/{algorithm}/mlp")
    said: list[str] = []
    (row,) = pairs.run([case], "cpu", say=said.append)

    assert row.keys() >= KEYS
    assert row["reference"] == "torch"
    assert 0 < row["peak_fraction"] < 1.5
    assert row["speedup"] > 0
    assert row["padding"] == 0
    assert said == [f"1/1  round/{algorithm}/mlp, 3 clients, 200 samples"]


@pytest.mark.parametrize(
    "reference",
    [pytest.param("heads", marks=SLOW), "assembly", pytest.param("recompute", marks=SLOW)],
)
def test_heads_are_measured_in_turns_with_pytorch(
    reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases.Case, "pairs", 1)
    method = "loraph" if reference == "heads" else "aph"
    case = cases.heads(method, "heads" if reference == "heads" else "assembly", reference)
    words = ("model={name: mlp, hidden: [200]}", "partition.name=iid", "clients=3")
    case = small(case, *words, "data.limit=200", "data.image_size=null")
    case = replace(case, name=f"heads/{method}/mlp")
    (row,) = pairs.run([case], "cpu", say=lambda _: None)
    assert row["reference"] == "torch"
    assert row["speedup"] > 0
    assert 0 < row["peak_fraction"] < 1.5


@SLOW
def test_a_step_of_lora_is_measured_in_turns_with_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_cases.LoraStep, "pairs", 2)
    tiny = {"vocabulary": 500, "context": 32, "width": 32, "layers": 2, "heads": 2}
    case = language_cases.LoraStep("lora/tiny", 2, 16, tuple(tiny.items()))
    (row,) = pairs.run([case], "cpu", say=lambda _: None)
    assert row.keys() >= KEYS
    assert row["reference"] == "torch"
    low, high = row["speedup_range"]
    assert 0 < low <= row["speedup"] <= high
    assert row["peak_flops"] > 0
    assert row["reference_peak_flops"] > 0
    (size,) = {case.size for case in cases.suite("lm", cores=2) if case.name == "lora/gpt2-small"}
    assert size == "2 x 128 tokens, rank 8"


@SLOW
@pytest.mark.parametrize("tokens", [16, 0])
def test_generation_is_measured_in_turns_with_transformers(
    tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_cases.Generation, "pairs", 2)
    tiny = {"vocabulary": 500, "width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "inner": 48}
    case = language_cases.Generation("decode/tiny", 2, 16, tokens, tuple(tiny.items()))
    (row,) = pairs.run([case], "cpu", say=lambda _: None)
    assert row.keys() >= KEYS
    assert row["reference"] == "torch"
    assert row["speedup"] > 0
    assert row["peak_bytes" if tokens else "peak_flops"] > 0
    assert 0 < row["peak_fraction"] < 1.5


@SLOW
def test_split_learning_is_measured_in_turns_with_one_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(split_cases.SplitStep, "pairs", 2)
    tiny = {"vocabulary": 500, "context": 32, "width": 32, "layers": 3, "heads": 2}
    case = split_cases.SplitStep(
        "split/tiny", 2, 16, "bf16", 64, cut=(1, 2), network=tuple(tiny.items())
    )
    (row,) = pairs.run([case], "cpu", say=lambda _: None)
    assert row.keys() >= KEYS
    assert row["reference"] == "unsplit"
    assert row["speedup"] > 0
    assert 0 < row["wire_share"] < 1
    assert 4 * 2 * 16 * 32 * 2 < row["wire_bytes"] < 2 * 4 * 2 * 16 * 32 * 2
    assert row["wire_mb_per_second"] > 0
    table = tables.bench_table([row])
    assert "unsplit" in {str(column.header) for column in table.renderables[0].columns}
    assert "MB a step" in table.renderables[1].plain


def test_the_operations_of_a_prompt() -> None:
    """By XLA's count of the same prompt, whose attention computes what causal ones need twice."""
    network = llama.Config(vocabulary=500, width=64, layers=2, heads=4, kv_heads=2, inner=96)
    model, length = languages.build(network), 48

    def first(params: Any, tokens: Any) -> Any:
        h, _ = model.hidden(languages.apart(params), tokens)
        return model.logits(params, h[:, -1])

    shapes = jax.eval_shape(model.init, jax.random.key(0))
    tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
    counted = jax.jit(first).lower(shapes, tokens).cost_analysis()
    mixing = 2 * length * network.layers * length * network.width
    assert counted is not None
    wanted = generation.operations(network, length) + mixing
    assert wanted == pytest.approx(counted["flops"], rel=0.05)


def test_the_operations_of_a_step_of_lora() -> None:
    """By XLA's count of the same step without a loop over layers."""
    network = gpt2.Config(
        vocabulary=500, context=64, width=64, layers=2, heads=2,
        attention_dropout=0, embedding_dropout=0, residual_dropout=0,
    )  # fmt: skip
    adapted = adapters.build(lora.Config(rank=1, targets=("attention.qkv",)), network)
    texts = jnp.zeros((2, 64), jnp.int32)

    def loss(adapter: Any, base: Any) -> Any:
        whole = adapted.whole(adapter, languages.apart(base))
        return adapted.model.loss(whole, texts, texts, jnp.ones((2, 64)))

    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: languages.build(network).init(key))
    own = jax.eval_shape(lambda base: adapted.init(key, base), shapes)
    found = jax.jit(jax.grad(loss)).lower(own, shapes).cost_analysis()["flops"]
    assert language_training.operations(network, 2, 64) == pytest.approx(found, rel=0.15)


def test_without_the_reference_the_row_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cases.Case, "pairs", 1)
    monkeypatch.setattr(pairs, "REFERENCES", tmp_path)
    monkeypatch.setitem(cases.STEPS, "mlp", 20)
    monkeypatch.setattr(cases, "suite", lambda *_: [small(cases.step("mlp", 1))])
    done = CliRunner().invoke(cli, ["bench", "--device", "cpu", "--json"], catch_exceptions=False)
    (row,) = json.loads(done.stdout.strip().split("\n")[-1])["rows"]

    assert row["name"] == "step/mlp"
    assert row["reference"] == "absent"
    assert row["reference_seconds"] is row["speedup"] is None


def test_a_case_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    case = small(cases.step("mlp", 1), "clients=5000")
    with pytest.raises(UsageError, match=r"the bench of 0-step-mlp ended early: .*samples"):
        pairs.run([case], "cpu", say=lambda _: None)


def test_the_operations_are_those_of_the_network() -> None:
    """A network of 64 x 200 and 200 x 10 weights: 2 operations forward, 4 or 2 backward."""
    from tests.federated import federations

    ready = federations.prepare("algorithm=fedavg", model="{name: mlp, hidden: [200]}")
    step, forward = ready.operations(10)
    products = 10 * 2 * (64 * 200 + 200 * 10)
    assert forward == pytest.approx(products, rel=0.05)
    assert step == pytest.approx(3 * products - 10 * 2 * 64 * 200, rel=0.1)


def test_the_fastest_plan_is_a_yaml(tmp_path: Path) -> None:
    times = {"map-slices": 2.0, "map-winograd": 1.0, "vmap-native": 9.0}
    rows = [{"name": f"step/cnn-28/{name}", "seconds": s} for name, s in times.items()]
    text = pairs.tuned([*rows, {"name": "step/cnn-28", "seconds": 0.1}])
    assert yaml.safe_load(text) == {"plan": {"loop": "map", "lowering": "winograd"}}
    (tmp_path / "fast.yaml").write_text(text)
    loaded = experiment.load(["digits_fomo", str(tmp_path / "fast.yaml")])
    assert (loaded.plan.loop, loaded.plan.lowering) == ("map", "winograd")
    with pytest.raises(UsageError, match="--tune needs the suite step"):
        pairs.tuned([{"name": "round/fedavg/cnn-28", "seconds": np.nan}])

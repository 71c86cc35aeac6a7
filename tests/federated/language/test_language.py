"""Federations whose networks tell what follows: losses, training, metrics, adapters, bases."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import plugins, tree
from jfl.errors import DataError, JflError, UsageError
from jfl.federated.federation import Federation
from jfl.federated.rounds import Rounds
from jfl.federated.training import Training
from jfl.models.language import next_token
from jfl.runs.folder import RunFolder
from tests.command_line import warm
from tests.federated.language import talks
from tests.interop.networks import quiet

LLAMA = "{name: llama, width: 16, layers: 2, heads: 2, kv_heads: 1, inner: 24, tied: false}"
SLOWLY = "train.learning_rate=0.01"  # or rounding would grow
ADAPTER = ("adapter={rank: 2, trains: [head]}",)
METHODS = [
    pytest.param(
        name, adapter, marks=() if (name, adapter) == ("fedfomo", ADAPTER) else pytest.mark.slow
    )
    for name in plugins.names("algorithm")
    for adapter in ((), ADAPTER)
]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talks.write(tmp_path_factory.mktemp("talks"))


@pytest.fixture(scope="module")
def ready(texts: Path) -> Federation:
    return talks.prepare(texts, "algorithm=fedavg")


def by_hand(federation: Federation, params: dict, rows: np.ndarray) -> np.ndarray:
    """Nats of each told token [n, L], by NumPy from the network's logits."""
    x = federation.dataset.x[rows]
    params = jax.tree.map(jnp.asarray, params)
    logits = np.asarray(federation.model.apply(params, federation.client.frozen, jnp.asarray(x)))
    logits = logits.astype(np.float64)
    total = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    return total - np.take_along_axis(logits, x[:, 1:, None], axis=-1)[..., 0]


@pytest.mark.parametrize("network", [talks.NETWORK, pytest.param(LLAMA, marks=pytest.mark.slow)])
def test_losses_and_their_gradient(texts: Path, network: str) -> None:
    federation = talks.prepare(texts, "algorithm=fedavg", network=network)
    model, rows = federation.model, np.arange(5)
    params, frozen = model.init(jax.random.key(3))
    x = jnp.asarray(federation.dataset.x[rows])
    ours = model.losses(params, frozen, x)
    np.testing.assert_allclose(ours, by_hand(federation, params, rows).mean(1), rtol=2e-6)
    weights = jnp.array([0.5, 0.0, 0.25, 0.0, 0.25])
    slope = jax.jit(jax.value_and_grad(lambda p: model.loss(p, frozen, x, weights)))
    plain = jax.jit(jax.value_and_grad(lambda p: (model.losses(p, frozen, x) * weights).sum()))
    (loss, gradient), (wanted, expected) = slope(params), plain(params)
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    for path, leaf in tree.paths(expected).items():
        np.testing.assert_allclose(tree.at(gradient, path), leaf, atol=1e-6, err_msg=path)
    assert tuple(tree.paths(model.in_order(params))) == tuple(sorted(model.order))


def test_what_is_bfloat16_is_computed_so(texts: Path) -> None:
    federation = talks.prepare(texts, "algorithm=fedavg", "train.precision=bf16")
    params, _ = federation.model.init(jax.random.key(3))
    x = jnp.asarray(federation.dataset.x[:4])
    half = federation.client.losses(params, x)
    full = federation.model.losses(params, {}, x)
    assert half.dtype == jnp.float32
    assert 0 < np.abs(half - full).max() < 0.05


def test_metrics_are_those_of_all_tokens_and_of_each_client(ready: Federation) -> None:
    rounds = Rounds(ready)
    record = rounds.evaluate()
    params = rounds.snapshot()["shared"]["params"]
    nats = np.array([by_hand(ready, params, rows).sum() for rows in ready.partition.test])
    tokens = np.array([12 * len(rows) for rows in ready.partition.test])
    text = [ready.dataset.x[rows][:, 1:] for rows in ready.partition.test]
    nbytes = np.array([(own < 256).sum() for own in text])
    loss = nats.sum() / tokens.sum()
    assert record["test_loss"] == pytest.approx(loss, rel=1e-6)
    assert record["test_perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert record["test_bits_per_byte"] == pytest.approx(
        nats.sum() / math.log(2) / nbytes.sum(), rel=1e-6
    )
    own = np.exp(nats / tokens)
    np.testing.assert_allclose(record["test_perplexity_per_client"], own, rtol=1e-5)
    assert record["test_perplexity_mean"] == pytest.approx(own.mean(), rel=1e-5)
    assert record["test_perplexity_worst10"] == pytest.approx(own.max(), rel=1e-5)
    np.testing.assert_allclose(
        record["test_bits_per_byte_per_client"], nats / math.log(2) / nbytes, rtol=1e-5
    )
    assert "valid_loss_per_client" not in record
    assert "test_accuracy" not in record


@pytest.mark.parametrize(("method", "adapter"), METHODS)
def test_every_method_learns(texts: Path, method: str, adapter: tuple[str, ...]) -> None:
    plain = ("train={optimizer: sgd, momentum: 0, learning_rate: 0.5, clip: 1.0}",)
    words = (f"algorithm={method}", *adapter, *(plain if method == "scaffold" else ()))
    federation = talks.prepare(texts, *words, network=LLAMA)
    rounds = Rounds(federation)
    before = rounds.evaluate()["test_loss"]
    losses = [rounds.step(number).record["train_loss"] for number in range(1, 5)]
    assert losses[-1] < losses[0]
    assert rounds.evaluate()["test_loss"] < before


@pytest.mark.slow
def test_blocks_of_clients_compute_what_each_does_alone(texts: Path) -> None:
    found = {}
    for loop in ("map", "vmap"):
        words = "algorithm=local", f"plan.loop={loop}", "adapter={rank: 2}", SLOWLY
        rounds = Rounds(talks.prepare(texts, *words))
        rounds.step(1)
        found[loop] = tree.paths(rounds.snapshot()["own"]["params"])
    for path, leaf in found["map"].items():
        np.testing.assert_allclose(found["vmap"][path], leaf, atol=2e-5, err_msg=path)


REFUSED = [
    (("model={name: mlp}",), "windows of text, and model.name=mlp takes images or features"),
    (("data={name: digits}", "partition=iid"), "model.name=gpt2 takes windows of text"),
    (("model.vocabulary=200",), r"model\.vocabulary=200 is below the 261 of the data"),
    (("model.context=8",), r"model\.context=8 is below the 12 of the data"),
    (("data.window=5000",), "nobody has the 5001 tokens of a whole window"),
    (("data.by=label",), "no text has a label"),
    (("data.texts=nothing",), r"text\.name=nothing|nothing is not known"),
    (("clients=9",), "the data know 4 clients"),
    (("data.window=120",), "with enough samples to train"),
    (("adapter={rank: 2, targets: [fc7]}",), "fc7 fits no layer of gpt2"),
    (("adapter={rank: 99}",), "rank 99 is above 16"),
    (("algorithm=fedper",), "add head to|keep heads of their own"),
    (("data.tokenizer=nowhere",), "tokenizer: nowhere is not there"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_is_refused(texts: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(JflError, match=said):
        talks.prepare(texts, "algorithm=fedavg", *words).initial()


def test_a_text_that_is_no_utf8(tmp_path: Path) -> None:
    talks.write(tmp_path / "bad")
    (tmp_path / "bad" / "1.txt").write_bytes(b"caf\xe9 " * 90)
    with pytest.raises(DataError, match=r"1\.txt.*UTF-8"):
        talks.prepare(tmp_path / "bad", "algorithm=fedavg")


@pytest.mark.slow
def test_a_run_on_a_base_from_end_to_end(texts: Path, tmp_path: Path) -> None:
    words = [talks.file(texts, tmp_path / "talks.yaml"), "plan.devices=1"]
    pretrained = [*words, "clients=1", "partition=iid", "algorithm=fedavg", "rounds=2"]
    done = warm("train", *pretrained, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    base = done.answer["run"]
    lora = [*words, "--lora", f"adapter.base={base}", "adapter.rank=2", "algorithm=fedfomo"]
    done = warm("train", *lora, "rounds=2", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    run = done.answer["run"]
    assert done.answer["test_perplexity"] > 1
    assert "perplexity" in done.err
    measured = warm("eval", run, "--json", cwd=tmp_path)
    assert measured.code == 0, measured.err
    assert measured.answer["test_perplexity"] == pytest.approx(
        done.answer["test_perplexity"], rel=1e-5
    )
    assert [row["n"] for row in measured.answer["per_client"]] == [
        len(rows) for rows in json.loads((tmp_path / run / "partition.json").read_text())["test"]
    ]

    folder = RunFolder(tmp_path / run)
    kept = folder.checkpoints.restore(2)
    weights = RunFolder(tmp_path / base).checkpoints.restore(2)["shared"]["params"]
    assert bytes(np.asarray(kept["base"]["sha256"])).hex() == tree.sha256(weights)
    for path, leaf in tree.paths(kept["own"]["params"]).items():
        assert leaf.any() or not path.endswith(".b"), path

    for command in (["inspect", run, "--verify"], ["report", run], ["runs"]):
        told = warm(*command, cwd=tmp_path)
        assert told.code == 0, told.err
    assert "perplexity" in warm("table", "outputs", "--json", cwd=tmp_path).out
    page = (tmp_path / run / "report.md").read_text()
    assert "a perplexity of" in page
    assert "| bits per byte of text |" in page
    assert {"clients.png", "curves.png", "affinity.png"} <= {
        path.name for path in (tmp_path / run).iterdir()
    }
    refused = warm("heads", run, "--method", "aph", cwd=tmp_path)
    assert (refused.code, "for networks that classify" in refused.err) == (2, True)
    refused = warm("eval", run, "--ood", "noise", cwd=tmp_path)
    assert (refused.code, "neither heads nor samples" in refused.err) == (2, True)


@pytest.mark.slow
def test_a_run_that_goes_on_has_the_same_bits(texts: Path, tmp_path: Path) -> None:
    words = [talks.file(texts, tmp_path / "talks.yaml"), "--lora", "adapter.rank=2"]
    words += ["algorithm=fedala", "train.optimizer=adamw", "train.learning_rate=0.01"]
    short = warm("train", *words, "rounds=2", "--json", cwd=tmp_path)
    assert short.code == 0, short.err
    longer = warm("train", "--resume", short.answer["run"], "rounds=4", "--json", cwd=tmp_path)
    assert longer.code == 0, longer.err
    straight = warm("train", *words, "rounds=4", "--json", cwd=tmp_path)
    assert longer.answer["params_sha256"] == straight.answer["params_sha256"]


def test_an_adapter_is_in_the_layers_where_nothing_else_is_said(texts: Path) -> None:
    for words, there in (
        ((), {"layers"}),
        (("adapter.targets=[embed.*, qkv]",), {"embed", "layers"}),
    ):
        federation = talks.prepare(texts, "algorithm=local", "adapter={rank: 2}", *words)
        params, _ = jax.eval_shape(federation.model.init, jax.random.key(0))
        assert set(params) == there


def test_the_best_round_has_the_least_loss(texts: Path) -> None:
    job = Training(talks.prepare(texts, "algorithm=fedavg"))
    assert job.score({"valid_loss": 2.0}) == -2.0
    assert job.score({}) is None


def test_settings_that_are_left_out_are_as_the_texts_need_them(ready: Federation) -> None:
    network = ready.experiment.model
    assert (network.vocabulary, network.context) == (261, 12)
    assert ready.model.input_shape == (13,)
    small = network.model_copy(update={"vocabulary": 10})
    with pytest.raises(UsageError, match="leave it out"):
        next_token.sized(small, 20, 4)


@pytest.mark.slow
def test_networks_and_adapters_go_out_as_folders(texts: Path, tmp_path: Path) -> None:
    """To transformers and PEFT, which compute what jfl does; and in again."""
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    import torch

    words = [talks.file(texts, tmp_path / "talks.yaml"), "plan.devices=1", "rounds=1"]
    lora = [*words, "--lora", "adapter.rank=2", "adapter.trains=[norm]", "algorithm=local"]
    done = warm("train", *lora, "train.learning_rate=3", "train.clip=null", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    run = done.answer["run"]
    for target, *more in (("adapters",), ("one", "--client", "2"), ("whole", "--merged")):
        out = warm("convert", run, target, *more, cwd=tmp_path)
        assert out.code == 0, out.err
    assert {path.name for path in (tmp_path / "adapters").iterdir()} == {
        "base", "client_0", "client_1", "client_2", "client_3", "manifest.json",
    }  # fmt: skip
    job = Training(talks.prepare(texts, "adapter={rank: 2, trains: [norm]}", "algorithm=local"))
    federation = job.federation
    own = RunFolder(tmp_path / run).checkpoints.restore(1)["own"]["params"]
    x = federation.dataset.x[:3]
    tokens = torch.tensor(x[:, :-1], dtype=torch.long)
    for client, adapter in ((0, "adapters/client_0"), (2, "one")):
        params = jax.tree.map(lambda leaf, n=client: jnp.asarray(leaf[n]), own)
        logits = federation.model.apply(params, federation.client.frozen, jnp.asarray(x))
        below = tmp_path / ("one/base" if adapter == "one" else "adapters/base")
        network = transformers.AutoModelForCausalLM.from_pretrained(below).eval()
        with torch.no_grad(), quiet():
            plain = network(tokens).logits.numpy()
            theirs = peft.PeftModel.from_pretrained(network, tmp_path / adapter)(tokens).logits
            place = tmp_path / "whole" / f"client_{client}"
            merged = transformers.AutoModelForCausalLM.from_pretrained(place).eval()
            np.testing.assert_allclose(merged(tokens).logits, logits, atol=2e-5)
        np.testing.assert_allclose(theirs, logits, atol=2e-5)
        assert np.abs(plain - logits).max() > 1e-3
    again = warm(
        "train", *words, "algorithm=fedavg", "--lora", "adapter.rank=2", "adapter.trains=[norm]",
        "adapter.base=adapters/base", "adapter.start=one", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert again.code == 0, again.err
    for change, said in (
        ("model.scale_by_layer=true", "is a network with scale_by_layer=False"),
        ("model.width=32", "is a network with width=16"),
    ):
        refused = warm(
            "train",
            *words,
            "algorithm=fedavg",
            "--lora",
            "adapter.base=adapters/base",
            change,
            cwd=tmp_path,
        )
        assert (refused.code, said in refused.err) == (4, True), refused.err
    refused = warm("convert", run, "a.safetensors", "--client", "0", cwd=tmp_path)
    assert "become folders of transformers or PEFT" in refused.err

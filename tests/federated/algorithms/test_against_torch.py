"""Three rounds of FedAvg and FedFomo give what slow loops over PyTorch models give."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from jfl.federated.clients.base import batch_order  # noqa: E402
from jfl.federated.rounds import Rounds  # noqa: E402
from jfl.federated.streams import stream  # noqa: E402
from tests.federated import federations  # noqa: E402
from tests.reference import torch_models, torch_rounds  # noqa: E402

ROUNDS = 3
EPOCHS = 2
BATCH = 10
RATE = 0.1

MODELS = {
    "mlp": ("{name: mlp, hidden: [20]}", torch_models.mlp_state),
    "cnn": ("{name: cnn}", torch_models.cnn_state),
}
SLOW = pytest.mark.slow
SMALL, WHOLE = "participation=0.6", "participation=1.0"


@pytest.fixture(scope="module", autouse=True)
def _exact_reference():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def build(model, *changes):
    return federations.prepare(
        f"train={{batch_size: {BATCH}, learning_rate: {RATE}, local_epochs: {EPOCHS}}}",
        *changes,
        model=MODELS[model][0],
    )


def twin(model, federation):
    """Returns the torch network, and a function from jfl's weights to its state."""
    pixels, _, channels = federation.model.input_shape
    if model == "cnn":
        net = torch_models.Cnn(pixels, channels, 10)
    else:
        net = torch_models.Mlp(pixels**2 * channels, (20,), 10)

    def state(params):
        return {name: value.double() for name, value in MODELS[model][1](params).items()}

    return net, state


def batch(model, federation, ids):
    x = federation.dataset.x[ids] / 127.5 - 1.0
    y = torch.tensor(federation.dataset.y[ids], dtype=torch.long)
    return (torch_models.nchw(x) if model == "cnn" else torch.tensor(x)), y


def train_batches(model, federation, number, client):
    """Returns the batches of a client's round, in the order that jfl's random keys give."""
    owned = federation.partition.train[client]
    round_key = jax.random.fold_in(stream(federation.experiment.seed, "round"), number)
    key = jax.random.fold_in(jax.random.split(round_key)[1], client)
    found = []
    for epoch in range(EPOCHS):
        epoch_key = jax.random.fold_in(key, epoch)
        count = jnp.int32(len(owned))
        order = np.asarray(batch_order(epoch_key, count, federation.samples.longest, BATCH))
        order = order[: len(owned)]
        chosen = [order[i : i + BATCH] for i in range(0, len(owned), BATCH)]
        found += [batch(model, federation, owned[positions]) for positions in chosen]
    return found


def valid_batches(model, federation):
    return [
        [batch(model, federation, owned[i : i + BATCH]) for i in range(0, len(owned), BATCH)]
        for owned in federation.partition.valid
    ]


def run(model, federation):
    """Runs jfl; returns the final state and the rounds as the reference takes them."""
    rounds, taken = Rounds(federation), []
    for number in range(1, ROUNDS + 1):
        cohort = rounds.step(number).record["cohort"].tolist()
        batches = {i: train_batches(model, federation, number, i) for i in cohort}
        taken.append(torch_rounds.Round(cohort, batches, RATE))
    return rounds.snapshot(), taken


def start(federation):
    params, _ = federation.model.init(stream(federation.experiment.seed, "init"))
    return params


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        error = (ours[name] - value).norm() / value.norm()
        assert error < 1e-4, f"{name} is off by {error:.1e}"


@pytest.mark.parametrize(
    ("model", "share"), [("mlp", WHOLE), ("mlp", SMALL), pytest.param("cnn", SMALL, marks=SLOW)]
)
def test_fedavg(model, share):
    federation = build(model, share, "algorithm.name=fedavg")
    net, state = twin(model, federation)
    snapshot, rounds = run(model, federation)
    expected = torch_rounds.fedavg(net, state(start(federation)), rounds)
    assert_same(state(snapshot["shared"]["params"]), expected)


def pfllib_candidates(size, client, row, uploaded):
    return torch_rounds.best(row, range(len(row)), min(size, len(uploaded)))


def paper_candidates(size, client, row, uploaded):
    if not uploaded:
        return []
    others = torch_rounds.best(row, [j for j in uploaded if j != client], len(row))
    return [client, *others][: min(size, len(uploaded))]


@pytest.mark.parametrize(
    ("model", "preset", "share"),
    [
        ("mlp", "pfllib", WHOLE),
        ("mlp", "pfllib", SMALL),
        ("mlp", "paper", WHOLE),
        ("mlp", "paper", SMALL),
        ("cnn", "pfllib", WHOLE),
        pytest.param("cnn", "paper", SMALL, marks=SLOW),
    ],
)
def test_fedfomo(model, preset, share):
    size = 4 if share == WHOLE else 3
    settings = f"{{name: fedfomo, preset: {preset}, num_candidates: 4, epsilon: 0}}"
    federation = build(model, share, f"algorithm={settings}")
    net, state = twin(model, federation)
    snapshot, rounds = run(model, federation)
    rule = {"pfllib": pfllib_candidates, "paper": paper_candidates}[preset]
    expected = torch_rounds.fedfomo(
        net,
        state(start(federation)),
        valid_batches(model, federation),
        rounds,
        partial(rule, size),
        fallback={"pfllib": "current", "paper": "reference"}[preset],
        batch_mean=preset == "pfllib",
    )
    affinity = np.array(expected.affinity)
    assert (affinity < 0).any()
    assert (affinity - np.eye(len(affinity)) > 0).any()
    error = np.abs(snapshot["shared"]["affinity"] - affinity).max() / np.abs(affinity).max()
    assert error < 1e-4
    for client in range(len(affinity)):
        own = jax.tree.map(lambda leaf, i=client: leaf[i], snapshot["own"])
        assert_same(state(own["params"]), expected.models[client])
        assert_same(state(own["reference"]), expected.references[client])

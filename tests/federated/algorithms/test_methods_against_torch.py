"""Three rounds of each method on unequal clients, half of whom train, are what slow loops give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from jfl.federated.algorithms import fedala  # noqa: E402
from jfl.federated.clients.base import batch_order  # noqa: E402
from jfl.federated.rounds import Rounds  # noqa: E402
from jfl.federated.streams import stream  # noqa: E402
from tests.federated import federations  # noqa: E402
from tests.reference import torch_methods, torch_models  # noqa: E402
from tests.reference.torch_methods import Aggregating, Server  # noqa: E402

ROUNDS, EPOCHS, BATCH, RATE, HIDDEN = 3, 2, 10, 0.1, 20
CLIENTS = len(federations.TRAIN)


@pytest.fixture(scope="module", autouse=True)
def _exact_reference():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class Both:
    """The same three rounds, of jfl and as the reference takes them."""

    def __init__(self, algorithm, *changes, first=EPOCHS, folded=False, percent=80):
        self.federation = federations.prepare(
            f"train={{batch_size: {BATCH}, learning_rate: {RATE}, local_epochs: {EPOCHS}}}",
            f"algorithm={algorithm}",
            "participation=0.5",
            *changes,
            model=f"{{name: mlp, hidden: [{HIDDEN}]}}",
        )
        pixels, _, channels = self.federation.model.input_shape
        self.net = torch_models.Mlp(pixels**2 * channels, (HIDDEN,), 10)
        seed = self.federation.experiment.seed
        self.start = self.state(self.federation.model.init(stream(seed, "init"))[0])
        rounds, self.rounds, self.records = Rounds(self.federation), [], []
        for number in range(1, ROUNDS + 1):
            record = rounds.step(number).record
            key = jax.random.split(jax.random.fold_in(stream(seed, "round"), number))[1]
            second = jax.random.fold_in(key, 1)
            everyone = range(CLIENTS)
            self.rounds.append(
                torch_methods.Round(
                    record["cohort"].tolist(),
                    {i: self.shuffled(key, i, EPOCHS) for i in everyone},
                    {
                        i: self.shuffled(key if folded else second, i, first, folded)
                        for i in everyone
                    },
                    {i: self.stretch(second, i, percent) for i in everyone},
                    RATE,
                )
            )
            self.records.append(record)
        self.snapshot = rounds.snapshot()
        self.tuning = jax.random.fold_in(stream(seed, "personalise"), ROUNDS)

    @staticmethod
    def state(params):
        return {n: value.double() for n, value in torch_models.mlp_state(params).items()}

    def own(self, name="params"):
        stacked = self.snapshot["own"][name]
        return [
            self.state(jax.tree.map(lambda leaf, i=i: leaf[i], stacked)) for i in range(CLIENTS)
        ]

    def batch(self, ids):
        x = self.federation.dataset.x[ids] / 127.5 - 1.0
        return torch.tensor(x), torch.tensor(self.federation.dataset.y[ids], dtype=torch.long)

    def shuffled(self, key, client, epochs, folded=False):
        """The batches of some epochs, in the order that jfl's random keys give."""
        owned = self.federation.partition.train[client]
        count, longest = jnp.int32(len(owned)), self.federation.samples.longest
        own_key, found = jax.random.fold_in(key, client), []
        own_key = jax.random.fold_in(own_key, 1) if folded else own_key
        for epoch in range(epochs):
            order = batch_order(jax.random.fold_in(own_key, epoch), count, longest, BATCH)
            order = np.asarray(order)[: len(owned)]
            found += [owned[order[i : i + BATCH]] for i in range(0, len(owned), BATCH)]
        return [self.batch(ids) for ids in found]

    def stretch(self, key, client, percent):
        """FedALA's contiguous share of a client's samples, in their own order."""
        owned = self.federation.partition.train[client]
        size = int(percent / 100 * len(owned))
        first = jax.random.randint(
            jax.random.fold_in(key, client), (), 0, jnp.int32(len(owned) - size + 1)
        )
        owned = owned[int(first) : int(first) + size]
        return [self.batch(owned[i : i + BATCH]) for i in range(0, size, BATCH)]


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        error = (ours[name] - value).norm() / max(value.norm(), 1e-12)
        assert error < 1e-4, f"{name} is off by {error:.1e}"


def assert_all_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("kind", ["none", "momentum", "adam", "yogi", "adagrad"])
def test_fedprox_and_what_a_server_does(kind):
    server = (
        f"server: {{optimizer: {kind}, learning_rate: 0.5, beta1: 0.8, beta2: 0.95, tau: 0.01}}"
    )
    both = Both(f"{{name: fedprox, mu: 0.5, {server}}}")
    theirs = Server(kind, 0.5, beta1=0.8, beta2=0.95, tau=0.01)
    expected = torch_methods.fedprox(both.net, both.start, both.rounds, 0.5, theirs)
    assert_same(both.state(both.snapshot["shared"]["params"]), expected)
    plain = torch_methods.fedprox(both.net, both.start, both.rounds, 0.0, Server(kind, 0.5))
    assert (plain["head.weight"] - expected["head.weight"]).norm() > 1e-3


def test_ditto():
    both = Both("{name: ditto, mu: 0.5, personal_epochs: 3}", first=3)
    model, personal = torch_methods.ditto(both.net, both.start, both.rounds, CLIENTS, 0.5)
    assert_same(both.state(both.snapshot["shared"]["params"]), model)
    assert_all_same(both.own(), personal)


def test_scaffold():
    both = Both("{name: scaffold, server_learning_rate: 0.8}")
    expected = torch_methods.scaffold(both.net, both.start, both.rounds, CLIENTS, 0.8)
    model, control, controls = expected
    shared = both.snapshot["shared"]
    assert_same(both.state(shared["params"]), model)
    assert_same(both.state(shared["control"]), control)
    assert_all_same(both.own("control"), controls)


@pytest.mark.parametrize(("name", "first"), [("fedper", 0), ("fedrep", 1), ("fedrep", 10)])
def test_own_heads(name, first):
    preset = {0: "", 1: ", preset: pfllib", 10: ", preset: paper"}[first]
    both = Both(f"{{name: {name}{preset}}}", first=first, folded=True)
    expected = torch_methods.own_heads(
        both.net, both.start, both.rounds, CLIENTS, alternates=first > 0
    )
    assert_all_same(both.own(), expected)


@pytest.mark.parametrize("name", ["fedavg_ft", "fedbabu"])
def test_fine_tuned(name):
    both = Both(f"{{name: {name}, fine_tune_epochs: 2}}")
    tuning = [both.shuffled(both.tuning, client, 2) for client in range(CLIENTS)]
    model, tuned = torch_methods.fine_tuned(
        both.net,
        both.start,
        both.rounds,
        tuning,
        RATE,
        trains=lambda n: name == "fedavg_ft" or not n.startswith("head."),
    )
    assert_same(both.state(both.snapshot["shared"]["params"]), model)
    assert_all_same(both.own(), tuned)
    same = torch.allclose(model["head.weight"], both.start["head.weight"])
    assert same == (name == "fedbabu")


@pytest.mark.parametrize(("preset", "alpha"), [("paper", 0.5), ("pfllib", 0.7)])
def test_apfl(preset, alpha):
    both = Both(f"{{name: apfl, preset: {preset}, alpha: {alpha}}}")
    model, mixtures, alphas = torch_methods.apfl(
        both.net, both.start, both.rounds, CLIENTS, alpha, paper=preset == "paper"
    )
    assert_same(both.state(both.snapshot["shared"]["params"]), model)
    assert_all_same(both.own(), mixtures)
    np.testing.assert_allclose(both.snapshot["own"]["alpha"], alphas, rtol=1e-4)
    assert np.ptp(alphas) > 1e-3


@pytest.mark.parametrize(
    ("preset", "layers", "percent"), [("pfllib", 2, 80), ("pfllib", 3, 50), ("paper", 0, 80)]
)
def test_fedala(preset, layers, percent):
    settings = f"layer_idx: {layers}, rand_percent: {percent}, threshold: 0.004, num_pre_loss: 4"
    both = Both(f"{{name: fedala, preset: {preset}, {settings}}}", percent=percent)
    names = list(both.start)[-layers:]
    clients = [Aggregating(1.0, names, 0.004, 4) for _ in range(CLIENTS)]
    model, aggregated, epochs = torch_methods.fedala(
        both.net, both.start, both.rounds, clients, only_selected=preset == "paper"
    )
    assert [record["ala_epochs"].tolist() for record in both.records] == epochs
    assert max(map(max, epochs)) > 5  # somebody's first learning took a while
    assert_same(both.state(both.snapshot["shared"]["params"]), model)
    assert_all_same(both.own(), aggregated)
    weights = both.snapshot["own"]["weights"]["head"]["kernel"]
    for client, own in zip(clients, weights, strict=True):
        if client.weights is not None:
            np.testing.assert_allclose(own.T, client.weights["head.weight"], atol=2e-4)
            assert (client.weights["head.weight"] < 1).any()


def test_a_client_learns_on_the_share_that_pfllib_takes():
    for count in range(1, 400):
        assert int(fedala.stretch(jnp.int32(count), 80)) == max(int(80 / 100 * count), 1)

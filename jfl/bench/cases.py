"""What is measured: suites of cases with fixed names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from jfl.bench.language_cases import CARD, LM, LanguageCase
from jfl.bench.split_cases import SPLIT, SplitStep
from jfl.federated.clients import plan as plans
from jfl.models.base import Lowering

Work = Literal["step", "round", "heads", "assembly"]
"""Local steps; whole rounds; heads on features; features and heads, from and to the disk."""

Method = Literal["fedavg", "fedfomo", "fedala"]
"""Whose rounds are measured."""
Reference = Literal["step", "heads", "assembly", "recompute"] | Method
"""What PyTorch does beside."""

CLIENT = ("train={batch_size: 10, learning_rate: 0.005}", "checkpoint.every=1000")
FASHION = ("data={name: fashion_mnist, on_missing: embedded}", "model={name: cnn}")
DATA = {
    "cnn-28": FASHION,
    "cnn-32": ("data={name: cifar10, on_missing: embedded}", "model={name: cnn}"),
    "cnn-64": ("data={name: tiny_imagenet, on_missing: embedded}", "model={name: cnn}"),
    "resnet18": ("data={name: cifar10, on_missing: embedded}", "model={name: resnet18}"),
    "mlp": ("data={name: fashion_mnist, on_missing: embedded}", "model={name: mlp}"),
}
TEXTS = ("data={name: reviews}", "model={name: lstm}")
"""Nothing stands in for texts: their suite needs --data-dir."""
TORCH = ("cnn-28", "cnn-32", "cnn-64", "mlp", "lstm")  # networks the reference has
STEPS = {"mlp": 3000, "cnn-28": 1000, "cnn-32": 600, "cnn-64": 40, "resnet18": 20, "lstm": 10}
"""Local steps of a client in one measurement, about two seconds."""
MEMBERS, EPOCHS = 10, 10
"""Of ensembles of heads: their methods' own defaults."""
SLOWER = 20  # some variants are so many times slower


@dataclass(frozen=True)
class Case:
    """One row: a name, the settings of a run, and what of it is timed."""

    name: str
    size: str
    words: tuple[str, ...]
    work: Work
    reference: Reference | None = None
    method: Literal["aph", "loraph"] | None = None
    loop: str = "auto"
    lowering: str = "auto"
    devices: int | None = None

    beside: ClassVar[None] = None
    pairs: ClassVar[int] = 5

    @property
    def module(self) -> str:
        """Returns the name of the module of jfl.bench that does the work."""
        return "assembly" if self.method else "training"

    @property
    def script(self) -> str | None:
        """Returns the name of the file that does it in PyTorch, if there is one."""
        if self.reference is None:
            return None
        return "torch_heads.py" if self.method else "torch_round.py"

    def spec(self, data_settings: Sequence[str], arrays: str | None) -> dict[str, Any]:
        """Returns what the process of jfl is told; it writes `arrays` for the reference."""
        settings = [*self.settings, *data_settings]
        kind = {"work": self.work, "method": self.method}
        return {**kind, "settings": settings, "arrays": arrays}

    def asked(self, facts: dict[str, Any], arrays: str) -> dict[str, Any]:
        """Returns what the process of PyTorch is told."""
        return {
            "work": self.reference,
            "arrays": arrays,
            "model": next((n for n in ("mlp", "lstm") if self.name.endswith(n)), "cnn"),
            "hidden": [200],
            "shape": facts["shape"],
            "classes": facts["classes"],
            "batch_size": 10,
            "learning_rate": 0.005,
            "num_candidates": 5,
            "rand_percent": 80,
            "members": MEMBERS,
            "epochs": EPOCHS,
        }

    @property
    def settings(self) -> list[str]:
        """Returns the words after `jfl train` that make the run."""
        plan = f"plan={{loop: {self.loop}, lowering: {self.lowering}"
        plan += "}" if self.devices is None else f", devices: {self.devices}}}"
        return [*CLIENT, *self.words, plan, "seed=0"]


AnyCase = Case | LanguageCase | SplitStep


def step(network: str, cores: int, loop: str = "auto", lowering: str = "auto") -> Case:
    """Local steps of as many clients as there are cores; a second one is the time of one step."""
    variant = "" if (loop, lowering) == ("auto", "auto") else f"/{loop}-{lowering}"
    steps = STEPS[network] // (SLOWER if variant else 1)
    words = (
        *(TEXTS if network == "lstm" else DATA[network]),
        f"clients={cores}",
        f"data.limit={steps * 10 * cores}",
        "partition={name: iid, train_fraction: 0.9, valid_fraction: 0.0}",
        "algorithm=local",
    )
    reference = "step" if network in TORCH and not variant else None
    return Case(
        f"step/{network}{variant}", "batch 10", words, "step", reference, None, loop, lowering
    )


def federated_round(
    algorithm: Method,
    clients: int,
    samples: int | None,
    devices: int | None = None,
    network: Literal["cnn-28", "lstm"] = "cnn-28",
) -> Case:
    """A round with its evaluation, all clients in it, Dirichlet 0.1."""
    words = (
        *(TEXTS if network == "lstm" else FASHION),
        f"clients={clients}",
        "partition={name: dirichlet, alpha: 0.1}",
        f"algorithm={algorithm}",
        *((f"data.limit={samples}",) if samples else ()),
    )
    size = f"{clients} clients, {samples or 70_000:,} samples"
    if devices is not None:
        size += f", {devices} devices"
    name = f"round/{algorithm}/{network}"
    return Case(name, size, words, "round", algorithm, devices=devices)


def heads(
    method: Literal["aph", "loraph"],
    work: Literal["heads", "assembly"],
    reference: Literal["heads", "assembly", "recompute"],
) -> Case:
    """Ten heads of each client for ten epochs; `recompute` is a loop that never keeps features."""
    words = (
        "data={name: fashion_mnist, on_missing: embedded, image_size: 32, limit: 60000}",
        "model={name: cnn}",
        "clients=20",
        "partition={name: dirichlet, alpha: 0.1, train_fraction: 0.75, valid_fraction: 0.05}",
        "algorithm=local",
        "rounds=1",
    )
    kinds = {"heads": "features given", "assembly": "with features", "recompute": "recomputing"}
    name = f"heads/{method}/cnn-32"
    return Case(name, f"20 x 10 heads, {kinds[reference]}", words, work, reference, method)


def suite(name: str, cores: int) -> Sequence[AnyCase]:
    """Returns the cases of one of NAMES; all leaves out what needs data, an extra or a card."""
    rounds: tuple[Method, ...] = get_args(Method)
    variants = [(loop, low) for loop in set(plans.LOOPS.values()) for low in get_args(Lowering)]
    suites: dict[str, Sequence[AnyCase]] = {
        "quick": [
            *(step(network, cores) for network in ("mlp", "cnn-28", "cnn-32")),
            *(federated_round(algorithm, 20, 14_000) for algorithm in rounds),
        ],
        "step": [
            *(step(network, cores) for network in DATA),
            *(
                step(n, cores, *variant)
                for n in ("cnn-28", "cnn-32")
                for variant in sorted(variants)
            ),
        ],
        "round": [federated_round(algorithm, 20, None) for algorithm in rounds],
        "heads": [
            heads("aph", "heads", "heads"),
            heads("loraph", "heads", "heads"),
            heads("aph", "assembly", "assembly"),
            heads("aph", "assembly", "recompute"),
        ],
        "texts": [step("lstm", cores), federated_round("fedavg", 10, 500, network="lstm")],
        "memory": [federated_round("fedfomo", clients, 14_000) for clients in (20, 100)],
        "scale": [
            federated_round("fedavg", 100, 14_000, devices=devices)
            for devices in sorted({1, cores})
        ],
        "lm": LM,
        "split": SPLIT,
        "card": CARD,
    }
    if name == "all":
        apart = ("quick", "texts", "split", "card")
        left = {key: cases for key, cases in suites.items() if key not in apart}
        return [case for cases in left.values() for case in cases]
    return suites[name]


NAMES = (
    "quick", "step", "round", "heads", "memory", "scale", "lm", "card", "texts", "split", "all",
)  # fmt: skip

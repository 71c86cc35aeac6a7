"""The metrics of results: what they are called, in which unit, and which way is better."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jfl.errors import UsageError
from jfl.plugins import nearest

Better = Callable[[float], float]
"""Maps a value to how good it is: more is better."""

OF = "test_accuracy_of_"


def _more(value: float) -> float:
    return value


def _less(value: float) -> float:
    return -value


def _near_zero(value: float) -> float:
    return -abs(value)


@dataclass(frozen=True)
class Measure:
    """How a metric is shown."""

    label: str
    better: Better | None = None
    """None: neither way is better."""
    percent: bool = False

    @property
    def scale(self) -> int:
        """What a value is multiplied by before it is shown."""
        return 100 if self.percent else 1

    @property
    def digits(self) -> int:
        """Decimals of a value that is shown."""
        return 2 if self.percent else 4

    @property
    def heading(self) -> str:
        """The label with its unit."""
        return f"{self.label} (%)" if self.percent else self.label


MEASURES = {
    "test_accuracy": Measure("accuracy", _more, percent=True),
    "test_accuracy_mean": Measure("accuracy, mean of clients", _more, percent=True),
    "test_accuracy_worst10": Measure("accuracy, worst tenth", _more, percent=True),
    "valid_accuracy": Measure("validation accuracy", _more, percent=True),
    "auc": Measure("AUC", _more),
    "nll": Measure("NLL", _less),
    "brier": Measure("Brier", _less),
    "ece": Measure("ECE", _less, percent=True),
    "f_ece": Measure("F-ECE", _less, percent=True),
    "adaptive_ece": Measure("adaptive ECE", _less, percent=True),
    "mce": Measure("MCE", _less, percent=True),
    "signed_gap": Measure("confidence - accuracy", _near_zero, percent=True),
    "entropy": Measure("entropy"),
    "mutual_information": Measure("disagreement"),
    "temperature": Measure("temperature"),
    "ood_auroc": Measure("OOD AUROC", _more),
    "ood_auroc_entropy": Measure("OOD AUROC, entropy", _more),
    "ood_auroc_mutual_information": Measure("OOD AUROC, disagreement", _more),
    "ood_auroc_pooled": Measure("OOD AUROC, pooled", _more),
    "ood_aupr": Measure("OOD AUPR", _more),
    "ood_fpr95": Measure("OOD FPR95", _less, percent=True),
}
"""What is read of a result, and how; shares are 0..1 in files."""

DEFAULT = ("test_accuracy", "ece", "f_ece", "nll", "brier", "ood_auroc")


def measure(name: str) -> Measure:
    """Returns how a metric is shown."""
    if name.startswith(OF):
        return Measure(f"accuracy of {name.removeprefix(OF)}", _more, percent=True)
    return MEASURES[name]


def known(name: str) -> bool:
    """Tells whether a key of a result is a metric."""
    return name in MEASURES or name.startswith(OF)


def require(name: str, there: Iterable[str]) -> str:
    """Returns the name of a metric that some result has.

    Raises:
        UsageError: there is no such metric, or no result has it.
    """
    if not known(name):
        raise UsageError(
            f"{name} is not a metric{nearest(name, MEASURES)}; there are: {', '.join(MEASURES)}"
        )
    found = set(there)
    if name not in found:
        how = "`jfl eval RUN --ood unseen`" if name.startswith("ood_") else "`jfl eval RUN`"
        raise UsageError(
            f"none of these runs has {name} (they have: {', '.join(sorted(found))}); "
            f"{how} may measure it"
        )
    return name

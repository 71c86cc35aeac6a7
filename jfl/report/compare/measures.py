"""The metrics of results: what they are called, in which unit, and which way is better."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from jfl import plugins
from jfl.errors import UsageError
from jfl.plugins import nearest
from jfl.report.words import of_samples, parted

Better = Callable[[float], float]
"""Maps a value to how good it is: more is better."""

OF = ("test_accuracy_of_", "test_perplexity_of_")
"""What metrics of another model than a run's own begin with."""


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
    """In the heading of a column."""
    words: str
    """Where there is room for them."""
    form: str
    better: Better | None = None
    """None: neither way is better."""
    note: str = ""
    """What a reader of a table has to know of it."""

    @property
    def alone(self) -> str:
        """The words, where no line above says what they belong to."""
        return self.words.replace("  ", "AUROC ")

    @property
    def percent(self) -> bool:
        """Whether it is a share, shown in percent."""
        return self.form.endswith("%}")

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


_SHARE, _PLAIN = "{:.2%}", "{:.4f}"
_AREA = "AUC: micro one-vs-rest, mean over clients weighted by samples."

MEASURES = {
    "test_accuracy": Measure("accuracy", "accuracy, over all samples", _SHARE, _more),
    "test_accuracy_mean": Measure(
        "accuracy, mean of clients", "accuracy, mean over clients", _SHARE, _more
    ),
    "test_accuracy_worst10": Measure(
        "accuracy, worst tenth", "accuracy, worst tenth of clients", _SHARE, _more
    ),
    "valid_accuracy": Measure(
        "validation accuracy", "accuracy on validation samples", _SHARE, _more
    ),
    "test_perplexity": Measure("perplexity", "perplexity, over all tokens", _PLAIN, _less),
    "test_perplexity_mean": Measure(
        "perplexity, mean of clients", "perplexity, mean over clients", _PLAIN, _less
    ),
    "test_perplexity_worst10": Measure(
        "perplexity, worst tenth", "perplexity, worst tenth of clients", _PLAIN, _less
    ),
    "valid_perplexity": Measure(
        "validation perplexity", "perplexity on validation data", _PLAIN, _less
    ),
    "test_loss": Measure("test loss", "loss of a token (nats)", _PLAIN, _less),
    "test_bits_per_byte": Measure("bits per byte", "bits per byte of text", _PLAIN, _less),
    "loss": Measure("loss", "loss (nats)", _PLAIN, _less),
    "train_loss": Measure("training loss", "training loss (nats)", _PLAIN, _less),
    "valid_loss": Measure("validation loss", "loss on validation data (nats)", _PLAIN, _less),
    "nll": Measure("NLL", "negative log-likelihood (nats)", _PLAIN, _less),
    "brier": Measure("Brier", "Brier score (0 to 2)", _PLAIN, _less),
    "ece": Measure("ECE", "calibration error (ECE, 15 bins)", _SHARE, _less),
    "f_ece": Measure("F-ECE", "calibration error, mean over clients (F-ECE)", _SHARE, _less),
    "adaptive_ece": Measure("adaptive ECE", "calibration error, bins of equal mass", _SHARE, _less),
    "mce": Measure("MCE", "calibration error, worst bin (MCE)", _SHARE, _less),
    "signed_gap": Measure(
        "confidence - accuracy", "confidence minus accuracy", "{:+.2%}", _near_zero
    ),
    "auc": Measure("AUC", "AUC of probabilities, micro one-vs-rest", _PLAIN, _more, _AREA),
    "auc_logits": Measure(
        "AUC of logits", "AUC of logits, micro one-vs-rest", _PLAIN, _more, _AREA
    ),
    "entropy": Measure("entropy", "entropy of predictions (nats)", _PLAIN),
    "mutual_information": Measure("disagreement", "members' disagreement (nats)", _PLAIN),
    "temperature": Measure("temperature", "temperature", "{:.3f}"),
    "ood_auroc": Measure(
        "OOD AUROC", "out of distribution: AUROC, mean over clients", _PLAIN, _more
    ),
    "ood_auroc_entropy": Measure("OOD AUROC, entropy", "  by entropy", _PLAIN, _more),
    "ood_auroc_mutual_information": Measure(
        "OOD AUROC, disagreement", "  by members' disagreement", _PLAIN, _more
    ),
    "ood_auroc_pooled": Measure("OOD AUROC, pooled", "  of all clients together", _PLAIN, _more),
    "ood_aupr": Measure("OOD AUPR", "out of distribution: AUPR", _PLAIN, _more),
    "ood_fpr95": Measure("OOD FPR95", "out of distribution: FPR at 95 % TPR", _SHARE, _less),
}
"""What is read of a result, in the order in which it is shown; shares are 0..1 in files. Jobs have
others of their own, which their modules call `MEASURES`."""

COSTS = {
    f"seconds_per_{unit}": Measure(f"seconds a {unit}", f"seconds a {unit}, the median", _PLAIN)
    for unit in ("round", "step")
}
"""What a run took, which a table shows where it is asked for."""

DEFAULT = (
    "test_accuracy", "ece", "f_ece", "nll", "brier", "ood_auroc",
    "test_perplexity", "test_perplexity_mean", "test_bits_per_byte",
)  # fmt: skip


def everything() -> dict[str, Measure]:
    """Returns all metrics, those of jobs among them."""
    own = [plugins.load("job", name) for name in plugins.names("job")]
    return MEASURES | {key: m for job in own for key, m in getattr(job, "MEASURES", {}).items()}


def _known(metric: str) -> Measure | None:
    return MEASURES.get(metric) or COSTS.get(metric) or everything().get(metric)


def measure(name: str) -> Measure:
    """Returns how a metric is shown."""
    if name.startswith(OF):
        metric, _, model = name.removeprefix("test_").partition("_of_")
        own = MEASURES[f"test_{metric}"]
        label = f"{metric} of {model}"
        return replace(own, label=label, words=label)
    metric, shown = parted(name)
    alike = _known(metric) or Measure(metric, metric.replace("_", " "), _PLAIN)
    if shown is None:
        return alike
    return replace(alike, label=f"{alike.label} ({shown})", words=f"{alike.words} ({shown})")


def known(name: str) -> bool:
    """Tells whether a key of a result is a metric."""
    return name.startswith(OF) or (name not in COSTS and _known(parted(name)[0]) is not None)


def ordered(there: Iterable[str], chosen: Iterable[str] | None = None) -> list[str]:
    """Returns those metrics that there are, in their order.

    Those of samples out of distribution come last: all of the same samples together.
    """
    found, wanted = list(dict.fromkeys(there)), list(chosen or everything())
    sets = dict.fromkeys(parted(name)[1] for name in found)
    names = [*wanted, *(of_samples(name, shown) for shown in sets if shown for name in wanted)]
    return [name for name in names if name in found]


def meant(name: str, there: Iterable[str]) -> list[str]:
    """Returns the metrics that a word names: `ood_auroc` is that of any samples shown.

    Raises:
        UsageError: there is no such metric, or no result has it.
    """
    there = list(dict.fromkeys(there))
    sets = [other for other in there if parted(other)[0] == name and name not in there]
    return sets or [_there(name, there)]


def require(name: str, there: Iterable[str]) -> str:
    """Returns the name of a metric that some result has.

    Raises:
        UsageError: there is no such metric, no result has it, or it may be one of several.
    """
    names = meant(name, there)
    if len(names) > 1:
        raise UsageError(f"{name} may be {' or '.join(names)}; write which")
    return names[0]


def _there(name: str, there: Iterable[str]) -> str:
    names = everything() | COSTS
    if name not in COSTS and not known(name):
        raise UsageError(
            f"{name} is not a metric{nearest(name, names)}; there are: {', '.join(names)}"
        )
    found = set(there)
    if name not in found:
        how = "`jfl eval RUN --ood unseen`" if name.startswith("ood_") else "`jfl eval RUN`"
        raise UsageError(
            f"none of these runs has {name} (they have: {', '.join(sorted(found))}); "
            f"{how} may measure it"
        )
    return name

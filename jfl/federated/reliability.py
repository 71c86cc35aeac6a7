"""How right, and how rightly sure, predictions are: from the outputs of all clients' samples.

Gathers one block of clients at a time. What stays are sums per client, and of every sample only
how sure the prediction was, which ranks and equal-mass bins need.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jfl.federated.evaluation import classified
from jfl.federated.heads.members import Outputs
from jfl.metrics import calibration, detection, uncertainty
from jfl.report.words import of_samples
from jfl.types import Metrics

SCORES = ("confidence", "entropy", "mutual_information")
"""What may tell unfamiliar samples: 1 - largest probability, entropy, members' disagreement."""


@dataclass
class Predictions:
    """What one kind of prediction (the base, an ensemble) said of all clients' samples."""

    clients: int
    ensemble: bool = False
    """Whether there are members that can disagree."""
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    auc: dict[int, float] = field(default_factory=dict)
    auc_logits: dict[int, float] = field(default_factory=dict)
    """Of one model; an ensemble has no logits."""
    correct: dict[int, np.ndarray] = field(default_factory=dict)
    scores: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)
    """Of each client's test samples [n_i], higher where the model is less sure."""
    strange: dict[str, dict[int, dict[str, np.ndarray]]] = field(default_factory=dict)
    """The same of samples out of distribution, by the name of these."""

    def add(
        self,
        ids: Int[np.ndarray, " K"],
        outputs: Outputs,
        labels: Int[np.ndarray, "K L"],
        counts: Int[np.ndarray, " K"],
    ) -> None:
        """Takes in the outputs [K, L, ...] of some clients' test samples."""
        mask = np.arange(labels.shape[1]) < counts[:, None]
        for name, values in jax.device_get(_sums(outputs, labels, mask)).items():
            shape = (self.clients, *values.shape[1:])
            self.sums.setdefault(name, np.zeros(shape, values.dtype))[ids] = values
        said = np.asarray(outputs.log_probabilities)
        logits = None if outputs.logits is None else np.asarray(outputs.logits)
        for place, (client, count) in enumerate(zip(ids.tolist(), counts.tolist(), strict=True)):
            own, target = said[place, :count], labels[place, :count]
            self.auc[client] = _auc(own, target)
            if logits is not None:
                self.auc_logits[client] = _auc(logits[place, :count], target)
            self.correct[client] = own.argmax(axis=1) == target
        self.scores |= _scores(ids, outputs, counts)

    def add_strange(
        self, name: str, ids: Int[np.ndarray, " K"], outputs: Outputs, counts: Int[np.ndarray, " K"]
    ) -> None:
        """Takes in what was said of samples out of distribution."""
        self.strange.setdefault(name, {}).update(_scores(ids, outputs, counts))

    @property
    def result(self) -> classified.Result:
        """The sums as a result."""
        return classified.Result(self.sums)

    def summary(self) -> dict[str, float]:
        """Returns all metrics: means over samples, unless the name says otherwise."""
        summary: dict[str, Any] = self.result.summary()
        for name in ("accuracy", "accuracy_mean", "accuracy_worst10"):
            summary[f"test_{name}"] = summary.pop(name)
        pooled = {name: values.sum(axis=0) for name, values in self.sums.items()}
        everyone = range(self.clients)
        confidence = 1 - np.concatenate([self.scores[i]["confidence"] for i in everyone])
        correct = np.concatenate([self.correct[i] for i in everyone])
        samples = np.array([len(self.correct[i]) for i in everyone])
        summary["adaptive_ece"] = calibration.adaptive(confidence, correct)
        for name, areas in (("auc", self.auc), ("auc_logits", self.auc_logits)):
            if areas:
                summary[name] = _mean(np.array([areas[i] for i in everyone]), samples)
        summary |= {name: float(value) for name, value in uncertainty.result(pooled).items()}
        if not self.ensemble:
            del summary["mutual_information"]
        for name in self.strange:
            told = self._detection(name, samples)
            summary |= {of_samples(key, name): value for key, value in told.items()}
        return summary

    def _detection(self, name: str, samples: Int[np.ndarray, " N"]) -> dict[str, float]:
        """Returns how well the scores tell strange samples, per client and of all together."""
        found: dict[str, float] = {}
        strange = self.strange[name]
        for score in SCORES if self.ensemble else SCORES[:-1]:
            pairs = [(strange[i][score], self.scores[i][score]) for i in range(self.clients)]
            ending = "" if score == "confidence" else f"_{score}"
            tells = {"auroc": detection.auroc}
            if not ending:
                tells |= {"aupr": detection.aupr, "fpr95": detection.fpr95}
            for metric, tell in tells.items():
                own = np.array([tell(*pair) for pair in pairs])
                found[f"ood_{metric}{ending}"] = _mean(own, samples)
            if not ending:
                whole = (np.concatenate(side) for side in zip(*pairs, strict=True))
                found["ood_auroc_pooled"] = detection.auroc(*whole)
        return found

    def bins(self) -> dict[str, list[float]]:
        """Returns samples, sum of confidences and hits of the 15 bins, of all clients together."""
        return {
            name: self.sums[name].sum(axis=0).tolist()
            for name in ("bin_samples", "bin_confidence", "bin_correct")
        }


@jax.jit
def _sums(outputs: Outputs, labels: Int[Array, "K L"], mask: Bool[Array, "K L"]) -> Metrics:
    def one(outputs: Outputs, labels: Int[Array, " L"], mask: Bool[Array, " L"]) -> Metrics:
        said = outputs.log_probabilities
        unsure = uncertainty.sums(said, outputs.member_entropy, mask)
        return classified.sums(said, labels, mask) | unsure

    return jax.vmap(one)(outputs, labels, mask)


def _auc(outputs: Float[np.ndarray, "n C"], labels: Int[np.ndarray, " n"]) -> float:
    """Returns the area under the curve of all "is it of this class?" together (micro).

    All outputs of all samples stand in one order, so logits and log-probabilities, which differ by
    a number of each sample's own, have different areas.
    """
    target = np.arange(outputs.shape[1]) == labels[:, None]
    said = np.nan_to_num(outputs, nan=-np.inf)
    return detection.auroc(said[target], said[~target])


def _scores(
    ids: Int[np.ndarray, " K"], outputs: Outputs, counts: Int[np.ndarray, " K"]
) -> dict[int, dict[str, np.ndarray]]:
    found = jax.device_get(_unsure(outputs))
    return {
        client: {name: values[place, :count] for name, values in found.items()}
        for place, (client, count) in enumerate(zip(ids.tolist(), counts.tolist(), strict=True))
    }


@jax.jit
def _unsure(outputs: Outputs) -> Metrics:
    """Returns the scores [K, L]; what is not finite is as unsure as can be."""
    said = outputs.log_probabilities
    entropy = uncertainty.entropy(said)
    scores = {
        "confidence": (1 - jnp.exp(said.max(axis=-1)), 1.0),
        "entropy": (entropy, jnp.inf),
        "mutual_information": (entropy - outputs.member_entropy, jnp.inf),
    }
    return {name: jnp.where(jnp.isnan(v), worst, v) for name, (v, worst) in scores.items()}


def _mean(values: Float[np.ndarray, " N"], weights: Int[np.ndarray, " N"]) -> float:
    """Returns the mean over clients, weighted; those with nan are left out."""
    known = ~np.isnan(values)
    total = weights[known].sum()
    return float((values[known] * weights[known]).sum() / total) if total else float("nan")

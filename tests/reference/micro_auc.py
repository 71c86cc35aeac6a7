"""The AUC PFLlib reports, with scikit-learn, one client and one class at a time."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import label_binarize


def of_client(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Returns the area of one client's outputs [n, C]: one-vs-rest, micro-averaged.

    Of two classes scikit-learn makes one column, so a third class is named and left out again.
    """
    classes = outputs.shape[1]
    truth = label_binarize(labels, classes=np.arange(max(classes, 3)))[:, :classes]
    return float(roc_auc_score(truth, outputs, average="micro"))


def of_all(outputs: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> float:
    """Returns the mean of the clients' areas, weighted by their samples."""
    total = samples = 0.0
    for said, truth in zip(outputs, labels, strict=True):
        total += of_client(said, truth) * len(truth)
        samples += len(truth)
    return total / samples

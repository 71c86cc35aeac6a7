"""How well a score tells one kind of sample from another: AUROC, AUPR, FPR at 95 % TPR.

Source: Hanley, McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic
(ROC) Curve", Radiology 1982 (the Mann-Whitney form); Liang, Li, Srikant, "Enhancing the
Reliability of Out-of-distribution Image Detection in Neural Networks", ICLR 2018 (FPR95).

Exact, so from the scores themselves; they do not merge, except as means weighted by samples.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Scores = Float[np.ndarray, " _n"]


def auroc(positive: Scores, negative: Scores) -> float:
    """Returns the chance that a positive scores above a negative, ties half; nan without either."""
    from sklearn.metrics import roc_auc_score

    return _measured(roc_auc_score, positive, negative)


def aupr(positive: Scores, negative: Scores) -> float:
    """Returns the average precision of finding the positives; nan without either."""
    from sklearn.metrics import average_precision_score

    return _measured(average_precision_score, positive, negative)


def fpr95(positive: Scores, negative: Scores) -> float:
    """Returns the share of positives that pass where 95 % of the negatives do; nan without either.

    Positives are out of distribution here and pass when their score is as low as a familiar one.
    """
    if not len(positive) or not len(negative):
        return float("nan")
    limit = np.sort(negative)[int(np.ceil(0.95 * len(negative))) - 1]
    return float((positive <= limit).mean())


def _measured(measure: Callable[..., float], positive: Scores, negative: Scores) -> float:
    """Returns what scikit-learn measures, which takes finite scores of both kinds only."""
    if not len(positive) or not len(negative):
        return float("nan")
    scores = np.concatenate([positive, negative])
    finite = np.finfo(scores.dtype)
    truth = np.arange(len(scores)) < len(positive)
    return float(measure(truth, np.clip(scores, finite.min, finite.max)))

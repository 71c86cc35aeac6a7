"""How well a score tells one kind of sample from another: AUROC, AUPR, FPR at 95 % TPR.

Source: Hanley, McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic
(ROC) Curve", Radiology 1982 (the Mann-Whitney form); Liang, Li, Srikant, "Enhancing the
Reliability of Out-of-distribution Image Detection in Neural Networks", ICLR 2018 (FPR95).

Exact, so from the scores themselves; they do not merge, except as means weighted by samples.
"""

import numpy as np
from jaxtyping import Float

Scores = Float[np.ndarray, " _n"]


def auroc(positive: Scores, negative: Scores) -> float:
    """Returns the chance that a positive scores above a negative, ties half; nan without either."""
    if not len(positive) or not len(negative):
        return float("nan")
    both = np.concatenate([positive, negative])
    _, place, count = np.unique(both, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2  # those who tie share their mean rank
    above = ranks[place[: len(positive)]].sum() - len(positive) * (len(positive) + 1) / 2
    return float(above / len(positive) / len(negative))


def aupr(positive: Scores, negative: Scores) -> float:
    """Returns the average precision of finding the positives; nan without either."""
    if not len(positive) or not len(negative):
        return float("nan")
    scores = np.concatenate([positive, negative])
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(order < len(positive))
    last = np.append(np.diff(scores[order]) != 0, True)  # ties are found together
    hits, found = hits[last], np.flatnonzero(last) + 1
    return float((np.diff(hits, prepend=0) * hits / found).sum() / len(positive))


def fpr95(positive: Scores, negative: Scores) -> float:
    """Returns the share of positives that pass where 95 % of the negatives do; nan without either.

    Positives are out of distribution here and pass when their score is as low as a familiar one.
    """
    if not len(positive) or not len(negative):
        return float("nan")
    limit = np.sort(negative)[int(np.ceil(0.95 * len(negative))) - 1]
    return float((positive <= limit).mean())

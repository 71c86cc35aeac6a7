"""A folder of checkpoints of someone else's Orbax manager: its steps, and which of them is best.

Source: orbax.checkpoint, CheckpointManager. It keeps each step's metrics in `metrics/metrics`, but
neither its `best_fn` nor its `best_mode`, so that only names say which metric is good when large.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interop.formats import orbax
from interop.formats.base import Contents, parsed
from jfl.errors import CheckpointError, UsageError
from jfl.files import texts

_METRICS = ("metrics", "metrics")
_MORE = {
    "accuracy", "acc", "top1", "top5", "auc", "auroc", "aupr", "f1", "precision", "recall", "bleu",
    "rouge", "iou", "dice", "psnr", "ssim", "r2", "score", "reward",
}  # fmt: skip
_LESS = {
    "loss", "error", "err", "nll", "perplexity", "ppl", "mse", "rmse", "mae", "ece", "ace", "brier",
    "entropy", "xent", "cost", "wer", "cer", "fid",
}  # fmt: skip
_TURNED = {"neg", "negative", "minus", "inverse", "inv"}


def read(path: Path, which: str) -> Contents:
    """Returns the step that `N`, `best` or `last` names.

    Raises:
        CheckpointError: there is no such step, or nothing tells which is best.
        UsageError: it is no such word.
    """
    found = dict(orbax.steps(path))
    best, reason = _best(found)
    if which == "best" and best is None:
        raise CheckpointError(f"{path} does not tell which step is best: {reason}; give --round N")
    if which not in ("best", "last") and not re.fullmatch("[0-9]{1,18}", which):
        raise UsageError(f"--round {which} is not a step; give a number, best or last")
    number = {"best": best, "last": max(found)}.get(which)
    number = int(which) if number is None else number
    if number not in found:
        known = ", ".join(map(str, found))
        raise CheckpointError(f"{path} has no step {which}; there are: {known}")
    inner = orbax.read(found[number])
    about = inner.about | {
        "round": number,
        "rounds": list(found),
        "best": best,
        "unfinished": orbax.leftovers(path),
    }
    return Contents(inner.kind, inner.entries, about)


def _best(found: dict[int, Path]) -> tuple[int | None, str]:
    """Returns the step that all metrics call best, or None and why there is none."""
    values: dict[str, dict[int, float]] = {}
    for number, folder in found.items():
        for name, value in _metrics(folder):
            values.setdefault(name, {})[number] = value
    if not values:
        return None, "no step has metrics"
    chosen: dict[str, int] = {}
    for name, by_step in values.items():
        sign = _sign(name)
        if sign is None:
            return None, f"jfl does not know whether more or less is better of {name[:60]}"
        ranks = {step: (sign * value, step) for step, value in by_step.items()}
        chosen[name] = max(ranks, key=lambda step: ranks[step])  # of equals the later, as Orbax
    if len(set(chosen.values())) > 1:
        words = [f"{name[:60]} is best at {step}" for name, step in list(chosen.items())[:4]]
        return None, ", ".join(words)
    return next(iter(chosen.values())), ""


def _sign(name: str) -> int | None:
    """Returns 1 where more is better, -1 where less is, None where a name does not say."""
    words = set(re.findall("[a-z0-9]+", name.rpartition(".")[2].lower()))
    if words & _TURNED or bool(words & _MORE) == bool(words & _LESS):
        return None
    return 1 if words & _MORE else -1


def _metrics(step: Path) -> Iterator[tuple[str, float]]:
    """Yields the finite metrics of a step by dotted name.

    Raises:
        CheckpointError: its file of metrics is damaged.
    """
    path = step.joinpath(*_METRICS)
    if not path.is_file():
        return
    try:
        waiting: list[tuple[str, Any]] = [("", parsed(texts.read(path)))]
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({str(error)[:80]})") from error
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{name}.{key}" if name else key, part) for key, part in value.items()]
        elif type(value) in (int, float) and math.isfinite(value):
            yield name or "the metric", float(value)

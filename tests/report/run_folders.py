"""Run folders written by hand, as small as `jfl table` and `jfl plot` can read them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

BASE = {
    "rounds": 4,
    "clients": 2,
    "participation": 0.5,
    "data": {"name": "digits", "embedded": False, "dir": None},
    "partition": {"name": "dirichlet", "alpha": 0.1},
    "algorithm": {"name": "fedavg"},
    "plan": {"loop": "auto"},
}


def run(
    folder: Path,
    *,
    seed: int = 0,
    accuracy: float = 0.5,
    records: list[dict[str, Any]] | None = None,
    alpha: float = 0.1,
    participation: float = 0.5,
    algorithm: dict[str, Any] | str = "fedavg",
    state: str = "finished",
    **config: Any,
) -> Path:
    """Writes a run that was evaluated in rounds 2 and 4; the last with the given accuracy."""
    folder.mkdir(parents=True)
    content = BASE | {
        "name": folder.name,
        "seed": seed,
        "participation": participation,
        "partition": {"name": "dirichlet", "alpha": alpha},
        "algorithm": {"name": algorithm} if isinstance(algorithm, str) else algorithm,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content | config, sort_keys=False))
    if records is None:
        records = [
            {"round": 1},
            measured(2, accuracy / 2, valid_accuracy=0.9),
            {"round": 3},
            measured(4, accuracy, valid_accuracy=0.8),
        ]
    lines = [json.dumps(record) + "\n" for record in records]
    (folder / "journal.jsonl").write_text("".join(lines))
    done = max((record["round"] for record in records), default=0)
    (folder / "status.json").write_text(json.dumps({"state": state, "round": done}))
    return folder


def measured(number: int, accuracy: float, **more: Any) -> dict[str, Any]:
    """A line of the journal with an evaluation."""
    metrics = {"test_accuracy": accuracy, "test_nll": 1 - accuracy, "test_ece": accuracy / 10}
    return {"round": number, "train_loss": 0.5, **metrics, **more}


def evaluated(folder: Path, methods: dict[str, dict[str, float]], **more: Any) -> Path:
    """Adds what `jfl eval` keeps of round 4; of the methods, `base` stands at the top."""
    heads = {n: m for n, m in methods.items() if n not in ("base", "temperature")}
    content = {"round": 4, "title": "digits", "seconds": 3.0, "not_finite": 0}
    content |= {"test_accuracy": 0.5} | methods.get("base", {})
    content |= {"temperature": methods["temperature"]} if "temperature" in methods else {}
    content |= {"heads": heads} if heads else {}
    bins = {"bin_samples": [1.0, 3.0], "bin_confidence": [0.4, 2.5], "bin_correct": [1.0, 2.0]}
    content["bins"] = dict.fromkeys(["base", *heads], bins)
    (folder / "evaluations").mkdir(exist_ok=True)
    (folder / "evaluations" / "4.json").write_text(json.dumps(content | more))
    return folder


def grid_of_runs(out: Path, alphas: list[float], shares: list[float], seeds: int = 3) -> Path:
    """Runs of every alpha, participation and seed, with heads that are better calibrated."""
    rng = np.random.default_rng(0)
    for alpha in alphas:
        for share in shares:
            for seed in range(seeds):
                ece = 0.3 / (1 + 10 * alpha) + 0.05 * share + 0.02 * rng.random()
                folder = out / f"{alpha}-{share}-{seed}"
                run(folder, seed=seed, alpha=alpha, participation=share)
                methods = {"base": ece, "temperature": ece / 2, "aph": ece / 3, "loraph": ece / 4}
                evaluated(folder, {n: {"ece": v, "f_ece": v * 1.2} for n, v in methods.items()})
    return out

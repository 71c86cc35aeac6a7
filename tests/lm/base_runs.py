"""Pre-training small enough to be done often, as its users run it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

WORDS = ["the", "cat", "sat", "on", "a", "mat", "then", "it", "saw", "one", "red", "bird"]
STEPS = 6


def texts(folder: Path, files: int = 3) -> Path:
    """Writes shards of sentences of few words."""
    drawn = np.random.default_rng(0)
    folder.mkdir()
    for number in range(files):
        lines = []
        for _ in range(40):
            said = " ".join(drawn.choice(WORDS, drawn.integers(5, 60))) + "."
            lines.append(json.dumps({"text": said}) + "\n")
        (folder / f"shard_{number:05d}.jsonl").write_text("".join(lines))
    return folder


def config(folder: Path, **changes: Any) -> str:
    """Writes settings, and the texts they name."""
    place = folder / "texts"
    if not place.exists():
        texts(place)
    whole = {
        "kind": "lm.base",
        "name": "tiny",
        "depth": 1,
        "context": 16,
        "steps": STEPS,
        "data": {"dir": str(place), "loader": "best_fit"},
        "tokenizer": {"vocab_size": 290},
        "train": {"device_batch_size": 2, "total_batch_size": 64},
        "evaluate": {"every": 3, "tokens": 200},
        "checkpoint": {"every": 2, "keep": 3},
    } | changes
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(whole))
    return str(path)

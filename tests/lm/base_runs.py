"""Pre-training small enough to be done often, as its users run it."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml

from jfl.cli import main
from jfl.runs import folder, kinds, seal
from jfl.runs.journal import Journal

WORDS = ["the", "cat", "sat", "on", "a", "mat", "then", "it", "saw", "one", "red", "bird"]
STEPS = 6


def texts(place: Path, files: int = 3) -> Path:
    """Writes shards of sentences of few words."""
    drawn = np.random.default_rng(0)
    place.mkdir()
    for number in range(files):
        lines = []
        for _ in range(40):
            said = " ".join(drawn.choice(WORDS, drawn.integers(5, 60))) + "."
            lines.append(json.dumps({"text": said}) + "\n")
        (place / f"shard_{number:05d}.jsonl").write_text("".join(lines))
    return place


def config(place: Path, **changes: Any) -> str:
    """Writes settings, and the texts they name."""
    shards = place / "texts"
    if not shards.exists():
        texts(shards)
    whole = {
        "kind": "lm.base",
        "name": "tiny",
        "depth": 1,
        "context": 16,
        "steps": STEPS,
        "data": {"dir": str(shards), "loader": "best_fit"},
        "tokenizer": {"vocab_size": 290},
        "train": {"device_batch_size": 2, "total_batch_size": 64},
        "evaluate": {"every": 3, "tokens": 200},
        "sample": {"tokens": 0},
        "checkpoint": {"every": 2, "keep": 3},
    } | changes
    path = place / "tiny.yaml"
    path.write_text(yaml.safe_dump(whole))
    return str(path)


def job(place: Path, *words: str, **changes: Any) -> Any:
    """A training that was put together; nothing is computed."""
    kind = kinds.asked({"kind": "lm.base"})
    return kind.build(kind.load([config(place, **changes)], words))


def large(made: Any, seed: int = 0) -> Any:
    """Drawn weights for a training, none near zero."""
    drawn = np.random.default_rng(seed)
    shapes = dict(made.shapes()["params"])
    return jax.tree.map(lambda leaf: drawn.normal(0, 0.1, leaf.shape).astype(np.float32), shapes)


def saved(place: Path, number: int = STEPS, name: str = "tiny", **changes: Any) -> Path:
    """Writes a run below `place/outputs` with a checkpoint of drawn weights, and returns it."""
    made = job(place, f"name={name}", **changes)
    path = folder.new(place / "outputs", name)
    run = folder.fill(path, made)
    state = made.beginning(large(made, number))
    about = {"score": None} | seal.mark(path, Journal(path))
    checkpoints = run.checkpoints
    checkpoints.save(number, state, about, "step")
    checkpoints.wait()
    return path


def called(capsys: Any, *words: Any) -> tuple[int, Any]:
    """The exit code of a command, and its JSON answer, or the last line of stderr."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    code = ended.value.code
    assert isinstance(code, int)
    return code, json.loads(out.splitlines()[-1]) if out else err.splitlines()[-1]

"""Pre-training of a network of language, in steps.

What the keeper of runs, and who looks at them, know of this job before it is started.
"""

from collections.abc import Mapping
from typing import Any

METRIC = SCORE = "bpb"
RESUMABLE = ("evaluate.every", "checkpoint.", "sample.", "optimizer.")
"""The number of steps decides how rates fall, and so every step."""
NAMES = ("depth",)
TOLD = ("bpb", "valid_loss", "train_loss")
RESULT = {name: name for name in TOLD}


def __getattr__(name: str) -> Any:
    if name == "Config":
        from jfl.lm.base.config import Config

        return Config
    raise AttributeError(name)


def assemble(given: dict[str, Any], changes: dict[str, Any]) -> Any:
    """Returns checked settings, with the number of steps; see `config.assemble`."""
    from jfl.lm.base import config

    return config.assemble(given, changes)


def build(config: Any, run: Any = None, *, replan: bool = False) -> Any:
    """Returns the training; one that goes on has the tokenizer of its run.

    Raises:
        UsageError: the settings do not fit together.
        DataError: texts are missing, bad, or others than they were.
    """
    from jfl.lm.base import training

    return training.prepare(config, run, replan=replan)


def described(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a list of runs says of one, by its config."""
    data = config.get("data") or {}
    return {"algorithm": f"d{config.get('depth')}", "data": ", ".join(data.get("sets") or ()) or
            str(data.get("dir"))}  # fmt: skip

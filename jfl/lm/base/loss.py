"""What `jfl lm base-loss` says of a run."""

from typing import Any

from jfl.errors import UsageError
from jfl.lm.base.training import Training
from jfl.runs import reopen


def measure(run: str, which: str, *, device: str | None = None) -> dict[str, Any]:
    """Measures a saved state on texts it trained on and on those held back.

    Raises:
        JflError: there is no such run or state, or it is of another job.
    """
    found = reopen.reopen(run, which, device=device)
    if not isinstance(found.job, Training):
        raise UsageError(f"{run} is a run of {found.run.kind.name}; name one of jfl lm base-train")
    held, train = found.job.evaluate(), found.job.of_training()
    return {
        "run": run,
        "title": found.job.title,
        "step": found.number,
        "train_bpb": train.bits_per_byte,
        "train_loss": train.loss,
        "valid_bpb": held["bpb"],
        "valid_loss": held["valid_loss"],
    }

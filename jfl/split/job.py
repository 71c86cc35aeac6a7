"""Split learning: both ends of a network train here, on texts that stay; a server has the rest.

What the keeper of runs, and who looks at them, know of this job before it is started.
"""

from typing import Any

UNIT = "step"
METRIC = SCORE = "valid_loss"
RESUMABLE = ("evaluate.", "checkpoint.", "server.", "save_dir")
NAMES = ("model.name",)
RESULT = {"validation_loss": "valid_loss"}
TOLD = ("validation_loss", "first_loss", "last_loss", "lowest_loss", "mean_loss")


def __getattr__(name: str) -> Any:
    if name == "Config":
        from jfl.split.client.settings import Config

        return Config
    if name == "MEASURES":
        return _measures()
    raise AttributeError(name)


def _measures() -> dict[str, Any]:
    from jfl.report.compare.measures import Measure

    words = {
        "valid_loss": "loss on other texts", "validation_loss": "loss on other texts",
        "first_loss": "loss of the first step", "last_loss": "loss of the last step",
        "lowest_loss": "lowest loss of a step", "mean_loss": "mean loss of all steps",
    }  # fmt: skip
    return {
        key: Measure(key.replace("_", " "), text, "{:.4f}", lambda value: -value)
        for key, text in words.items()
    }


def build(config: Any, run: Any = None, *, replan: bool = False) -> Any:
    """Returns a client.

    Raises:
        UsageError: grpc is not installed, or the settings do not fit the network.
        DataError: the texts are missing or bad.
    """
    del replan
    from jfl.split.wire import extra

    extra.require()
    from jfl.split.client.training import Training

    return Training(config, run)

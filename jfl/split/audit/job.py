"""How much text a curious server recovers from what a client of split learning sends."""

from typing import Any

UNIT, METRIC = "step", "recovered"
NAMES = ("model.name",)


def __getattr__(name: str) -> Any:
    if name == "Config":
        from jfl.split.audit.settings import Config

        return Config
    if name == "MEASURES":
        from jfl.report.compare.measures import Measure

        words = "tokens of the text that were recovered, at most"
        return {"recovered": Measure("recovered tokens", words, "{:.1%}", lambda value: -value)}
    raise AttributeError(name)


def build(config: Any, run: Any = None, *, replan: bool = False) -> Any:
    """Returns the audit.

    Raises:
        UsageError: protobuf is not installed, or the settings do not fit the network.
        DataError: the texts are missing or bad.
    """
    del run, replan
    from jfl.split.wire import extra

    extra.require()
    from jfl.split.audit.attack import Audit

    return Audit(config)

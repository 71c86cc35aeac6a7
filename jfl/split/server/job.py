"""The server of split learning: it computes the trunk for clients whose texts it never sees."""

from typing import Any

UNIT, METRIC = "request", "answered"
NAMES = ("model.name",)


def __getattr__(name: str) -> Any:
    if name == "Config":
        from jfl.split.server.settings import Config

        return Config
    if name == "MEASURES":
        from jfl.report.compare.measures import Measure

        return {"answered": Measure("answered calls", "calls that were answered", "{:.0f}")}
    raise AttributeError(name)


def build(config: Any, run: Any = None, *, replan: bool = False) -> Any:
    """Returns the server.

    Raises:
        UsageError: grpc is not installed, or the settings do not fit the network.
    """
    del run, replan
    from jfl.split.wire import extra

    extra.require()
    from jfl.split.server.serving import Serving

    return Serving(config)

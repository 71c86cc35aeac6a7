"""What client and server must have in common before they speak."""

from typing import Any

from jfl.files.strict_json import dumps

VERSION = 1
_KEYS = ("context", "width", "layers", "heads", "inner", "norm_epsilon", "scale_by_layer")


def network_of(network: Any) -> str:
    """Returns what decides what a trunk computes, as text that both sides compare."""
    told = network.model_dump(mode="json")
    return dumps({key: told[key] for key in _KEYS})

"""jfl trains many models at once as one tensor program."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jfl.api import Run, train

__version__ = "0.1.0"
__all__ = ["Run", "train"]


def __getattr__(name: str) -> Any:
    """Imports what Python users call when they call it: `jfl --help` stays fast."""
    if name in __all__:
        from jfl import api

        return getattr(api, name)
    raise AttributeError(f"module 'jfl' has no attribute {name!r}")

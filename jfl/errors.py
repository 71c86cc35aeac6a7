"""What can go wrong for a user, each with its exit code.

Every message is one sentence: what, where, the value, and what would be right.
"""

from typing import Any


class JflError(Exception):
    """An error whose message is meant for the user; `code` is the exit code of the command."""

    code = 1


class UsageError(JflError):
    """A wrong command line or config (exit code 2); of a config, all settings as jfl read them."""

    code = 2

    def __init__(self, message: str, settings: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.settings = settings


class DataError(JflError):
    """Data that are missing, truncated or do not fit (exit code 3)."""

    code = 3


class CheckpointError(JflError):
    """A checkpoint or snapshot that cannot be used, or could not be written (exit code 4)."""

    code = 4


class SafetyError(JflError):
    """A file refused: reading it could execute something or fill the memory (exit code 5)."""

    code = 5

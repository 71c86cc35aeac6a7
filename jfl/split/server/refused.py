"""A call that a server does not answer, and why."""

from typing import Literal

Code = Literal[
    "ABORTED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND",
    "OUT_OF_RANGE", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNAVAILABLE",
]  # fmt: skip


class Refused(Exception):
    """One sentence for the client, a status of gRPC, and when to come again."""

    def __init__(self, code: Code, words: str, *, again: float | None = None) -> None:
        super().__init__(words)
        self.code, self.again = code, again

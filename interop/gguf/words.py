"""The tokens of a GGUF file, and what it says of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jfl.errors import CheckpointError

ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
"""What transformers and the file call tokens of their own."""


@dataclass(frozen=True)
class Words:
    """The tokens of a file and what it says of them."""

    where: str
    settings: dict[str, Any]
    tokens: list[str]
    kinds: list[int]
    """Of each token: 1 usual, 2 unknown, 3 control, 4 the user's, 5 unused, 6 a byte."""

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each token."""
        return {token: number for number, token in enumerate(self.tokens)}

    def special(self, name: str) -> str | None:
        """Returns the token that plays a role, such as `bos`; None where the file names none.

        Raises:
            CheckpointError: its number is of no token.
        """
        key = f"tokenizer.ggml.{ROLES[name]}_token_id"
        number = self.settings.get(key)
        if number is None:
            return None
        if type(number) is not int or not 0 <= number < len(self.tokens):
            raise CheckpointError(
                f"{self.where} has {key}={str(number)[:40]}, but {len(self.tokens):,} tokens"
            )
        return self.tokens[number]

    def flag(self, key: str, *, usual: bool) -> bool:
        """Returns a setting of the tokenizer that is true or false."""
        value = self.settings.get(f"tokenizer.ggml.{key}", usual)
        if type(value) is not bool:
            raise CheckpointError(f"{self.where} has tokenizer.ggml.{key}={str(value)[:40]}")
        return value

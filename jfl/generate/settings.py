"""How a reply is drawn, and where it ends."""

from pydantic import Field

from jfl.config import Section

MOST_ENDS = 16
"""Tokens that may end a reply, or pause it."""


class Settings(Section):
    """Settings of a request; rows of one batch may differ in all of them."""

    max_tokens: int = Field(default=256, ge=1, le=1 << 24)
    """Tokens of a reply at the most, forced ones included."""
    samples: int = Field(default=1, ge=1, le=1 << 20)
    """Replies to each prompt, each drawn on its own."""
    temperature: float = Field(default=1.0, ge=0, le=100)
    """What logits are divided by; 0 = the most likely token, always."""
    top_k: int = Field(default=0, ge=0, le=1 << 24)
    """Only so many of the most likely tokens are drawn; 0 = all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the most likely tokens that have this share together are drawn, of those of `top_k`."""
    repetition_penalty: float = Field(default=1.0, gt=0, le=100)
    """What logits of tokens that stand in the text are divided by, or multiplied with below 0."""
    seed: int = Field(default=0, ge=0, lt=1 << 32)
    """Of what is drawn; a row's text depends on it and on its number among `samples` alone."""
    stops: tuple[int, ...] = Field(default=(), max_length=MOST_ENDS)
    """Tokens that end a reply and are no part of it."""
    stop: tuple[str, ...] = Field(default=(), max_length=MOST_ENDS)
    """Strings that end a reply and are no part of it."""
    pauses: tuple[int, ...] = Field(default=(), max_length=MOST_ENDS)
    """Tokens after which a row waits for the next step, so that tokens can be forced there."""

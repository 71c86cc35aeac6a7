"""How a network in training goes on with the same few texts, each time the likeliest way."""

from typing import Any

import jax
from pydantic import Field

from jfl.config import Section
from jfl.generate.replies import pieces
from jfl.generate.rows import Generator
from jfl.generate.settings import Settings
from jfl.models.language.base import LanguageModel
from jfl.text.base import Tokenizer

PROMPTS = (
    "The largest city of France is",
    "Water is made of",
    "If today is Monday, then tomorrow is",
    "The opposite of light is",
    "She opened the door and",
    "My favourite food is",
    "Two plus three is",
)


class Config(Section):
    """The section `sample`."""

    every: int = Field(default=2000, ge=1)
    """Go on with the prompts after every so many steps, and after the last."""
    tokens: int = Field(default=16, ge=0, le=1 << 16)
    """Tokens of each at the most; 0 = none are made."""
    prompts: tuple[str, ...] = PROMPTS
    """Texts that are gone on with."""


class Sampler:
    """Goes on with prompts; the program is compiled once."""

    def __init__(self, config: Config, model: LanguageModel, tokenizer: Tokenizer) -> None:
        """Makes tokens of the prompts, whose beginnings are cut where they are too long."""
        self._config, self._model, self._tokenizer = config, model, tokenizer
        room = max(1, model.config.context - config.tokens)
        wide = [[*tokenizer.prefix, *tokenizer.encode(text)] for text in config.prompts]
        self._prompts = [ids[-room:] for ids in wide]
        self._generator: Generator | None = None

    def of(self, params: Any) -> list[str]:
        """Returns what comes after each prompt."""
        config = self._config
        if not config.tokens or not self._prompts:
            return []
        one = jax.device_put(params, jax.devices()[0])
        if self._generator is None:
            self._generator = Generator(
                self._model, one, slots=len(self._prompts),
                length=max(map(len, self._prompts)) + config.tokens,
                decode=self._tokenizer.decode_bytes,
            )  # fmt: skip
        self._generator.renew(one)
        stops = (*self._tokenizer.stops, self._tokenizer.bos)
        settings = Settings(
            max_tokens=config.tokens, temperature=0.0,
            stops=tuple(stop for stop in stops if stop is not None)[:16],
        )  # fmt: skip
        found = [""] * len(self._prompts)
        for piece in pieces(self._generator, self._prompts, settings):
            found[piece.row] += piece.text
        self._generator.renew(None)
        return found

    def shown(self, texts: list[str]) -> list[str]:
        """Returns lines for people."""
        return [f"{a!r} -> {b!r}" for a, b in zip(self._config.prompts, texts, strict=False)]

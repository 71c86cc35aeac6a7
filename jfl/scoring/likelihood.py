"""Log-likelihoods of continuations: many requests in few programs of fixed shapes.

Requests that ask one network the same beginning share a row, as the letters of a question's choices
do. Rows are padded at their end, which a causal network never sees; lengths come in a few sizes, so
that nothing is compiled for a single request.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jfl.errors import UsageError
from jfl.models.language.base import LanguageModel
from jfl.text.base import Tokenizer
from jfl.types import Params

LOGITS = 1 << 24
"""Numbers of the logits that are held at a time."""
_SHORTEST = 16

Pair = tuple[Sequence[int], Sequence[int]]
"""Tokens that are given, and the tokens after them that are scored."""


@dataclass(frozen=True)
class Likelihood:
    """What a network says of one continuation."""

    nats: float
    """The logarithm of its probability."""
    greedy: bool
    """Whether each of its tokens was the likeliest."""


@dataclass(frozen=True)
class _Row:
    """One text, and what is asked of it."""

    tokens: tuple[int, ...]
    asked: list[tuple[int, int, int]]
    """Position, the token after it, and the number of the request."""


class Scorer:
    """Scores what a tokenizer makes of texts by a network."""

    def __init__(
        self,
        model: LanguageModel,
        params: Params,
        tokenizer: Tokenizer,
        *,
        length: int | None = None,
        batch_tokens: int = 4096,
    ) -> None:
        """Takes a network and its tokenizer.

        Args:
            model: the network.
            params: its weights.
            tokenizer: the one it was trained with.
            length: tokens of the longest text, None = the network's context; of longer ones the
                beginning is cut off.
            batch_tokens: tokens that are computed at a time, at least one text.

        Raises:
            UsageError: the length is above the network's context, or below 1.
        """
        context = model.config.context
        self.length = context if length is None else length
        if not 0 < self.length <= context:
            raise UsageError(f"length={length} is not from 1 to the network's context, {context}")
        self.tokenizer = tokenizer
        self._model, self._params, self._batch_tokens = model, params, batch_tokens
        self._compiled = jax.jit(self._scores)

    def pair(self, context: str, continuation: str) -> Pair:
        """Returns the tokens of two texts that follow each other, as lm-eval divides them.

        Blanks at the end of the context belong to the continuation; of nothing at all comes what
        stands in front of any text.
        """
        bare = context.rstrip()
        continuation = context[len(bare) :] + continuation
        before, whole = (
            [*self.tokenizer.prefix, *self.tokenizer.encode(text)]
            for text in (bare, bare + continuation)
        )
        if not bare:
            before = list(self.tokenizer.prefix)
        return before or self.start, whole[len(before) :]

    @property
    def start(self) -> list[int]:
        """Returns the token in front of a text that has none: of a beginning, or of an end.

        Raises:
            UsageError: the tokenizer has neither.
        """
        for token in (*self.tokenizer.prefix[:1], self.tokenizer.bos, self.tokenizer.eos):
            if token is not None:
                return [token]
        raise UsageError(
            f"the tokenizer {self.tokenizer.name} has no token for the beginning or the end of a "
            "text; give a context"
        )

    def score(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        """Returns the likelihood of each continuation, in the order of the requests.

        Raises:
            UsageError: a request has nothing given, nothing to score, or more to score than the
                length.
        """
        rows = self._rows(pairs)
        nats, greedy = np.zeros(len(pairs)), np.ones(len(pairs), bool)
        for batch in self._batches(rows):
            self._take(batch, nats, greedy)
        return [Likelihood(float(n), bool(g)) for n, g in zip(nats, greedy, strict=True)]

    def _rows(self, pairs: Sequence[Pair]) -> list[_Row]:
        rows: dict[tuple[int, ...], _Row] = {}
        for number, (context, continuation) in enumerate(pairs):
            if not len(context) or not 0 < len(continuation) <= self.length:
                raise UsageError(
                    f"request {number + 1} has {len(context)} tokens given and {len(continuation)} "
                    f"to score; there must be some of both, and at most {self.length} to score"
                )
            tokens = tuple(map(int, (*context, *continuation)))[-self.length - 1 :]
            row = rows.setdefault(tokens[:-1], _Row(tokens[:-1], []))
            first = len(tokens) - len(continuation) - 1
            row.asked.extend((first + i, int(t), number) for i, t in enumerate(continuation))
        # long ones first: if memory is short, it is so at once
        return sorted(rows.values(), key=lambda row: (-len(row.tokens), -len(row.asked)))

    def _batches(self, rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
        first = 0
        while first < len(rows):
            width = _size(len(rows[first].tokens))
            count = 1 << (max(1, self._batch_tokens // width).bit_length() - 1)
            alike = [r for r in rows[first : first + count] if _size(len(r.tokens)) == width]
            yield alike
            first += len(alike)

    def _take(self, batch: Sequence[_Row], nats: np.ndarray, greedy: np.ndarray) -> None:
        count = 1 << (len(batch) - 1).bit_length()
        width = min(_size(len(batch[0].tokens)), self.length)
        places = 1 << (max(len(row.asked) for row in batch) - 1).bit_length()
        tokens = np.zeros((count, width), np.int32)
        at, targets = (np.zeros((count, places), np.int32) for _ in range(2))
        for number, row in enumerate(batch):
            tokens[number, : len(row.tokens)] = row.tokens
            at[number, : len(row.asked)] = [place for place, _, _ in row.asked]
            targets[number, : len(row.asked)] = [token for _, token, _ in row.asked]
        found, first = jax.device_get(self._compiled(self._params, tokens, at, targets))
        for row, values, likeliest in zip(batch, found, first, strict=False):
            for (_, _, request), value, best in zip(row.asked, values, likeliest, strict=False):
                nats[request] += value
                greedy[request] &= best

    def _scores(
        self,
        params: Params,
        tokens: Int[Array, "B T"],
        at: Int[Array, "B K"],
        targets: Int[Array, "B K"],
    ) -> tuple[Float[Array, "B K"], Bool[Array, "B K"]]:
        """Returns the log-probability of each target, and whether it was the likeliest."""
        h, _ = self._model.hidden(params, tokens)
        asked = jnp.take_along_axis(h, at[..., None], axis=1)
        most = max(1, LOGITS // self._model.config.vocabulary)

        def one(pair: tuple[Array, Array]) -> tuple[Array, Array]:
            logits = self._model.logits(params, pair[0])
            chosen = jnp.take_along_axis(logits, pair[1][:, None], axis=1)[:, 0]
            return chosen - jax.nn.logsumexp(logits, axis=1), logits.argmax(1) == pair[1]

        flat = asked.reshape(-1, asked.shape[-1]), targets.reshape(-1)
        found = lax.map(one, _padded(flat, most))
        nats, best = (side.reshape(-1)[: targets.size].reshape(targets.shape) for side in found)
        return nats, best


def _padded(arrays: tuple[Array, Array], most: int) -> tuple[Array, ...]:
    """Returns arrays cut into pieces of at most so many rows, the last one filled with zeros."""
    rows = len(arrays[0])
    count = -(-rows // most)
    size = -(-rows // count)
    wide = (jnp.pad(a, ((0, count * size - rows), *((0, 0),) * (a.ndim - 1))) for a in arrays)
    return tuple(a.reshape(count, size, *a.shape[1:]) for a in wide)


def _size(length: int) -> int:
    """Returns the next length that programs have: 16, 24, 32, 48, 64, 96, ..."""
    power = 1 << max(_SHORTEST.bit_length() - 1, (length - 1).bit_length())
    return power * 3 // 4 if length <= power * 3 // 4 and power > _SHORTEST else power

"""Rows of texts that come and go in one running batch."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jfl.errors import UsageError
from jfl.generate import engine
from jfl.generate.endings import Bytes, Endings
from jfl.generate.engine import Rows
from jfl.generate.sampling import Knobs
from jfl.generate.settings import MOST_ENDS, Settings
from jfl.models.language.base import LanguageModel
from jfl.types import Params

End = Literal["stop", "length"]


class Event(NamedTuple):
    """What one step adds to a row."""

    row: int
    ids: tuple[int, ...]
    forced: tuple[bool, ...]
    """Whether each was forced."""
    text: bytes
    """What they add to the text, where the generator can decode: cut before a stop string."""
    end: End | None
    """Why the row has ended; None: it goes on."""
    stop: int | None
    """The token that ended it, which is not among `ids`."""


@dataclass
class _Row:
    number: int
    settings: Settings
    endings: Endings
    key: np.ndarray
    token: int
    length: int
    made: int = 0
    forced: deque[int] = field(default_factory=deque)


class Generator:
    """Draws texts in `slots` rows at a time, each of up to `length` tokens with its prompt.

    A call of the device makes `steps` tokens of each row. `decode` gives the bytes of tokens; only
    with it there are stop strings, and text in events.
    """

    def __init__(
        self,
        model: LanguageModel,
        params: Params,
        *,
        slots: int = 1,
        length: int = 1024,
        steps: int = 8,
        decode: Bytes | None = None,
    ) -> None:
        """Lays the network out.

        Raises:
            UsageError: a size is below 1, or the network has no texts of this length.
        """
        for name, value in {"slots": slots, "length": length, "steps": steps}.items():
            if value < 1:
                raise UsageError(f"{name}={value} must be at least 1")
        self.length, self.steps = length, steps
        self._vocabulary, self._decode = model.config.vocabulary, decode
        self._engine = engine.build(model, params, slots, length)
        self._buckets = engine.buckets(length)
        self._held = self._engine.empty()
        self._slots: list[_Row | None] = [None] * slots
        self._numbers = itertools.count()

    def renew(self, params: Params | None) -> None:
        """Goes on with other weights of the network, by the same programs; None: with none yet.

        Raises:
            UsageError: rows are running.
        """
        if self.free < len(self._slots):
            raise UsageError("rows are running; other weights can come when they have ended")
        self._engine = engine.renewed(self._engine, params)

    @property
    def free(self) -> int:
        """Rows that may join."""
        return self._slots.count(None)

    def check(self, prompt: Sequence[int], settings: Settings) -> None:
        """Refuses a request that cannot be served.

        Raises:
            UsageError: the prompt is empty, is not of this vocabulary, or does not fit with its
                reply; or strings are to end it that cannot be seen.
        """
        if len(prompt) == 0:
            raise UsageError("the prompt is empty; give at least one token, such as the bos token")
        if len(prompt) >= self.length:
            raise UsageError(
                f"the prompt has {len(prompt)} tokens, but texts here have {self.length} at the "
                "most; shorten it"
            )
        self._require_known(prompt, "the prompt")
        if len(prompt) + settings.max_tokens > self.length:
            raise UsageError(
                f"max_tokens={settings.max_tokens} after a prompt of {len(prompt)} tokens is more "
                f"than the {self.length} of texts here; "
                f"{self.length - len(prompt)} would be possible"
            )
        if settings.stop and self._decode is None:
            raise UsageError("stop strings need a tokenizer; give token numbers as stops instead")

    def join(
        self, prompt: Sequence[int], settings: Settings, samples: Sequence[int] | None = None
    ) -> list[int]:
        """Lets replies to a prompt join, by one prefill; returns the numbers of their rows.

        Args:
            prompt: tokens.
            settings: of all of them.
            samples: their numbers among the replies to this prompt; None = 0 to `samples` - 1.

        Raises:
            UsageError: as `check`, or there are not as many slots free.
        """
        self.check(prompt, settings)
        samples = range(settings.samples) if samples is None else samples
        open_slots = [slot for slot, row in enumerate(self._slots) if row is None]
        if len(samples) > len(open_slots):
            raise UsageError(
                f"{len(samples)} rows cannot join, as {len(open_slots)} of {len(self._slots)} "
                "slots are free; wait until others have ended"
            )
        seen = np.zeros(self._vocabulary, bool)
        seen[np.asarray(prompt)] = True
        kept = self._prefilled(prompt[:-1])
        root, joined = jax.random.key(settings.seed), []
        for slot, sample in zip(open_slots, samples, strict=False):
            self._held = self._engine.insert(self._held, kept, seen, np.int32(slot))
            key = np.asarray(jax.random.key_data(jax.random.fold_in(root, sample)))
            last = int(prompt[-1])
            endings = Endings(settings.stop, self._decode, last)
            row = _Row(next(self._numbers), settings, endings, key, last, len(prompt) - 1)
            self._slots[slot] = row
            joined.append(row.number)
        return joined

    def _prefilled(self, tokens: Sequence[int]) -> dict[str, Any]:
        size = next(size for size in self._buckets if size >= len(tokens))
        padded = np.zeros((1, size), np.int32)
        padded[0, : len(tokens)] = tokens
        return self._engine.prefill(self._engine.params, padded, np.int32(len(tokens)))

    def force(self, row: int, ids: Iterable[int]) -> None:
        """Says which tokens come next in a row; only `max_tokens` ends it before they are there.

        Raises:
            UsageError: there is no such row, or no such token.
        """
        ids = list(ids)
        self._require_known(ids, "what is forced")
        self._at(row)[1].forced.extend(ids)

    def leave(self, row: int) -> None:
        """Ends a row; what it held back is lost.

        Raises:
            UsageError: there is no such row.
        """
        self._slots[self._at(row)[0]] = None

    def _at(self, number: int) -> tuple[int, _Row]:
        for slot, row in enumerate(self._slots):
            if row is not None and row.number == number:
                return slot, row
        raise UsageError(f"row {number} is not running; it may have ended")

    def _require_known(self, ids: Sequence[int], what: str) -> None:
        for token in ids:
            if not 0 <= token < self._vocabulary:
                raise UsageError(
                    f"{what} has the token {token}, but the network knows 0 to "
                    f"{self._vocabulary - 1}"
                )

    def step(self) -> list[Event]:
        """Makes up to `steps` tokens of each row, and returns what has become of every row."""
        if self.free == len(self._slots):
            return []
        held, made = self._engine.decode(self._engine.params, self._held, self._rows())
        self._held, made = held, np.asarray(made)
        events = []
        for slot, row in enumerate(self._slots):
            if row is not None:
                event = _grown(row, [int(token) for token in made[slot] if token >= 0])
                events.append(event)
                if event.end:
                    self._slots[slot] = None
        return events

    def _rows(self) -> Rows:
        rows, slots = Rows(*_nothing(len(self._slots), self.steps)), enumerate(self._slots)
        for slot, row in slots:
            if row is None:
                continue
            settings = row.settings
            forced = list(itertools.islice(row.forced, self.steps))
            values: dict[str, Any] = {
                "tokens": row.token,
                "lengths": row.length,
                "going": True,
                "left": settings.max_tokens - row.made,
                "made": row.made,
                "keys": row.key,
                "due": len(forced),
            }
            for name, value in values.items():
                getattr(rows, name)[slot] = value
            for name in ("stops", "pauses"):
                ends = getattr(settings, name)
                getattr(rows, name)[slot, : len(ends)] = ends
            rows.forced[slot, : len(forced)] = forced
            for name in ("temperature", "top_k", "top_p"):
                getattr(rows.knobs, name)[slot] = getattr(settings, name)
            rows.knobs.penalty[slot] = settings.repetition_penalty
        return rows

    def generate(self, prompts: Sequence[Sequence[int]], settings: Settings) -> Iterator[Event]:
        """Draws replies to prompts, in turns where they are more than slots; yields what comes.

        Row number n is reply number n % samples to prompt number n // samples.

        Raises:
            UsageError: as `check`, or other rows are running.
        """
        for prompt in prompts:
            self.check(prompt, settings)
        if self.free < len(self._slots):
            raise UsageError("rows are running already; let prompts join them one by one")
        return self._all(prompts, settings)

    def _all(self, prompts: Sequence[Sequence[int]], settings: Settings) -> Iterator[Event]:
        waiting = deque(
            (n, sample) for n in range(len(prompts)) for sample in range(settings.samples)
        )
        names: dict[int, int] = {}
        try:
            while waiting or names:
                while waiting and self.free:
                    n = waiting[0][0]
                    together = [sample for m, sample in waiting if m == n][: self.free]
                    for row, sample in zip(
                        self.join(prompts[n], settings, together), together, strict=True
                    ):
                        names[row] = n * settings.samples + sample
                        waiting.popleft()
                for event in self.step():
                    yield event._replace(row=names[event.row])
                    if event.end:
                        del names[event.row]
        finally:
            for row in names:
                if any(at is not None and at.number == row for at in self._slots):
                    self.leave(row)


def _grown(row: _Row, tokens: Sequence[int]) -> Event:
    """Adds new tokens to a row, and returns what may be shown of it."""
    end, stop = None, None
    for token in tokens:
        forced = bool(row.forced)
        if forced:
            row.forced.popleft()
        row.token, row.length, row.made = token, row.length + 1, row.made + 1
        if not forced and token in row.settings.stops:
            end, stop = "stop", token
        elif row.endings.push(token, forced):
            end = "stop"
        elif row.made == row.settings.max_tokens:
            end = "length"
        if end:
            break
    return Event(row.number, *row.endings.take(all=end is not None), end, stop)


def _nothing(slots: int, steps: int) -> tuple[Any, ...]:
    """Returns the fields of `Rows` for slots without a row."""
    whole, number = np.zeros(slots, np.int32), np.ones(slots, np.float32)
    ends = np.full((slots, MOST_ENDS), -1, np.int32)
    return (
        whole.copy(), whole.copy(), np.zeros(slots, bool), whole.copy(), whole.copy(),
        np.zeros((slots, 2), np.uint32), ends.copy(), ends.copy(),
        np.zeros((slots, steps), np.int32), whole.copy(),
        Knobs(0 * number, whole.copy(), number.copy(), number.copy()),
    )  # fmt: skip

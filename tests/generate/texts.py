"""Tiny networks of transformers, generators on them, and texts written without a cache."""

import functools

import jax
import numpy as np

from jfl.config import check
from jfl.generate.rows import Generator
from jfl.generate.settings import Settings
from tests.models.language import oracles

LENGTH, SLOTS, STEPS = 16, 3, 4
PROMPTS = [[5, 1, 7], [2], [9, 9, 3, 30, 12, 4], [8, 0]]


def decode(ids):
    """Letters, two to a token: 0 is "aA", 1 is "bB", and so on."""
    return b"".join(bytes([97 + i % 26, 65 + i % 26]) for i in ids)


@functools.cache
def generator(name="gpt2", slots=SLOTS, steps=STEPS):
    return Generator(
        oracles.ours(name),
        oracles.params(name),
        slots=slots,
        length=LENGTH,
        steps=steps,
        decode=decode,
    )


def settings(**given):
    return check(Settings, {"temperature": 0, "max_tokens": 8} | given)


def texts(prompts, wanted, **kind):
    """All events of each row, joined: ids, forced, text, end, stop."""
    found = {}
    for event in generator(**kind).generate(prompts, wanted):
        row = found.setdefault(event.row, [[], [], b"", None, None])
        assert row[3] is None
        row[0] += event.ids
        row[1] += event.forced
        row[2] += event.text
        row[3:] = event.end, event.stop
    assert generator(**kind).free == len(generator(**kind)._slots)
    return [found[row] for row in sorted(found)]


@functools.cache
def _logits(name):
    model = oracles.ours(name)

    def last(params, tokens, count):
        mask = jax.numpy.arange(LENGTH)[None] < count
        h, _ = model.hidden(params, tokens, mask=mask)
        return model.logits(params, h)[0, count - 1]

    return oracles.compiled(last)


def logits(text, name="gpt2"):
    """Of the token after a text, by one pass over all of it, without a cache."""
    padded = np.zeros((1, LENGTH), np.int32)
    padded[0, : len(text)] = text
    return np.asarray(_logits(name)(oracles.params(name), padded, np.int32(len(text))))


def greedy(prompt, count=8, name="gpt2"):
    text = list(prompt)
    for _ in range(count):
        text.append(int(logits(text, name).argmax()))
    return text[len(prompt) :]

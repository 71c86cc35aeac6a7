"""Streams give out whole characters only, whatever tokens are made of."""

import numpy as np
import pytest

from jfl.text import base, tokenizers
from jfl.text.stream import Stream
from jfl.text.tokenizers import hf
from jfl.text.tokenizers import tiktoken as ranked
from tests.text import made


def _each() -> dict[str, base.Tokenizer]:
    about = {"pattern": "gpt2", "special": {"<|endoftext|>": 1000}}
    return {
        "bytes": tokenizers.open("bytes"),
        "byte level": hf.from_content(made.byte_level(), {}),
        "llama 2": hf.from_content(made.llama2(), {}),
        "ranks": ranked.from_ranks(made.ranks(), about, "mine"),
    }


@pytest.mark.parametrize("kind", ["bytes", "byte level", "llama 2", "ranks"])
def test_what_is_given_out_is_whole_and_all(kind: str) -> None:
    tokenizer = _each()[kind]
    for text in made.texts(150):
        ids = tokenizer.encode(text)
        stream = Stream(tokenizer)
        given = [stream.push([token]) for token in ids]
        assert "\ufffd" not in "".join(given) or "\ufffd" in text
        assert "".join(given) + stream.finish() == tokenizer.decode(ids)


def test_any_bytes_come_out_as_they_are_decoded_at_once() -> None:
    tokenizer = tokenizers.open("bytes")
    rng = np.random.default_rng(0)
    for _ in range(100):
        ids = rng.choice([0x41, 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0x80, 257], 12)
        stream = Stream(tokenizer)
        parts = [stream.push(part) for part in np.split(ids, [3, 4, 9])]
        assert "".join([*parts, stream.finish()]) == tokenizer.decode(ids)


def test_a_character_is_held_until_it_is_whole() -> None:
    stream = Stream(tokenizers.open("bytes"))
    assert [stream.push([byte]) for byte in "a€".encode()] == ["a", "", "", "€"]
    assert stream.push([0xF0, 0x9F]) == ""
    assert stream.finish() == "\ufffd"

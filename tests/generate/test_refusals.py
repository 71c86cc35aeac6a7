"""What cannot be generated is one sentence."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from jfl.errors import UsageError
from jfl.generate.rows import Generator
from tests.generate import texts
from tests.models.language import oracles


@pytest.mark.parametrize(
    ("prompt", "given", "words"),
    [
        ([], {}, r"^the prompt is empty; give at least one token"),
        ([1] * 16, {}, r"^the prompt has 16 tokens, but texts here have 16 at the most"),
        ([1] * 9, {}, r"^max_tokens=8 after a prompt of 9 tokens is more than the 16 .* 7 would"),
        ([1, 40], {}, r"^the prompt has the token 40, but the network knows 0 to 39$"),
        ([1, -1], {}, r"^the prompt has the token -1, but"),
        ([1], {"samples": 4}, r"^4 rows cannot join, as 3 of 3 slots are free"),
    ],
)
def test_a_request(prompt, given, words):
    with pytest.raises(UsageError, match=words):
        texts.generator().join(prompt, texts.settings(**given))
    assert texts.generator().free == texts.SLOTS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"temperature": -1}, "^config: temperature=-1: "),
        ({"top_p": 0}, "^config: top_p=0: "),
        ({"top_k": -1}, "^config: top_k=-1: "),
        ({"max_tokens": 0}, "^config: max_tokens=0: "),
        ({"seed": 1 << 32}, "^config: seed=4294967296: "),
        ({"stops": list(range(17))}, "^config: stops="),
        ({"best_of": 2}, "^config: best_of is not a setting"),
    ],
)
def test_settings(given, words):
    with pytest.raises(UsageError, match=words):
        texts.settings(**given)


def test_a_bad_prompt_is_refused_before_any_is_answered():
    with pytest.raises(UsageError, match="is empty"):
        texts.generator().generate([[1], []], texts.settings())


def test_rows_that_are_not_there():
    generator = texts.generator()
    with pytest.raises(UsageError, match=r"^row -1 is not running; it may have ended$"):
        generator.leave(-1)
    with pytest.raises(UsageError, match=r"^row -1 is not running"):
        generator.force(-1, [1])
    (row,) = generator.join([1], texts.settings())
    with pytest.raises(UsageError, match=r"^what is forced has the token 40, but"):
        generator.force(row, [40])
    with pytest.raises(UsageError, match=r"^rows are running already"):
        generator.generate([[1]], texts.settings())
    generator.leave(row)


def test_a_reply_nobody_reads_to_its_end_leaves():
    events = texts.generator().generate(texts.PROMPTS, texts.settings())
    next(events)
    events.close()
    assert texts.generator().free == texts.SLOTS


def test_generators():
    model, params = oracles.ours("gpt2"), oracles.params("gpt2")
    with pytest.raises(UsageError, match=r"^slots=0 must be at least 1$"):
        Generator(model, params, slots=0, length=16)
    with pytest.raises(UsageError, match=r"^a text of 17 tokens is longer than .*context=16"):
        Generator(model, params, length=17)
    without = Generator(model, params, length=16)
    with pytest.raises(UsageError, match=r"^stop strings need a tokenizer"):
        without.join([1], texts.settings(stop=["a"]))

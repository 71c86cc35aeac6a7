"""The most likely tokens are those of a network without a cache, and of transformers."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.generate import texts  # noqa: E402
from tests.models.language import oracles  # noqa: E402

pytestmark = pytest.mark.torch
SLOW = pytest.mark.slow
NAMES = ["gpt2", "all"] + [
    pytest.param(name, marks=SLOW) for name in oracles.MODELS if name not in ("gpt2", "all")
]


def theirs(prompt, name, count=8):
    with torch.inference_mode():
        text = oracles.theirs(name).generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
    return text[0, len(prompt) :].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_more_prompts_than_slots_are_each_as_without_a_cache_and_as_in_transformers(name):
    found = texts.texts(texts.PROMPTS, texts.settings(), name=name)
    for prompt, (ids, forced, text, end, stop) in zip(texts.PROMPTS, found, strict=True):
        assert ids == texts.greedy(prompt, name=name) == theirs(prompt, name)
        assert text == texts.decode(ids)
        assert (forced, end, stop) == ([False] * 8, "length", None)


def test_a_row_alone_is_the_same_row():
    together = texts.texts(texts.PROMPTS, texts.settings())
    for prompt, row in zip(texts.PROMPTS, together, strict=True):
        assert texts.texts([prompt], texts.settings()) == [row]


def test_a_row_that_joins_late_is_the_same_and_changes_no_other():
    generator, settings = texts.generator(), texts.settings()
    found = {}
    (first,) = generator.join(texts.PROMPTS[0], settings)
    events = generator.step()
    (second,) = generator.join(texts.PROMPTS[2], settings)
    assert generator.free == texts.SLOTS - 2
    while generator.free < texts.SLOTS:
        events += generator.step()
    for event in events:
        found[event.row] = found.get(event.row, []) + list(event.ids)
    assert found == {
        first: texts.greedy(texts.PROMPTS[0]),
        second: texts.greedy(texts.PROMPTS[2]),
    }


def test_a_text_may_fill_its_slot_to_the_last_place():
    prompt = list(range(7))
    (row,) = texts.texts([prompt], texts.settings(max_tokens=texts.LENGTH - 7))
    assert row[0] == texts.greedy(prompt, texts.LENGTH - 7)


def test_the_repetition_penalty_is_that_of_transformers():
    prompt = texts.PROMPTS[2]
    (row,) = texts.texts([prompt], texts.settings(repetition_penalty=1.7))
    with torch.inference_mode():
        text = oracles.theirs("gpt2").generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=8,
            do_sample=False,
            pad_token_id=0,
            repetition_penalty=1.7,
        )
    assert row[0] == text[0, len(prompt) :].tolist() != texts.greedy(prompt)


def test_the_cache_is_written_where_it_lies():
    generator = texts.generator()
    generator.join(texts.PROMPTS[0], texts.settings())
    before = [leaf.unsafe_buffer_pointer() for leaf in generator._held.cache["keys"]]
    (event,) = generator.step()
    after = [leaf.unsafe_buffer_pointer() for leaf in generator._held.cache["keys"]]
    generator.leave(event.row)
    assert before == after
    assert np.asarray(event.ids).tolist() == texts.greedy(texts.PROMPTS[0])[: texts.STEPS]

"""Tokens forced into a row, and rows that wait for them."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.generate import texts

PROMPT, OTHER = texts.PROMPTS[0], texts.PROMPTS[2]


def run(generator, found):
    while generator.free < texts.SLOTS:
        for event in generator.step():
            ids, forced = found.setdefault(event.row, ([], []))
            ids += event.ids
            forced += event.forced


def test_forced_tokens_come_first_and_the_network_goes_on_from_them():
    generator, found = texts.generator(), {}
    (row,) = generator.join(PROMPT, texts.settings())
    (other,) = generator.join(OTHER, texts.settings())
    generator.force(row, [11, 12, 13, 14, 15])  # more than the tokens of a step
    run(generator, found)
    rest = texts.greedy([*PROMPT, 11, 12, 13, 14, 15], 3)
    assert found[row] == ([11, 12, 13, 14, 15, *rest], [True] * 5 + [False] * 3)
    assert found[other] == (texts.greedy(OTHER), [False] * 8)


def test_a_row_waits_behind_a_pause_while_others_go_on():
    generator, found = texts.generator(), {}
    whole = texts.greedy(PROMPT)
    mark = whole[1]
    (row,) = generator.join(PROMPT, texts.settings(pauses=[mark]))
    (other,) = generator.join(OTHER, texts.settings())
    events = {event.row: event for event in generator.step()}
    assert events[row].ids == tuple(whole[: whole.index(mark) + 1])
    assert len(events[row].ids) < texts.STEPS
    assert events[row].end is None
    assert events[other].ids == tuple(texts.greedy(OTHER)[: texts.STEPS])
    generator.force(row, [mark, 21])  # a forced mark makes no pause
    found[row] = (list(events[row].ids), list(events[row].forced))
    (made,) = (event for event in generator.step() if event.row == row)
    assert made.ids[:2] == (mark, 21)
    assert made.forced[:2] == (True, True)
    so_far = [*PROMPT, *found[row][0]]
    assert made.ids[2] == texts.greedy([*so_far, mark, 21], 1)[0]
    generator.leave(row)
    assert generator.free == texts.SLOTS


def test_a_forced_stop_token_ends_nothing():
    generator, found = texts.generator(), {}
    (row,) = generator.join(PROMPT, texts.settings(stops=[33], max_tokens=2))
    generator.force(row, [33, 33])
    run(generator, found)
    assert found[row] == ([33, 33], [True, True])

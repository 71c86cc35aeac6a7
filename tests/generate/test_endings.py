"""Where texts end: tokens, strings, nothing of which leaks."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from jfl.generate.endings import Endings
from tests.generate import texts

PROMPT = texts.PROMPTS[0]


def letters(ids):
    return texts.decode(ids).decode()


def test_a_token_that_ends_a_row_is_no_part_of_it():
    whole = texts.greedy(PROMPT)
    stop = next(token for token in whole if token != whole[0])
    ((ids, _, text, end, by),) = texts.texts([PROMPT], texts.settings(stops=[stop]))
    assert ids == whole[: whole.index(stop)]
    assert (text, end, by) == (texts.decode(ids), "stop", stop)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_string_ends_a_row_before_it_wherever_tokens_are_cut(steps):
    whole = letters(texts.greedy(PROMPT))
    for start in range(1, 6):
        string = whole[start : start + 5]
        found = texts.texts([PROMPT], texts.settings(stop=[string]), steps=steps)
        ((ids, _, text, end, by),) = found
        at = whole.index(string)
        assert text.decode() == whole[:at]
        assert ids == texts.greedy(PROMPT)[: at // 2]
        assert (end, by) == ("stop", None)


def test_nothing_of_a_string_is_shown_before_it_is_known_to_be_none():
    endings = Endings(["abX", "zz"], bytes, ord("."))
    shown = []
    for token in b"1ababzabX":
        over = endings.push(token, forced=False)
        shown.append(endings.take(all=over).text)
    assert shown == [b"1", b"", b"", b"ab", b"", b"abz"[:2], b"z", b"", b""]
    assert over


def test_what_was_held_back_is_shown_at_the_end():
    endings = Endings(["abc"], bytes, ord("."))
    endings.push(ord("a"), forced=True)
    assert endings.take(all=False) == ((), (), b"")
    assert endings.take(all=True) == ((ord("a"),), (True,), b"a")


def test_the_space_before_a_reply_is_kept():
    def decode(ids):
        return b"".join(b"x" if n == 0 else b" x" for n, _ in enumerate(ids))

    endings = Endings([], decode, 3)
    endings.push(1, forced=False)
    assert endings.take(all=False).text == b" x"

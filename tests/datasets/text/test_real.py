"""The real packages of texts, where `python -m tests.fetched` has brought them."""

from collections import Counter

import pytest

from jfl import plugins
from jfl.datasets.text import base
from tests import fetched

pytestmark = pytest.mark.slow
COUNTS = {
    "austen": (6, 4_025_028), "shakespeare": (42, 5_053_902), "brown": (500, 5_972_299),
    "reviews": (1500, 5_780_554),
}  # fmt: skip
"""Documents and letters, as measured."""


def real(name, **settings):
    if not fetched.texts(name).is_dir():
        pytest.skip(f"{fetched.texts(name)} is absent: bring it with `python -m tests.fetched`")
    config = plugins.load("text", name).Config(cache_dir=str(fetched.CACHE), **settings)
    return base.load(config).documents


def test_the_novels_of_austen(austen):
    documents = real("austen")
    assert [document.name for document in documents] == [
        "emma", "mansfieldpark", "northangerabbey", "persuasion", "prideprejudice",
        "sensesensibility",
    ]  # fmt: skip
    assert "It is a truth universally acknowledged, that a single man" in documents[4].text


@pytest.mark.parametrize("name", COUNTS)
def test_they_are_whole(name):
    documents = real(name)
    assert (len(documents), sum(len(d.text) for d in documents)) == COUNTS[name]
    assert name == "reviews" or not any("gutenberg" in d.text.lower() for d in documents)


def test_words_of_brown_read_as_printed():
    documents = real("brown")
    assert Counter(d.owner for d in documents).most_common(2) == [
        ("learned", 80), ("belles_lettres", 75),
    ]  # fmt: skip
    assert documents[0].text.startswith(
        "The Fulton County Grand Jury said Friday an investigation of Atlanta's recent primary "
        'election produced "no evidence" that any irregularities took place.\n\nThe jury further'
    )
    whole = "".join(document.text for document in documents)
    for sign in ("``", " .", " ,", "? ?", "; ;", "( "):
        assert whole.count(sign) < 10, sign


def test_sentences_of_reviews():
    documents = real("reviews", part="sentences")
    assert Counter(document.label for document in documents) == {"good": 2000, "bad": 2000}


def test_questions_of_exams():
    documents = real("exams")
    assert Counter(document.name.partition("_")[0] for document in documents) == {
        "mmlu": 1331, "logiqa": 677, "quartz": 3844, "sarcasm": 28498, "reasoning": 1436,
    }  # fmt: skip
    mmlu = [document for document in documents if document.owner == "mmlu"]
    assert Counter(document.label for document in mmlu) == {"A": 284, "B": 328, "C": 348, "D": 371}
    for document in documents:
        choices, right = document.choices, document.right
        assert (right is None) == (not choices)
        assert right is None or choices[right] == document.answer

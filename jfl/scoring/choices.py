"""Questions with choices, answered by what a network finds likeliest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jfl.errors import UsageError
from jfl.scoring.likelihood import Scorer


@dataclass(frozen=True)
class Question:
    """What is asked: a context, and texts of which one follows."""

    context: str
    choices: tuple[str, ...]
    answer: int
    """The number of the right one, from 0."""


@dataclass(frozen=True)
class Answered:
    """What was chosen of each question."""

    chosen: tuple[int, ...]
    """By likelihood."""
    chosen_by_length: tuple[int, ...]
    """By likelihood a character, which is fair to long choices."""
    right: tuple[int, ...]

    @property
    def accuracy(self) -> float:
        """Returns the share of right ones, by likelihood."""
        return float(np.mean(np.equal(self.chosen, self.right)))

    @property
    def accuracy_by_length(self) -> float:
        """Returns the share of right ones, by likelihood a character."""
        return float(np.mean(np.equal(self.chosen_by_length, self.right)))

    @property
    def standard_error(self) -> float:
        """Returns that of the accuracy."""
        share, count = self.accuracy, len(self.right)
        return math.sqrt(share * (1 - share) / max(count - 1, 1))


def answer(scorer: Scorer, questions: Sequence[Question]) -> Answered:
    """Has a network answer questions; of equally likely choices it takes the first.

    Raises:
        UsageError: there is none, or one has fewer than two choices, an empty one, or no such
            answer.
    """
    if not questions:
        raise UsageError("there are no questions to answer")
    for number, question in enumerate(questions):
        fits = 0 <= question.answer < len(question.choices)
        if len(question.choices) < 2 or not all(question.choices) or not fits:
            raise UsageError(
                f"question {number + 1} has {len(question.choices)} choices and answer "
                f"{question.answer}; it needs two or more, none empty, and one of them right"
            )
    asked = [(q.context, choice) for q in questions for choice in q.choices]
    found = [each.nats for each in scorer.score([scorer.pair(*pair) for pair in asked])]
    chosen, by_length = [], []
    for question in questions:
        count = len(question.choices)
        own, found = np.array(found[:count]), found[count:]
        chosen.append(int(own.argmax()))
        by_length.append(int((own / [len(choice) for choice in question.choices]).argmax()))
    return Answered(tuple(chosen), tuple(by_length), tuple(q.answer for q in questions))

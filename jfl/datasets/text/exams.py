"""Exams: 1,331 questions of MMLU, LogiQA, QuaRTz, sarcasm in headlines, and worked reasoning.

Source: OpenAI's evals 3.0.1; Hendrycks et al., "Measuring Massive Multitask Language
Understanding", 2021; Liu et al., "LogiQA", 2020; Tafjord et al., "QuaRTz", 2019; Misra and Arora,
"Sarcasm Detection using News Headlines", 2019; Tyen et al., "LLMs cannot find reasoning errors",
2024 (BIG-Bench Mistake).
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from jfl.datasets.text import base
from jfl.datasets.text.base import Question
from jfl.errors import DataError
from jfl.files import documents as json_files
from jfl.sources.packages import Package

TITLE = "exams"
PACKAGE = Package(
    kind="wheel", name="evals", version="3.0.1.post1",
    sha256="0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78",
    members=r"(?:.*/)?((?:sandbagging/samples-(?:all-large|all|ast)|logiqa/logiqa|quartz/samples|"
            r"sarcasm/samples|error_recovery/main)\.jsonl)",
    count=7,
)  # fmt: skip
_LETTERS = "ABCD"
_CHOICE = re.compile(r"^ ?([A-D])[.:] (.*?)(?=\n ?[A-D][.:] |\nAnswer:$|\Z)", re.MULTILINE | re.S)
_REPEATED = re.compile(r"^[A-D]\. ?")
"""LogiQA has the letter of some choices twice."""
_ASKED = "Is this headline sarcastic?"


class Config(base.Config):
    """Settings of the exams."""

    name: Literal["exams"] = "exams"
    exam: Literal["mmlu", "logiqa", "quartz", "sarcasm", "reasoning"] | None = None
    """Which of them; none = all."""


def find(config: base.Config) -> Path | None:
    """Returns the wheel, or a folder with the seven files in folders of their own."""
    return base.find(config)


def load(config: base.Config) -> base.Texts:
    """Reads the questions; those with the same words are there once.

    Raises:
        DataError: they are absent or damaged.
    """
    assert isinstance(config, Config)
    found: dict[tuple[str, str], Question] = {}
    numbers: Counter[str] = Counter()
    for file, content in base.packaged(config, PACKAGE, TITLE).items():
        exam, read = _READERS[file.partition("/")[0]]
        if config.exam not in (None, exam):
            continue
        for number, row in enumerate(_rows(content, file)):
            try:
                question = read(row, f"{exam}_{numbers[exam]:05}")
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise DataError(f"{find(config)}: row {number} of {file} is no question") from error
            known = exam, "\n".join((question.text, *question.choices))
            if known not in found:
                found[known] = question
                numbers[exam] += 1
    return base.Texts(
        name=TITLE,
        documents=tuple(found.values()),
        owners="exam",
        licence="MIT, and of each exam as the package's LICENSE.md says",
        source="OpenAI evals, the package evals of PyPI",
    )


def _rows(content: bytes, file: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(base.decoded(content, file).rstrip("\n").split("\n")):
        try:
            row = json_files.load(line)
        except ValueError as error:
            raise DataError(f"row {number} of {file} is no JSON ({str(error)[:60]})") from error
        if not isinstance(row, dict):
            raise DataError(f"row {number} of {file} holds no names and values")
        yield row


def _chosen(text: str, letter: str, exam: str, name: str) -> Question:
    """Returns a question that ends with its choices, one a line."""
    pairs = _CHOICE.findall(text)
    if "".join(key for key, _ in pairs) != _LETTERS[: len(pairs)] or len(pairs) < 2:
        raise ValueError("its choices are not A, B, ...")
    choices = tuple(_REPEATED.sub("", choice).strip() for _, choice in pairs)
    right = _LETTERS[: len(pairs)].index(letter)
    first = _CHOICE.search(text)
    asked = text[: first.start() if first else None].strip()
    return Question(
        asked, name, owner=exam, label=letter, choices=choices, right=right, answer=choices[right]
    )


def _mmlu(row: dict[str, Any], name: str) -> Question:
    return _chosen(row["question"], row["answer"], "mmlu", name)


def _logiqa(row: dict[str, Any], name: str) -> Question:
    said = row["input"][1]["content"].strip().removeprefix("Passage: ")
    return _chosen(said.replace("Question: ", "\n", 1), row["ideal"], "logiqa", name)


def _quartz(row: dict[str, Any], name: str) -> Question:
    return _chosen(row["input"][1]["content"], row["ideal"], "quartz", name)


def _sarcasm(row: dict[str, Any], name: str) -> Question:
    choices, right = ("no", "yes"), ("0", "1").index(row["ideal"])
    text = f"{row['input'][1]['content'].strip()}\n{_ASKED}"
    return Question(
        text, name, owner="sarcasm", label=choices[right], choices=choices, right=right,
        answer=choices[right],
    )  # fmt: skip


def _reasoning(row: dict[str, Any], name: str) -> Question:
    steps = tuple(map(str, row["correct_steps"]))
    asked, task, answer = str(row["question"]), str(row["task"]), str(row["target"])
    before, options, listed = asked.partition("\nOptions:\n")
    if not options:
        return Question(asked, name, owner=task, answer=answer, steps=steps)
    choices = tuple(re.findall(r"^\([A-Z]\) (.*)$", listed, re.MULTILINE))
    right = string.ascii_uppercase.index(answer.strip("()"))
    return Question(
        before, name, owner=task, label=answer.strip("()"), choices=choices, right=right,
        answer=choices[right], steps=steps,
    )  # fmt: skip


_READERS: dict[str, tuple[str, Callable[[dict[str, Any], str], Question]]] = {
    "sandbagging": ("mmlu", _mmlu),
    "logiqa": ("logiqa", _logiqa),
    "quartz": ("quartz", _quartz),
    "sarcasm": ("sarcasm", _sarcasm),
    "error_recovery": ("reasoning", _reasoning),
}
"""By the folder of a file: the exam, and what makes a question of a row."""

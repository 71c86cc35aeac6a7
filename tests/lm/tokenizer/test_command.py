"""`jfl lm tok-train` on files."""

import json

import pytest

pytest.importorskip("rustbpe")

from jfl.cli import main
from jfl.text import tokenizers
from tests.lm.tokenizer.test_tokenizer import TEXTS


def call(capsys, *words):
    """Exit code, the JSON object or the last line of stderr."""
    with pytest.raises(SystemExit) as ended:
        main(["lm", "tok-train", *map(str, words)])
    out, err = capsys.readouterr()
    return ended.value.code, json.loads(out.splitlines()[-1]) if out else err.splitlines()[-1]


@pytest.fixture
def books(tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    lines = [json.dumps({"text": text, "n": n}) + "\n" for n, text in enumerate(TEXTS)]
    (folder / "a.jsonl").write_text("".join(lines))
    return folder


def test_a_folder_of_texts_becomes_a_tokenizer(books, tmp_path, capsys):
    kept, exported = tmp_path / "tokenizer", tmp_path / "hf"
    code, made = call(
        capsys, "--data_dir", books, "--output_dir", kept, "--vocab_size", 300, "--hf", exported,
        "--max-chars", 120, "--doc-cap", 50, "--json",
    )  # fmt: skip
    assert code == 0
    assert (made["vocab_size"], made["chars"]) == (300, 120)
    assert 1 < made["bytes_per_token"] < 4
    found = tokenizers.open(kept)
    assert found.digest == made["sha256"]
    assert tokenizers.open(exported).encode(TEXTS[0]) == found.encode(TEXTS[0])
    code, sentence = call(capsys, "--data-dir", books, "--output-dir", kept)
    assert code == 2
    assert sentence.endswith("tokenizer is there already; give another --output-dir or --hf")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--vocab-size", "200"], 2, "vocab_size=200 must be from 265"),
        (["--vocab-size", "60000"], 3, "give no more than"),
        (["--column", "body"], 3, "has no column 'body'; there are: text, n"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(books, tmp_path, capsys, words, code, said):
    kept = tmp_path / "tokenizer"
    found, sentence = call(capsys, "--data-dir", books, "--output-dir", kept, *words)
    assert (found, sentence.startswith("jfl: ")) == (code, True)
    assert said in sentence
    assert not kept.exists()

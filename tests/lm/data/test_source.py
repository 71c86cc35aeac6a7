"""What is trained on and what is held back."""

import json

import pytest

from jfl.errors import DataError
from jfl.lm.data import source
from jfl.lm.tokenizer import training
from tests.lm import base_runs
from tests.lm.data import made


def test_the_last_file_is_held_back_or_those_that_say_so(tmp_path):
    made.shards(tmp_path / "shards", [3] * 30)
    train, held = source.find(source.Config(dir=str(tmp_path / "shards")))
    assert [path.name for path in train.files] == ["shard_00000.jsonl", "shard_00001.jsonl"]
    assert [path.name for path in held.files] == ["shard_00002.jsonl"]
    (tmp_path / "shards" / "validation.jsonl").write_text('{"text": "b"}\n')
    train, held = source.find(source.Config(dir=str(tmp_path / "shards")))
    assert (len(train.files), [path.name for path in held.files]) == (3, ["validation.jsonl"])
    made.shards(tmp_path / "one", [3])
    with pytest.raises(DataError, match=r"shard_00000\.jsonl is the only file of texts"):
        source.find(source.Config(dir=str(tmp_path / "one")))
    with pytest.raises(ValueError, match=r"give data\.dir"):
        source.Config()
    with pytest.raises(ValueError, match=r"give data\.dir"):
        source.Config(dir="a", sets=("brown",))


def test_sets_are_written_once_and_a_part_is_held_back(tmp_path, monkeypatch):
    paragraphs = [f"{n} " + "word and word\n" * (n % 90) for n in range(2000)]
    whole = source.sets.Document("\n\n".join(paragraphs), "a", "a")
    loaded = []

    def load(config):
        loaded.append((config.name, config.cache_dir))
        return source.sets.Texts(config.name, (whole,), "novel", "", "")

    monkeypatch.setattr(source.sets, "load", load)
    config = source.Config(sets=("austen", "brown"), cache_dir=str(tmp_path))
    train, held = source.find(config)
    rows = [[document.content for document in part.documents()] for part in (train, held)]
    assert 0.02 < len(rows[1]) / len(rows[0]) < 0.09
    assert max(map(len, rows[0])) < 9000
    assert sorted(rows[0] + rows[1]) == sorted(2 * list(source.pieces(whole.text)))
    assert "".join(source.pieces(whole.text)) == whole.text
    assert not set(rows[0]) & set(rows[1])
    (train.files[0].parent / "validation.jsonl").write_text(json.dumps({"text": "kept"}) + "\n")
    assert [d.content for d in source.find(config)[1].documents()] == ["kept"]
    assert loaded[:2] == [("austen", str(tmp_path)), ("brown", str(tmp_path))]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"a": [], "b": ["x" * 99]}, r"a\.jsonl holds no text; put some there$"),
        ({"a": ["y" * 99], "b": []}, r"b\.jsonl holds no text; put some there$"),
        ({"a": ["z" * 99]}, r"a\.jsonl is the only file of texts"),
    ],
)
def test_shards_that_are_empty_or_too_few_are_one_sentence(tmp_path, texts, said):
    (tmp_path / "texts").mkdir()
    for name, documents in texts.items():
        lines = [json.dumps({"text": text}) + "\n" for text in documents]
        (tmp_path / "texts" / f"{name}.jsonl").write_text("".join(lines))
    training.train(["a b c d"] * 3, 265).save(tmp_path / "tokenizer")
    words = f"tokenizer.path={tmp_path / 'tokenizer'}", "train.total_batch_size=32"
    with pytest.raises(DataError, match=said) as caught:
        next(base_runs.job(tmp_path, *words)._loader)
    assert "\n" not in str(caught.value)


def test_one_document_is_enough_to_train_on(tmp_path):
    (tmp_path / "texts").mkdir()
    for name in "ab":
        line = json.dumps({"text": "one two three " * 9}) + "\n"
        (tmp_path / "texts" / f"{name}.jsonl").write_text(line)
    training.train(["a b c d"] * 3, 265).save(tmp_path / "tokenizer")
    words = f"tokenizer.path={tmp_path / 'tokenizer'}", "train.total_batch_size=32"
    for loader in ("flat", "best_fit"):
        rows = next(base_runs.job(tmp_path, *words, f"data.loader={loader}")._loader)
        assert rows.shape == (2, 17)


def test_a_table_without_the_column_is_one_sentence(tmp_path):
    tables = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    (tmp_path / "texts").mkdir()
    for name in "ab":
        rows = arrow.table({"body": ["one two three"] * 9})
        tables.write_table(rows, tmp_path / "texts" / f"{name}.parquet")
    with pytest.raises(DataError, match=r"has no column 'text'; there are: body"):
        base_runs.job(tmp_path)

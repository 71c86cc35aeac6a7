"""What is trained on and what is held back."""

import json

import pytest

from jfl.errors import DataError
from jfl.lm.data import source
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

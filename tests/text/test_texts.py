"""Texts of every kind of file, from any row on; and what is said of those that are wrong."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from jfl.errors import DataError, UsageError
from jfl.text import texts
from jfl.text.readers import txt
from tests.datasets.test_tfds import field, varint
from tests.text import made

SAID = [text for text in made.texts(300) if text and "\r" not in text][:150]
TALK = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def jsonl(path: Path, column: str = "text") -> None:
    lines = [json.dumps({"n": n, column: text}) for n, text in enumerate(SAID)]
    path.write_text("\ufeff" + "\n\n".join(lines) + "\n", encoding="utf-8")


def table(path: Path, column: str = "text") -> None:
    with path.open("w", encoding="utf-16", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerows([["n", column], *enumerate(SAID)])


def arrow(path: Path, column: str = "text") -> None:
    whole = pa.table({"n": range(len(SAID)), column: SAID})
    if path.suffix == ".parquet":
        parquet.write_table(whole, path, row_group_size=40)
        return
    with ipc.new_stream(path, whole.schema) as writer:
        writer.write_table(whole, max_chunksize=70)


KINDS = {"a.jsonl": jsonl, "a.csv": table, "a.parquet": arrow, "a.arrow": arrow}


@pytest.mark.parametrize("name", KINDS)
def test_rows_come_as_they_were_written_from_any_one_on(tmp_path: Path, name: str) -> None:
    KINDS[name](tmp_path / name)
    (tmp_path / "README.txt").write_text("no data")
    found = texts.find(tmp_path)
    whole = list(found.documents())
    assert [document.content for document in whole] == SAID
    for number in (0, 1, 39, 40, 41, 64, 99, 149):
        rest = list(found.documents(row=whole[number].row))
        assert rest == whole[number:]


def test_a_prepared_copy_of_tensorflow_datasets(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_datasets")
    from array_record.python import array_record_module

    folder = tmp_path / "mine" / "1.0.0"
    folder.mkdir(parents=True)
    core = "tensorflow_datasets.core.features"
    text = {"pythonClassName": f"{core}.text_feature.Text", "text": {}}
    about = {"pythonClassName": f"{core}.features_dict.FeaturesDict",
             "featuresDict": {"features": {"text": text}}}  # fmt: skip
    (folder / "features.json").write_text(json.dumps(about))
    sizes = {"train": SAID[:5], "test": SAID[5:8]}
    splits = []
    for split, said in sizes.items():
        name = f"mine-{split}.array_record-00000-of-00001"
        writer = array_record_module.ArrayRecordWriter(str(folder / name), "group_size:1")
        for item in said:
            value = field(1, field(1, item.encode()))
            writer.write(field(1, field(1, field(1, b"text") + field(2, value))))
        writer.close()
        splits.append({
            "name": split, "shardLengths": [str(len(said))], "numBytes": "9",
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        })  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps(
        {"name": "mine", "version": "1.0.0", "fileFormat": "array_record", "splits": splits,
         "moduleName": "x"}))  # fmt: skip
    assert varint(3) == b"\3"
    found = texts.find(folder, split="train")
    assert [document.content for document in found.documents()] == SAID[:5]
    assert [document.content for document in found.documents(row=3)] == SAID[3:5]
    assert len(list(texts.find(folder).documents())) == 8
    with pytest.raises(DataError, match="holds test, train, not valid"):
        texts.find(folder, split="valid")


def test_splits_of_a_folder(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl", "test.jsonl"):
        (tmp_path / name).write_text(json.dumps({"text": name}))
    found = texts.find(tmp_path, split="train")
    assert [d.content[:11] for d in found.documents()] == ["train-00000", "train-00001"]
    assert [d.content[:11] for d in found.documents([1, 0])] == ["train-00001", "train-00000"]
    with pytest.raises(DataError, match="holds test, train, not valid"):
        texts.find(tmp_path, split="valid")


def test_large_plain_files_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(txt, "_PIECE", 50)
    monkeypatch.setattr(txt, "_CHUNK", 7)
    said = "\n".join(SAID)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        (tmp_path / "a.txt").write_text(said, encoding=encoding, newline="\r\n")
        pieces = list(texts.find(tmp_path / "a.txt").documents())
        assert "".join(str(piece.content) for piece in pieces) == said.replace("\r", "\n")
        assert len(pieces) > 20
        assert max(len(piece.content) for piece in pieces) <= 107
        assert [piece.begins for piece in pieces] == [True] + [False] * (len(pieces) - 1)
        assert [piece.ends for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert list(texts.find(tmp_path).documents(row=7)) == pieces[7:]


def test_pieces_are_cut_where_tokenizers_cut(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "a.txt").write_text("some words\n\n  and more\n" * 20)
    for size in range(40, 64):
        monkeypatch.setattr(txt, "_PIECE", size)
        pieces = [str(piece.content) for piece in texts.find(tmp_path).documents()]
        assert len(pieces) > 5
        assert all(piece.endswith("\n") and not piece[0].isspace() for piece in pieces)


ROWS: list[tuple[dict[str, Any], list[tuple[str, str | None]]]] = [
    ({"messages": TALK}, [("user", "a"), ("assistant", "b")]),
    ({"messages": {"role": ["user", "assistant"], "content": ["a", "b"]}},
     [("user", "a"), ("assistant", "b")]),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
     [("user", "a"), ("assistant", "b")]),
    ({"prompt": "a", "completion": "b"}, [("user", "a"), ("assistant", "b")]),
    ({"prompt": TALK[:1], "completion": TALK[1:]}, [("user", "a"), ("assistant", "b")]),
    ({"instruction": "a", "input": "x", "output": "b"}, [("user", "a\n\nx"), ("assistant", "b")]),
    ({"instruction": "a", "input": "", "output": "b"}, [("user", "a"), ("assistant", "b")]),
]  # fmt: skip


def test_conversations_in_all_their_forms(tmp_path: Path) -> None:
    for row, said in ROWS:
        (tmp_path / "a.jsonl").write_text(json.dumps(row))
        (document,) = texts.find(tmp_path, conversations=True).documents()
        assert [(m["role"], m["content"]) for m in document.content] == said
    parquet.write_table(pa.table({"messages": [TALK]}), tmp_path / "a.parquet")
    (document,) = texts.find(tmp_path, conversations=True).documents()
    assert document.content == TALK


def _written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("make", "conversations", "words"),
    [
        (_written("a.txt", b"abc\n" * 30_000 + b"\xff"), False, "no UTF-8 text .byte 120,000"),
        (_written("a.txt", b"abc\xe2\x82"), False, "no UTF-8 text .byte 3"),
        (_written("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}'), False, "line 2, is no row: byte"),
        (_written("a.jsonl", b'{"text": "a"}\n\n["a"]'), False, "line 3, is no row: it holds a li"),
        (_written("a.jsonl", b'{"text": "a"}\n{"body": "b"}'), False, "row 2 has no column 'text'"),
        (_written("a.jsonl", b'{"text": "a"}\n{"text": null}'), False, "row 2: text holds None"),
        (_written("a.jsonl", b'{"text": "a"}'), True, "row 1 is no conversation: it has text"),
        (_written("a.jsonl", b'{"messages": []}'), True, "row 1 holds no whole conversation"),
        (_written("a.jsonl", b'{"messages": [{"role": 1}]}'), True, "row 1 holds no whole conv"),
        (_written("a.csv", b"n,text\n1,a\n2\n"), False, "row 2, has 1 columns, not the 2"),
        (_written("a.csv", b"n,text\n1,a\n2,\xff\n"), False, "is no table: no UTF-8 text"),
        (_written("a.csv", b"n,body\n1,a\n"), False, "no column 'text'; there are: n, body"),
        (_written("a.parquet", b"PAR1xxxxPAR1"), False, "cannot be read"),
        (_written("a.arrow", b"xxxxxxxxxxxx"), False, "cannot be read"),
        (_written("a.txt", b"a"), True, "is plain text; conversations are .jsonl or tables"),
        (_written("a.doc", b"a"), False, "holds no .parquet"),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(
    tmp_path: Path, make: Callable[[Path], object], conversations: bool, words: str
) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=words) as refused:
        list(texts.find(tmp_path, conversations=conversations).documents())
    assert "\n" not in str(refused.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not there"):
        texts.find(tmp_path / "nowhere")

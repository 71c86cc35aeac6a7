"""Prepared copies written byte by byte: JSON, and tf.train.Example records in array_record."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from jfl.datasets import base
from jfl.datasets.tfds import Config
from jfl.errors import DataError

pytest.importorskip("tensorflow_datasets")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), np.uint8)
LABELS = {"train": [2, 0, 1], "test": [1, 1]}


def varint(number: int) -> bytes:
    head = b""
    while number > 127:
        head, number = head + bytes([number & 127 | 128]), number >> 7
    return head + bytes([number])


def field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(pixels: np.ndarray, label: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    features = {
        b"image": field(1, field(1, buffer.getvalue())),
        b"label": field(3, field(1, varint(label))),
    }
    entries = (field(1, field(1, name) + field(2, item)) for name, item in features.items())
    return field(1, b"".join(entries))


def write(root, version="1.0.0", pixels=PIXELS, name="tiny", labelled=LABELS, kind="uint8"):
    from array_record.python import array_record_module

    folder = root / name / version
    folder.mkdir(parents=True)
    core = "tensorflow_datasets.core.features"
    image = {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": kind, "encodingFormat": "png"}
    features = {
        "image": {"pythonClassName": f"{core}.image_feature.Image", "image": image},
        "label": {
            "pythonClassName": f"{core}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": "4"},
        },
    }
    about = {
        "pythonClassName": f"{core}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }
    (folder / "features.json").write_text(json.dumps(about))
    splits, start = [], 0
    for split, labels in labelled.items():
        path = folder / f"{name}-{split}.array_record-00000-of-00001"
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for label in labels:
            writer.write(example(pixels[start], label))
            start += 1
        writer.close()
        splits.append(
            {
                "name": split, "numBytes": "100", "shardLengths": [str(len(labels))],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )  # fmt: skip
    info = {"name": name, "version": version, "fileFormat": "array_record", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))


def test_reads_the_newest_version(tmp_path):
    write(tmp_path, "1.9.0", PIXELS[::-1])
    write(tmp_path, "1.10.0")
    both = base.load(Config(dir=str(tmp_path), builder="tiny"), seed=0)
    train = base.load(Config(dir=str(tmp_path), builder="tiny", split="train"), seed=0)

    np.testing.assert_array_equal(train.x, PIXELS[:3])
    assert train.y.tolist() == [2, 0, 1]
    np.testing.assert_array_equal(both.x, PIXELS[[3, 4, 0, 1, 2]])
    assert both.y.tolist() == [1, 1, 2, 0, 1]
    assert (both.num_classes, both.title) == (4, "TFDS tiny")


def test_the_usual_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    write(tmp_path)

    assert base.available(Config(builder="tiny"))


def test_absent_names_the_extra_that_prepares(tmp_path):
    with pytest.raises(DataError, match=r"no prepared cifar10: .*JFL_EXTRAS=tfds.*data_source"):
        base.load(Config(dir=str(tmp_path), builder="cifar10"), seed=0)
    with pytest.raises(DataError, match=r"data\.builder=cifar10"):
        base.load(Config(dir=str(tmp_path)), seed=0)


def test_samples_without_a_class_and_deep_pixels(tmp_path):
    write(tmp_path, labelled={"train": [2, 0, 4], "test": [1, 5]})
    config = Config(dir=str(tmp_path), builder="tiny")
    with pytest.raises(
        DataError, match=r"label 5, not 0 to 3, in 2 of 5 samples, first in sample 1"
    ):
        base.load(config, seed=0)
    write(tmp_path, "2.0.0", pixels=PIXELS[..., 0].astype(np.uint16) * 257, kind="uint16")
    with pytest.raises(DataError, match=r"uint16"):
        base.load(config, seed=0)


def test_damaged_copies(tmp_path, monkeypatch):
    write(tmp_path)
    config = Config(dir=str(tmp_path), builder="tiny")
    with pytest.raises(DataError, match="cannot be read"):
        base.load(config.model_copy(update={"split": "valid"}), seed=0)
    record = tmp_path / "tiny" / "1.0.0" / "tiny-train.array_record-00000-of-00001"
    record.rename(tmp_path / "gone")
    with pytest.raises(DataError, match="cannot be read") as caught:
        base.load(config, seed=0)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.cwd().glob("data_cache/tfds*"))
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match="install jfl's extra `tfds`"):
        base.load(config, seed=0)

import io
import json
import struct
from zlib import crc32

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image
from pyarrow import parquet

from jfl import plugins
from jfl.cli import cli
from jfl.datasets import base, digits, survey
from jfl.errors import DataError, UsageError
from jfl.sources import idx
from tests.command_line import jfl
from tests.datasets.test_idx_sets import write

COUNTS = {"train": 8, "t10k": 4}


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """MNIST, if it had 8 + 4 images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(idx, "PARTS", COUNTS)
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in COUNTS.items():
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8)
    write(tmp_path / "raw", arrays)
    return tmp_path


def run(*words):
    done = CliRunner().invoke(cli, ["data", *words, "--json"], catch_exceptions=False)
    return json.loads(done.stdout.strip().split("\n")[-1])


def test_list_names_every_data_set_with_its_settings():
    items = run("list")["items"]

    assert [item["name"] for item in items] == plugins.names("data") + plugins.names("text")
    assert all(item["summary"] for item in items)
    emnist = next(item for item in items if item["name"] == "emnist")
    assert emnist["settings"]["split"]["default"] == "balanced"


def test_prepare_decodes_and_keeps(folder):
    done = run("prepare", "mnist", "--data-dir", "raw", "--data-cache-dir", "kept")

    assert done["samples"] == 12
    assert done["class_counts"] == [2, 2, 2, 2, 1, 1, 1, 1, 0, 0]
    assert (done["shape"], done["dtype"], done["place"]) == ([28, 28, 1], "uint8", "raw")
    assert done["licence"]
    assert done["source"]
    assert len(list((folder / "kept").glob("mnist-*"))) == 1
    assert run("show", "mnist", "--data-dir", "raw", "--no-cache")["sha256"] == done["sha256"]
    assert not (folder / "data_cache").exists()


def test_settings_are_checked_by_their_owner(folder):
    assert run("show", "digits", "limit=100")["samples"] == 100
    assert run("show", "digits", "data.limit=100")["samples"] == 100
    with pytest.raises(UsageError, match=r"data\.split=no"):
        run("show", "emnist", "split=no")
    with pytest.raises(UsageError, match=r"did you mean mnist"):
        run("show", "mnis")


def test_verify_sees_what_changed(folder, monkeypatch):
    words = ("verify", "mnist", "--data-dir", "raw")
    assert run(*words)["cache"] == "none"
    run("prepare", "mnist", "--data-dir", "raw")
    done = run(*words)
    assert done["cache"] == "same"
    assert set(done["files"].values()) == {"different"}
    assert len(done["files"]) == 4
    monkeypatch.setattr(survey, "_compare", lambda path, known: f"{path.name} {known}")
    assert "md5:" in run(*words)["files"]["train-images-idx3-ubyte.gz"]
    entry = next(folder.glob("data_cache/mnist-*"))
    np.save(entry / "y.npy", np.zeros(12, np.int32))
    assert run(*words)["cache"] == "damaged"
    (folder / "raw" / "train-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(DataError):
        run(*words)


def test_compares_with_published_hashes(tmp_path):
    (tmp_path / "a").write_bytes(b"")

    assert survey._compare(tmp_path / "a", "md5:d41d8cd98f00b204e9800998ecf8427e") == "original"
    assert survey._compare(tmp_path / "a", "md5:0") == "different"
    assert survey._compare(tmp_path / "a", None) == "not published"


def test_picture_of_samples(folder):
    done = run("show", "digits", "--picture", "digits.png")

    assert done["picture"] == "digits.png"
    with Image.open("digits.png") as image:
        assert image.width > 600
        assert len(np.unique(np.asarray(image.convert("L")))) > 15
    for wrong in ("digits.txt", "absent/digits.png"):
        with pytest.raises(UsageError, match="--picture"):
            run("show", "digits", "--picture", wrong)


def test_examples_are_of_their_classes():
    dataset = base.load(digits.Config(), 0)
    grid, classes = survey.examples(dataset)
    assert classes.tolist() == list(range(10))
    for row, label in zip(grid, classes, strict=True):
        np.testing.assert_array_equal(row, dataset.x[dataset.y == label][:10])

    many = base.Dataset("m", dataset.x[:300], np.arange(300, dtype=np.int32) // 3, 100, "", "")
    grid, classes = survey.examples(many)
    assert (len(classes), classes[0], classes[-1]) == (20, 0, 99)
    assert (grid[:, 3:] == 255).all()
    floats = base.Dataset("f", many.x / np.float32(7) - 1, many.y, 100, "", "")
    assert survey.examples(floats)[0].max() == 255
    flat = base.Dataset("t", np.zeros((3, 4), np.int32), many.y[:3], 100, "", "")
    with pytest.raises(UsageError, match="t holds no images"):
        survey.examples(flat)


def test_what_libraries_warn_of_is_not_said(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "PNG")
    frames = b"acTL" + bytes(8)  # an animation of no frames, of which Pillow warns
    odd = file.getvalue()[:33] + struct.pack(">I", 8) + frames + struct.pack(">I", crc32(frames))
    table = pa.table({"image": [{"bytes": odd + file.getvalue()[33:]}], "label": [0]})
    parquet.write_table(table, tmp_path / "a.parquet")
    done = jfl("data", "prepare", "hf", "--no-cache", "--data-dir", "a.parquet", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")

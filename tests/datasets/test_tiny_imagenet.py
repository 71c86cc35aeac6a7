import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from jfl.datasets import base, tiny_imagenet
from jfl.datasets.tiny_imagenet import Config
from jfl.errors import DataError

WNIDS = ["n02000000", "n01000000", "n01500000"]  # not sorted, on purpose
PER_CLASS = 11  # so that _10 sorts before _2


def jpeg(colour, mode="RGB", size=(64, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture
def files(monkeypatch, tmp_path) -> dict[str, bytes]:
    """A set that is complete, if there were 3 classes of 11; image i of class c has one colour."""
    monkeypatch.setattr(tiny_imagenet, "_CLASSES", len(WNIDS))
    monkeypatch.setattr(tiny_imagenet, "_PER_CLASS", PER_CLASS)
    monkeypatch.chdir(tmp_path)
    files = {"wnids.txt": "\n".join(WNIDS).encode(), "val/images/val_0.JPEG": jpeg((1, 2, 3))}
    for c, wnid in enumerate(WNIDS):
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"0 0 63 63"
        for i in range(PER_CLASS):
            grey = c == 1 and i == 2
            content = jpeg(20 * i, "L") if grey else jpeg((20 * i, 80 * c, 0))
            files[f"train/{wnid}/images/{wnid}_{i}.JPEG"] = content
    return files


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_zip(path, files, prefix="tiny-imagenet-200/"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)


def check(dataset):
    assert dataset.x.shape == (33, 64, 64, 3)
    assert dataset.x.dtype == np.uint8
    assert dataset.y.tolist() == [0] * 11 + [1] * 11 + [2] * 11
    by_name = [0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9]
    for label, c in enumerate([1, 2, 0]):  # sorted wnids
        for row, i in enumerate(by_name):
            pixel = dataset.x[11 * label + row, 30, 30].astype(int)
            wanted = [20 * i] * 3 if (c, i) == (1, 2) else [20 * i, 80 * c, 0]
            assert np.abs(pixel - wanted).max() <= 3, (c, i)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("below", "named"), [("set", True), ("set/tiny-imagenet-200", True), ("data", False)]
)
def test_reads_folder_and_zip_wherever_it_may_be(files, tmp_path, zipped, below, named):
    folder = tmp_path / below
    if below == "data":
        folder = folder / "tiny-imagenet-200"
    if zipped:
        write_zip(tmp_path / ("set" if named else "data") / "tiny-imagenet-200.zip", files)
    else:
        write(folder, files)
    config = Config(dir=str(tmp_path / "set")) if named else Config()

    assert base.available(config)
    dataset = base.load(config, seed=0)

    check(dataset)
    assert dataset.title == "Tiny-ImageNet"


def test_a_zip_may_be_named_itself_and_may_lack_its_top_folder(files, tmp_path):
    write_zip(tmp_path / "mine.zip", files, prefix="")

    check(base.load(Config(dir="mine.zip"), seed=0))


def test_zip_names_never_become_paths(files, tmp_path):
    files["../../escaped.JPEG"] = b"x"
    files["/train/../../n01000000/images/n01000000_99.JPEG"] = b"x"
    write_zip(tmp_path / "deep" / "set.zip", files)

    check(base.load(Config(dir="deep/set.zip", cache=False), seed=0))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "set.zip"]


def test_absent_says_what_to_put_where(files, tmp_path):
    with pytest.raises(DataError, match=r"elsewhere.*tiny-imagenet-200\.zip.*data\.dir"):
        base.load(Config(dir="elsewhere"), seed=0)
    with pytest.raises(DataError, match=r"data/tiny-imagenet-200"):
        base.load(Config(), seed=0)
    assert not base.available(Config())


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("-train/n01500000/images/n01500000_7.JPEG", "n01500000/images holds 10 JPEG"),
        ("+train/n01500000/images/n01500000_77.JPEG", "n01500000/images holds 12 JPEG"),
        ("-train/n02000000/", "holds 2 classes, the last being n01500000, not 3"),
        ("-train/n", "holds 0 classes, not 3"),
        ("+train/n09999999/images/n09999999_0.JPEG", "n09999999/images holds 1 JPEG"),
    ],
)
def test_incomplete_names_the_first_wrong_class(files, tmp_path, zipped, change, expected):
    sign, part = change[0], change[1:]
    kept = {name: files[name] for name in files if sign == "+" or part not in name}
    kept["train/readme.txt"] = b""
    if sign == "+":
        kept[part] = jpeg(0)
    if zipped:
        write_zip(tmp_path / "tiny-imagenet-200.zip", kept)
    else:
        write(tmp_path / "tiny-imagenet-200", kept)

    with pytest.raises(DataError, match=expected):
        base.load(Config(), seed=0)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (jpeg(0)[:-200], "cannot be decoded"),
        (b"", "cannot be decoded"),
        (jpeg(0)[:100] + b"\xff" * 300, "cannot be decoded"),
        (jpeg(0, size=(64, 32)), "is 64x32 pixels; it must be 64x64"),
        (jpeg(0, size=(20_000, 64)), "is 20000x64 pixels"),
    ],
)
def test_a_bad_image_is_named(files, tmp_path, zipped, content, expected):
    name = "train/n01500000/images/n01500000_4.JPEG"
    files[name] = content
    if zipped:
        write_zip(tmp_path / "tiny-imagenet-200.zip", files)
    else:
        write(tmp_path / "tiny-imagenet-200", files)

    with pytest.raises(DataError, match=expected) as caught:
        base.load(Config(), seed=0)

    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_png_is_not_a_jpeg(files, tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    files["train/n01000000/images/n01000000_0.JPEG"] = buffer.getvalue()
    write(tmp_path / "tiny-imagenet-200", files)

    with pytest.raises(DataError, match=r"n01000000_0\.JPEG cannot be decoded"):
        base.load(Config(), seed=0)


def test_broken_zip_files(files, tmp_path):
    path = tmp_path / "tiny-imagenet-200.zip"
    write_zip(path, files)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a zip", whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            base.load(Config(), seed=0)

    start = whole.index(b"\xff\xd8", len(whole) // 2)
    path.write_bytes(whole[:start] + bytes(50) + whole[start + 50 :])
    with pytest.raises(DataError, match=r"_\d+\.JPEG cannot be decoded"):
        base.load(Config(), seed=0)

import dataclasses
import io
import tarfile

import numpy as np
import pytest

from jfl.datasets import base, cifar10, cifar100
from jfl.errors import DataError, SafetyError
from tests.sources import pickled

ROWS = 6
RNG = np.random.default_rng(0)


@pytest.fixture(params=[cifar10, cifar100], ids=["cifar10", "cifar100"])
def module(request, monkeypatch):
    """A data set that is complete with 6 images in each of its files."""
    layout = request.param._LAYOUT
    parts = dict.fromkeys(layout.parts, ROWS)
    monkeypatch.setattr(request.param, "_LAYOUT", dataclasses.replace(layout, parts=parts))
    return request.param


@pytest.fixture
def arrays(module):
    """Pixels in the order of the files (red plane, green, blue) and labels of each file."""
    classes = module._LAYOUT.num_classes
    return {
        name: (RNG.integers(0, 256, (ROWS, 3072), np.uint8), RNG.integers(0, classes, ROWS))
        for name in module._LAYOUT.parts
    }


def files(module, arrays, version) -> dict[str, bytes]:
    layout = module._LAYOUT
    if version == "python":
        key = layout.label_key.encode()
        return {n: pickled.batch(x, y.tolist(), key) for n, (x, y) in arrays.items()}
    coarse = np.full((ROWS, layout.label_bytes - 1), 7, np.uint8)
    return {
        f"{name}.bin": np.concatenate([coarse, y[:, None].astype(np.uint8), x], 1).tobytes()
        for name, (x, y) in arrays.items()
    }


def write_tar(path, files, folder="cifar/"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            item = tarfile.TarInfo(folder + name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def check(dataset, arrays, module):
    x = np.concatenate([x for x, _ in arrays.values()])
    assert dataset.x.shape == (len(x), 32, 32, 3)
    assert dataset.x.dtype == np.uint8
    for channel in range(3):
        plane = dataset.x[..., channel].reshape(len(x), -1)
        np.testing.assert_array_equal(plane, x[:, 1024 * channel : 1024 * (channel + 1)])
    np.testing.assert_array_equal(dataset.y, np.concatenate([y for _, y in arrays.values()]))
    assert dataset.num_classes == module._LAYOUT.num_classes
    assert dataset.title == module.TITLE


@pytest.mark.parametrize("version", [0, 1], ids=["python", "binary"])
@pytest.mark.parametrize("form", ["archive", "renamed archive", "folder", "inside", "usual"])
def test_reads_every_form(module, arrays, tmp_path, version, form):
    content = files(module, arrays, ["python", "binary"][version])
    layout, config = module._LAYOUT, module.Config(dir=str(tmp_path))
    if form == "archive":
        write_tar(tmp_path / layout.archives[version], content)
    elif form == "renamed archive":
        write_tar(tmp_path / "mine.tgz", content)
        config = module.Config(dir=str(tmp_path / "mine.tgz"))
    elif form == "folder":
        write(tmp_path, content)
    elif form == "inside":
        write(tmp_path / layout.folders[version], content)
    else:
        (tmp_path.cwd() / "data").mkdir()
        write(tmp_path.cwd() / "data" / layout.folders[version], content)
        config = module.Config()

    assert base.available(config)
    check(base.load(config, seed=0), arrays, module)


def test_names_in_an_archive_never_become_paths(module, arrays, tmp_path):
    content = files(module, arrays, "python")
    write_tar(tmp_path / "a.tar.gz", {"../../../escaped": b"x", "/etc/escaped": b"x", **content})
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        link = tarfile.TarInfo(next(iter(content)))
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)

    config = module.Config(dir=str(tmp_path / "a.tar.gz"), cache=False)
    check(base.load(config, seed=0), arrays, module)
    with pytest.raises(DataError, match=f"holds no {next(iter(content))}"):
        base.load(module.Config(dir=str(tmp_path / "b.tar")), seed=0)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar.gz", "b.tar"]


def test_a_pickle_that_would_execute_is_refused(module, arrays, tmp_path):
    content = files(module, arrays, "python")
    name = next(iter(content))
    content[name] = b"cos\nsystem\n(S'true'\ntR."
    write(tmp_path, content)

    with pytest.raises(SafetyError, match=f"{name} names os.system"):
        base.load(module.Config(dir=str(tmp_path)), seed=0)
    assert not list(tmp_path.cwd().glob("data_cache/cifar*"))


@pytest.mark.parametrize("version", ["python", "binary"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c[:-9], "damaged pickle|has 18|has 19"),
        (lambda _: b"", "damaged pickle|has 0 bytes"),
        (lambda _: b"N.", "holds no `data`|has 2 bytes"),
        (lambda c: c + c, None),
    ],
)
def test_damaged_files_are_named(module, arrays, tmp_path, version, change, expected):
    content = files(module, arrays, version)
    name = list(content)[-1]
    content[name] = change(content[name])
    write(tmp_path, content)
    if expected is None and version == "python":  # a pickle ends where it says
        check(base.load(module.Config(dir=str(tmp_path)), seed=0), arrays, module)
        return

    with pytest.raises(DataError, match=expected or "download it again") as caught:
        base.load(module.Config(dir=str(tmp_path)), seed=0)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.cwd().glob("data_cache/cifar*"))


@pytest.mark.parametrize("version", ["python", "binary"])
def test_wrong_labels_and_shapes(module, arrays, tmp_path, version):
    name = list(arrays)[1]
    x, y = arrays[name]
    write(tmp_path / "label", files(module, arrays | {name: (x, y + 150)}, version))
    write(tmp_path / "rows", files(module, arrays | {name: (x[:5], y[:5])}, "python"))

    with pytest.raises(DataError, match=rf"{name}.* holds the label \d+; labels must be 0 to \d+"):
        base.load(module.Config(dir=str(tmp_path / "label")), seed=0)
    with pytest.raises(DataError, match=f"{name} holds no `data` of 6 x 3072 bytes"):
        base.load(module.Config(dir=str(tmp_path / "rows")), seed=0)


def test_broken_archives(module, arrays, tmp_path):
    path = tmp_path / module._LAYOUT.archives[0]
    content = files(module, arrays, "python")
    write_tar(path, content)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:20], b"", b"not a tar"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be read|holds no"):
            base.load(module.Config(dir=str(tmp_path)), seed=0)
    last = list(content)[-1]
    write_tar(path, {name: item for name, item in content.items() if name != last})
    with pytest.raises(DataError, match=f"holds no {last}; download it again"):
        base.load(module.Config(dir=str(tmp_path)), seed=0)
    write_tar(path, {**content, f"again/{last}": content[last]})
    with pytest.raises(DataError, match=f"holds {last} twice"):
        base.load(module.Config(dir=str(tmp_path)), seed=0)


def test_absent_says_what_to_put_where(module, tmp_path):
    with pytest.raises(DataError) as caught:
        base.load(module.Config(dir=str(tmp_path)), seed=0)

    assert str(tmp_path) in str(caught.value)
    assert all(archive in str(caught.value) for archive in module._LAYOUT.archives)

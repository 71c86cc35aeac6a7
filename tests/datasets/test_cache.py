import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from jfl.datasets import base, mnist
from jfl.errors import DataError
from jfl.sources import idx
from tests.datasets.test_idx_sets import write

COUNTS = {"train": 8, "t10k": 4}


@pytest.fixture
def config(monkeypatch, tmp_path):
    """MNIST, if it had 8 + 4 images, in a folder."""
    monkeypatch.setattr(idx, "PARTS", COUNTS)
    write(tmp_path, arrays(0))
    return mnist.Config(dir=str(tmp_path))


def arrays(seed):
    rng = np.random.default_rng(seed)
    found = {}
    for part, count in COUNTS.items():
        found[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        found[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, count, np.uint8)
    return found


@pytest.fixture
def decodings(monkeypatch):
    """The calls of the decoder."""
    calls = []
    load = mnist.load
    monkeypatch.setattr(mnist, "load", lambda config: calls.append(config) or load(config))
    return calls


def entries() -> list[Path]:
    return sorted(Path("data_cache").glob("mnist-*"))


def test_decodes_once(config, decodings):
    first, second = base.load(config, 0), base.load(config, 0)

    assert len(decodings) == 1
    for name in ("x", "y"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        assert getattr(first, name).dtype == getattr(second, name).dtype
    assert first.sha256 == second.sha256
    assert (first.title, first.num_classes, first.licence) == (
        second.title, second.num_classes, second.licence,
    )  # fmt: skip
    assert len(entries()) == 1


def test_no_cache_leaves_nothing(config, decodings):
    off = config.model_copy(update={"cache": False})
    base.load(off, 0)
    base.load(off, 0)

    assert len(decodings) == 2
    assert not Path("data_cache").exists()


def test_another_folder_for_the_cache(config, tmp_path):
    base.load(config.model_copy(update={"cache_dir": str(tmp_path / "c")}), 0)

    assert not Path("data_cache").exists()
    assert len(list((tmp_path / "c").glob("mnist-*"))) == 1


def test_changed_files_and_changed_decoders_are_decoded_anew(
    config, decodings, tmp_path, monkeypatch
):
    old = base.load(config, 0)
    write(tmp_path, arrays(1))
    new = base.load(config, 0)
    monkeypatch.setattr(base, "READERS", base.READERS + 1)
    base.load(config, 0)

    assert len(decodings) == 3
    assert old.sha256 != new.sha256
    assert len(entries()) == 3


def test_settings_that_do_not_change_the_arrays_share_an_entry(config, decodings):
    base.load(config, 0)
    base.load(config.model_copy(update={"limit": 5, "image_size": 32}), 0)

    assert len(decodings) == 1


@pytest.mark.parametrize("name", ["x.npy", "y.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone"])
def test_a_damaged_entry_is_made_anew(config, decodings, name, damage):
    whole = base.load(config, 0)
    path = entries()[0] / name
    content = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")

    assert base.load(config, 0).sha256 == whole.sha256
    assert len(decodings) == 2
    assert base.load(config, 0).sha256 == whole.sha256
    assert len(decodings) == 2


def test_a_failure_leaves_no_entry(config, tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"")

    with pytest.raises(DataError):
        base.load(config, 0)
    assert [path.name for path in Path("data_cache").iterdir()] == [".mnist.lock"]


def test_a_cache_that_cannot_be_written_says_how_to_do_without(config):
    Path("data_cache").write_text("a file")

    with pytest.raises(DataError, match=r"data_cache cannot be written .*--no-cache") as caught:
        base.load(config, 0)
    assert caught.value.code == 3


def _load(config, folder, queue):
    os.chdir(folder)
    idx.PARTS = COUNTS
    decoded = []
    load = mnist.load
    mnist.load = lambda config: decoded.append(1) or load(config)
    queue.put((base.load(config, 0).sha256, len(decoded)))


def test_two_processes_decode_once_between_them(config):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_load, args=(config, os.getcwd(), queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()

    assert len({sha256 for sha256, _ in results}) == 1
    assert sorted(decoded for _, decoded in results) == [0, 1]
    assert len(entries()) == 1

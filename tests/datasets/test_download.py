"""Downloads, from a server on this machine."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from jfl.datasets import base, svhn
from jfl.errors import DataError
from jfl.sources import download
from jfl.sources.download import File
from tests.datasets.test_svhn import COUNTS, mat

RNG = np.random.default_rng(0)
CONTENT = {
    name: mat(X=RNG.integers(0, 256, (32, 32, 3, n), np.uint8), y=np.full((n, 1), 10, np.uint8))
    for name, n in COUNTS.items()
}


class _Site(BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.content.get(self.path[1:])
        self.server.asked.append((self.path[1:], self.headers.get("Range")))
        if content is None:
            self.send_error(404)
            return
        start = 0
        if (wanted := self.headers.get("Range")) and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.breaks_at])

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    """A server that offers both files of SVHN, if it had 5 + 3 images."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    server.content, server.asked, server.ranges, server.breaks_at = dict(CONTENT), [], True, None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(svhn, "_PARTS", COUNTS)
    files = tuple(
        File(f"http://127.0.0.1:{server.server_port}/{name}", f"md5:{hashlib.md5(c).hexdigest()}")
        for name, c in CONTENT.items()
    )
    monkeypatch.setattr(svhn, "DOWNLOADS", files)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


FOLDER = Path("data_cache/downloads/svhn")


def test_brings_what_is_absent_once(site):
    dataset = base.load(svhn.Config(), seed=0)
    base.load(svhn.Config(cache=False), seed=0)

    assert dataset.y.tolist() == [0] * 8
    assert [name for name, _ in site.asked] == list(CONTENT)
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(CONTENT)


def test_nothing_is_brought_where_a_folder_was_named(site, tmp_path):
    with pytest.raises(DataError, match="SVHN is not in"):
        base.load(svhn.Config(dir=str(tmp_path)), seed=0)

    assert site.asked == []


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_where_it_was_interrupted(site, monkeypatch, ranges):
    name = "train_32x32.mat"
    monkeypatch.setattr(download, "_CHUNK", 100)
    site.breaks_at = 1000
    with pytest.raises(DataError, match=r"train_32x32\.mat could not be downloaded"):
        base.load(svhn.Config(), seed=0)
    assert (FOLDER / f"{name}.part").read_bytes() == CONTENT[name][:1000]
    assert not (FOLDER / name).exists()
    site.breaks_at, site.ranges = None, ranges
    site.asked.clear()

    assert len(base.load(svhn.Config(), seed=0).y) == 8
    assert site.asked[0] == (name, "bytes=1000-")
    assert (FOLDER / name).read_bytes() == CONTENT[name]


def test_a_wrong_hash_leaves_nothing_and_a_second_try_starts_over(site):
    good = site.content["test_32x32.mat"]
    site.content["test_32x32.mat"] = good[:-1] + b"?"
    with pytest.raises(DataError, match=r"put train_32x32\.mat.*test_32x32\.mat could not.*hash"):
        base.load(svhn.Config(), seed=0)
    assert [path.name for path in FOLDER.iterdir()] == ["train_32x32.mat"]
    assert [path.name for path in Path("data_cache").glob("svhn-*")] == []
    site.content["test_32x32.mat"] = good

    assert len(base.load(svhn.Config(), seed=0).y) == 8


def test_a_part_that_was_complete_is_brought_again(site):
    FOLDER.mkdir(parents=True)
    (FOLDER / "train_32x32.mat.part").write_bytes(CONTENT["train_32x32.mat"] + b"?")

    assert len(base.load(svhn.Config(), seed=0).y) == 8


def test_no_such_file_and_no_server(site, tmp_path):
    site.content.clear()
    with pytest.raises(DataError, match="404"):
        base.load(svhn.Config(), seed=0)
    gone = File("http://127.0.0.1:9/a", "md5:0")
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/a could not") as caught:
        download.fetch([gone], tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []

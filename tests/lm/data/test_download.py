"""Shards from a host that fails in many ways."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jfl.errors import DataError, UsageError
from jfl.lm.data import download

CONTENT = b"text" * 1000


@pytest.fixture
def host():
    """A host whose first answers are as each path says; and what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            kind, tries = self.path.split("/")[1], asked.count(self.path)
            failing = {"good": 0, "busy": 2, "short": 1, "never": 99, "gone": 99}[kind]
            code = 404 if kind == "gone" else 503 if kind != "short" else 200
            if tries <= failing and code != 200:
                self.send_error(code)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:700] if tries <= failing else CONTENT)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_fails_is_tried_again_and_what_is_there_is_not(host, tmp_path):
    place, asked = host
    said = []
    for kind in ("good", "busy", "short"):
        urls = download.addresses(place + f"/{kind}/shard_{{:05d}}.txt", [0, 12])
        folder = tmp_path / kind
        found = download.fetch(urls, folder, said.append, pause=0.001)
        assert [path.name for path in found] == ["shard_00000.txt", "shard_00012.txt"]
        assert sorted(folder.iterdir()) == found
        assert [path.read_bytes() for path in found] == [CONTENT] * 2
    assert [asked.count(f"/{kind}/shard_00012.txt") for kind in ("good", "busy", "short")] == [
        *(1, 3, 2)
    ]
    count = len(asked)
    download.fetch(urls, folder, said.append)
    assert len(asked) == count
    assert len(said) == 6


@pytest.mark.parametrize(
    ("kind", "tries", "words"),
    [("never", 5, "in 5 tries: its host answers 503"), ("gone", 1, "downloaded: its host .* 404")],
)
def test_what_never_comes_leaves_nothing(host, tmp_path, kind, tries, words):
    place, asked = host
    with pytest.raises(DataError, match=words):
        download.fetch([f"{place}/{kind}/a.txt"], tmp_path, print, pause=0.001)
    assert len(asked) == tries
    assert not list(tmp_path.iterdir())


def test_no_host_and_no_address(tmp_path):
    with pytest.raises(DataError, match="in 5 tries: its host cannot be reached"):
        download.fetch(["http://127.0.0.1:9/a"], tmp_path, print, pause=0.001)
    for pattern in ("https://host/shard.txt", "file:///a{:05d}", "https://h/{:05d}{:05d}"):
        with pytest.raises(UsageError, match="must be an address with one place for a number"):
            download.addresses(pattern, [1])

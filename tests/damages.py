"""Ways in which small files are damaged, and runs as an older jfl left them."""

import json
from collections.abc import Callable
from pathlib import Path

from jfl.runs import manifest

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "list": lambda _: b"[]",
    "object": lambda _: b"{}",
    "null": lambda _: b"null",
    "deep": lambda _: b"[" * 100_000,
    "deep object": lambda _: b'{"round": ' * 50_000,
    "not UTF-8": lambda content: content[:-2] + b"\xff\xfe\n",
    "NaN": lambda _: b'{"round": NaN, "rounds": NaN, "state": NaN}',
    "huge": lambda _: b'{"round": 1' + b"0" * 400 + b', "rounds": 1' + b"0" * 5000 + b"}\n",
    "twice": lambda content: content.replace(b"{", b'{"round": 1, "round": 2, ', 1),
    "words": lambda _: b'{"round": "a", "rounds": [], "state": 3, "files": 3, "settings": 1}\n',
    "half a letter": lambda _: b'{"round": 1, "state": "\\ud800", "error": "\\ud800"}\n',
}


def age(run: Path) -> Path:
    """Makes a run one of an older jfl: nothing but the files of its checkpoints is hashed."""
    (run / manifest.NAME).unlink()
    for path in [*run.glob("checkpoints/*"), *run.glob("heads/*/members/*")]:
        content = manifest.read(path)
        for key in ("of", "journal"):
            content.pop(key, None)
        manifest.save(path, content)
    for path in run.glob("heads/*/heads.json"):
        content = json.loads(path.read_text())
        del content["sealed"]
        base = run / "checkpoints" / str(content["round"]) / manifest.NAME
        path.write_text(json.dumps(content | {"base": manifest.sha256(base)}))
    return run

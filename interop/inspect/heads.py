"""What `jfl inspect` says of a file that looks like the heads of clients."""

import re
from pathlib import Path

from interop.formats.base import Contents

_NUMBERED = re.compile(
    r"(?P<before>.*?)(?<!\d)(?P<client>\d{1,18})\.(?P<head>\d{1,18})\.(?P<rest>\D.*)"
)


def said(path: Path, contents: Contents) -> str | None:
    """Returns whose heads they are and how a run gets them, or why it cannot; None for the rest."""
    found: dict[int, dict[int, dict[str, tuple[int, ...]]]] = {}
    places = set()
    for entry in contents.entries:
        match = _NUMBERED.fullmatch(entry.path)
        if match is None or not 1 <= len(entry.shape) <= 2:
            return None
        places.add(match["before"])
        head = found.setdefault(int(match["client"]), {}).setdefault(int(match["head"]), {})
        head[match["rest"]] = entry.shape
    if len(places) != 1 or "head" not in path.name.lower():
        return None
    first = found[min(found)]
    for client, heads in found.items():
        if len(heads) != len(first):
            return f"no heads of a run: client {client} has {len(heads)}, client 0 has {len(first)}"
        for number, shapes in heads.items():
            if shapes != first[min(first)]:
                return f"no heads of a run: head {number} of client {client} has other shapes"
    matrices = [shape for shape in first[min(first)].values() if len(shape) == 2]
    method = "aph" if len(matrices) == 1 else "loraph"
    return (
        f"{len(first)} heads for each of {len(found)} clients; jfl convert {path} RUN "
        f"--as-heads {method} gives them to a run"
    )

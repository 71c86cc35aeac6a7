"""`jfl inspect`: what a run folder holds, without reading arrays."""

from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer


@click.command(
    "inspect",
    epilog="""
\b
Examples:
  jfl inspect outputs/tiny_fomo/2026-01-31-1
  jfl inspect outputs/tiny_fomo/2026-01-31-1 --round best --verify
""",
)
@click.argument("path", metavar="RUN")
@click.option(
    "--round", "which", default="last", show_default=True, metavar="N|best|last",
    help="Which saved round.",
)  # fmt: skip
@click.option("--verify", is_flag=True, help="Compare every file with the hash written with it.")
@options.common
def inspect(path: str, which: str, verify: bool, **flags: Any) -> None:
    """Look into a run: its checkpoints, and the tree, shapes and clients of one of them."""
    import numpy as np
    from rich.tree import Tree

    from jfl.folder import RunFolder
    from jfl.measure import round_number
    from jfl.report.screen import Screen

    screen = Screen(stderr=flags["as_json"])
    folder = RunFolder(Path(path))
    checkpoints = folder.checkpoints
    number = round_number(checkpoints, which)
    if verify:
        checkpoints.check(number)
    tensors = [
        {
            "path": name,
            "shape": list(shape),
            "dtype": dtype,
            "bytes": int(np.prod(shape)) * np.dtype(dtype).itemsize,
        }
        for name, (shape, dtype) in checkpoints.shapes(number).items()
    ]
    experiment = folder.experiment
    own = [t for t in tensors if t["path"].startswith("own.")]
    result = {
        "path": path,
        "kind": "jfl run",
        "round": number,
        "rounds": checkpoints.rounds(),
        "best": checkpoints.best(),
        "algorithm": experiment.algorithm.name,
        "parameters": folder.environment["parameters"],
        "bytes": sum(t["bytes"] for t in tensors),
        "clients": experiment.clients,
        "tensors": tensors,
        "verified": True if verify else None,
    }
    saved = ", ".join(map(str, result["rounds"]))
    screen.say(
        f"{path}: {experiment.algorithm.name}, {experiment.clients} clients, "
        f"{result['parameters']:,} parameters a model, saved rounds {saved} "
        f"(best {result['best']})"
    )
    screen.say(_tree(Tree(f"round {number}  {_bytes(result['bytes'])}"), tensors))
    if own:
        screen.say(f"own: one slice a client, {experiment.clients} clients")
    if verify:
        screen.say("every file is as it was written")
    if flags["as_json"]:
        answer(result)


def _tree(root: Any, tensors: list[dict[str, Any]]) -> Any:
    branches: dict[str, Any] = {"": root}
    for tensor in tensors:
        *outer, leaf = tensor["path"].split(".")
        place = ""
        for word in outer:
            inside = f"{place}.{word}" if place else word
            if inside not in branches:
                members = [t for t in tensors if t["path"].startswith(f"{inside}.")]
                size = _bytes(sum(t["bytes"] for t in members))
                branches[inside] = branches[place].add(f"{word}  {size}")
            place = inside
        shape = " x ".join(map(str, tensor["shape"])) or "one number"
        branches[place].add(f"{leaf}  {shape}  {tensor['dtype']}")
    return root


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"

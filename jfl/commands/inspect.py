"""`jfl inspect`: what runs, checkpoints and files of weights hold; by default only headers."""

import importlib
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
  jfl inspect best_snapshot.pkl --classes mini_fl --client 7 --stats
  jfl inspect outputs/tiny_fomo/2026-01-31-1 --clients
  jfl inspect model.pth --diff model.safetensors
  jfl inspect my_adapter --lora --json
""",
)
@click.argument("path", metavar="PATH")
@click.option(
    "--round", "which", default="last", show_default=True, metavar="N|best|last",
    help="Which saved round of a run, or step of a checkpoint.",
)  # fmt: skip
@click.option("--client", type=int, metavar="N", help="Only this client's arrays.")
@click.option("--glob", metavar="PATTERN", help="Only arrays whose path matches, such as '*.bias'.")
@click.option("--stats", is_flag=True, help="Mean, std, range, norm; zeros, NaN and inf.")
@click.option("--clients", is_flag=True, help="Compare the clients; shows the affinity.")
@click.option("--diff", "other", metavar="OTHER", help="What differs from another file or run.")
@click.option("--lora", is_flag=True, help="What each LoRA adapter changes.")
@click.option("--verify", is_flag=True, help="Compare every file with the hash written with it.")
@click.option(
    "--classes", default="", metavar="A,B",
    help="Packages whose classes a pickle may name; they are read as data.",
)  # fmt: skip
@click.option("--list-globals", is_flag=True, help="Only list the names a pickle holds.")
@options.common
def inspect(path: str, **flags: Any) -> None:
    """Look into anything that holds weights; nothing in it is imported or executed.

    PATH is a run, an Orbax checkpoint, a torch file or pickle, safetensors, npz, GGUF, or a folder
    of transformers or PEFT. Without flags only headers are read, however large the file.
    """
    from jfl.report.screen import Screen

    # by their names: jfl does not know interop
    looking = importlib.import_module("interop.inspect.inspect")
    shown = importlib.import_module("interop.inspect.show")
    screen = Screen(stderr=flags["as_json"])
    prefixes = tuple(word for word in flags["classes"].split(",") if word)
    if flags["list_globals"]:
        found = looking.names(Path(path), prefixes)
        screen.say_all(shown.names(found))
        if flags["as_json"]:
            answer({"path": path, "names": found})
        return
    asked = {key: flags[key] for key in ("which", "client", "glob", "other")}
    asked |= {key: flags[key] for key in ("stats", "clients", "lora", "verify")}
    result = looking.run(Path(path), looking.Wanted(**asked, classes=prefixes))
    screen.say(f"{path}: {_headline(result)}")
    what = (
        f"{result.get('unit', 'round')} {result['round']}"
        if result.get("round") is not None
        else result["kind"]
    )
    if result["tensors"]:
        screen.say_all(shown.tree(what, result["tensors"]))
    else:
        screen.say("no arrays" + (f" match {flags['glob']}" if flags["glob"] else ""))
    if any(t["path"].startswith("own.") for t in result["tensors"]) and flags["client"] is None:
        screen.say(f"own: one slice a client, {result['clients']} clients")
    screen.say_all(shown.notes(result))
    if flags["verify"]:
        unknown = "it can be read; this format has no hashes to compare with"
        screen.say("every file is as it was written" if result["verified"] else unknown)
    if flags["as_json"]:
        answer({key: value for key, value in result.items() if key != "heat"})


def _headline(result: dict[str, Any]) -> str:
    parts = [result["kind"]]
    if result.get("algorithm"):
        parts.append(str(result["algorithm"]))
    if result["clients"]:
        parts.append(f"{result['clients']} clients")
    each = " a model" if result["kind"] == "jfl run" else ""
    parts.append(f"{result['parameters']:,} parameters{each}")
    if result.get("rounds"):
        saved = ", ".join(map(str, result["rounds"]))
        best = f" (best {result['best']})" if result.get("best") is not None else ""
        parts.append(f"saved {result.get('unit', 'round')}s {saved}{best}")
    parts += [f"{key} {result[key]}" for key in ("class", "lora_alpha", "r") if key in result]
    if result.get("committed") is False:
        parts.append("not committed")
    return ", ".join(parts)

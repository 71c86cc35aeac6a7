"""`jfl convert`: models between jfl, PyTorch, safetensors and npz, and old snapshots into runs."""

import importlib
from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer

FORMATS = ("safetensors", "npz", "pt", "pth", "bin")


@click.command(
    "convert",
    epilog="""
\b
Examples:
  jfl convert best_snapshot.pkl outputs/old --data Cifar10_NonIID_Pat2_Client20
  jfl convert best_snapshot.pkl --list-globals
  jfl convert best_snapshot.pkl outputs/old --classes mini_fl,src --dry-run
  jfl convert best_snapshot.pkl models --format safetensors
  jfl convert outputs/tiny_fomo/2026-01-31-1 client7.safetensors --client 7
  jfl convert outputs/my_lora/2026-01-31-1 adapter7 --client 7 --round 5
  jfl convert model.pth model.npz
  jfl convert aph_head_Cifar10_pr_0.2.pkl outputs/old --as-heads aph
  jfl convert gpt2 gpt2-torch --format bin
  jfl convert my_adapter gpt2-merged --into gpt2
  jfl convert SmolLM2-135M-Instruct.Q4_1.gguf smollm2
""",
)
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST", required=False)
@click.argument("changes", metavar="[key=value]...", nargs=-1)
@click.option("--data", metavar="DIR", help="Folder PFLlib generated, with the clients' samples.")
@click.option(
    "--model",
    metavar="NAME",
    help="cnn, lstm, mlp or resnet18, where the weights could be two of them.",
)
@click.option(
    "--key", metavar="PATH", help="Which model of a file that holds several, such as ema."
)
@click.option("--client", type=int, metavar="N", help="Only this client's model.")
@click.option(
    "--round", "which", default="last", show_default=True, metavar="N|best|last",
    help="Which saved round of a run.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="Format of the files in a folder DST."
)
@click.option(
    "--as-heads", "method", metavar="NAME", help="Give the run DST the heads in SRC: aph, loraph."
)
@click.option("--name", metavar="NAME", help="What to call the heads; default: as the method.")
@click.option(
    "--into", "base", metavar="DIR",
    help="Put the adapter SRC into the network in this folder; DST is a new folder.",
)  # fmt: skip
@click.option(
    "--merged", is_flag=True, help="Of a run with adapters: whole weights, also in a folder DST."
)
@click.option("--names", metavar="SCHEME", help="Names torch gets: pfllib, plain, torchvision, ...")
@click.option(
    "--classes", default="", metavar="A,B",
    help="Packages whose classes a pickle may name; they are read as data.",
)  # fmt: skip
@click.option("--list-globals", is_flag=True, help="Only list the names a pickle holds.")
@click.option("--dry-run", is_flag=True, help="Show what would become what; write nothing.")
@options.device
@options.plugins
@options.common
def convert(source: str, destination: str | None, **flags: Any) -> None:
    """Convert models and snapshots.

    DST is a file (.safetensors, .npz, .pt, .pth, .bin), a folder for one file a client (--format),
    the name of a new run, or with --as-heads a run there is. Of a run with adapters a folder DST is
    one of PEFT, and a file holds the base with the adapter in it. A folder of transformers or PEFT
    becomes another, and a .gguf becomes one of transformers. Pickles are read as data: nothing in
    a file is imported or executed.
    """
    from jfl.report.screen import Screen

    # by its name: jfl does not know interop
    converter = importlib.import_module("interop.convert")
    screen = Screen(stderr=flags["as_json"])
    prefixes = tuple(word for word in flags["classes"].split(",") if word)
    wanted = converter.Wanted(
        data=flags["data"], model=flags["model"], device=flags["device"] or "cpu",
        changes=flags["changes"], classes=prefixes, key=flags["key"],
    )  # fmt: skip
    if flags["list_globals"]:
        found = converter.names(Path(source), wanted)
        for line in importlib.import_module("interop.inspect.show").names(found):
            screen.say(line)
        if flags["as_json"]:
            answer({"source": source, "names": found})
        return
    if destination is None:
        raise click.UsageError("DST is missing: a file such as model.safetensors, or a new run")
    if flags["method"] is None and flags["name"] is not None:
        raise click.UsageError("--name is what heads are called; it goes with --as-heads")
    if flags["method"] is not None:
        given = {
            "--model": "model", "--client": "client", "--format": "form", "--names": "names",
            "--into": "base",
        }  # fmt: skip
        other = next((option for option, flag in given.items() if flags[flag] is not None), None)
        if other:
            raise click.UsageError(f"{other} does not go with --as-heads")
        result = importlib.import_module("interop.to_heads").run(
            Path(source), Path(destination), wanted, flags["method"],
            name=flags["name"], which=flags["which"], dry=flags["dry_run"],
        )  # fmt: skip
        _say_heads(screen, result, Path(destination), dry=flags["dry_run"])
        if flags["as_json"]:
            answer(result)
        return
    result = converter.run(
        Path(source), Path(destination), wanted,
        client=flags["client"], which=flags["which"], scheme=flags["names"],
        suffix=f".{flags['form']}" if flags["form"] else None, dry=flags["dry_run"],
        base=flags["base"], merged=flags["merged"],
    )  # fmt: skip
    _say(screen, result, dry=flags["dry_run"])
    if flags["as_json"]:
        answer(result)


def _say_heads(screen: Any, result: dict[str, Any], run: Path, *, dry: bool) -> None:
    for note in result["notes"]:
        screen.say(f"note: {note}")
    what = f"{result['members']} {result['method']} heads of each of {result['clients']} clients"
    if dry:
        screen.say(f"would write {what}, {result['bytes']:,} bytes; nothing was written")
        return
    place = Path(result["destination"])
    screen.say(f"{place}: {what}, round {result['round']}; read back and equal")
    screen.say(f"next: jfl eval {run} --heads {place.name}")


def _say(screen: Any, result: dict[str, Any], *, dry: bool) -> None:
    for line in result.get("mapping", ()):
        screen.say(f"  {line}")
    for note in result["notes"]:
        screen.say(f"note: {note}")
    if result["skipped"]:
        screen.say(f"not taken over: {', '.join(result['skipped'])}")
    clients = f"{result['clients']} clients, " if result["clients"] else ""
    size = f"{result['tensors']} tensors, {result['bytes']:,} bytes"
    if dry:
        screen.say(f"would write {clients}{size}; nothing was written")
        return
    compared = result.get("logits_difference")
    checked = "read back and equal" if compared is None else (
        f"read back and equal, logits within {compared:.1g} of torch's"
    )  # fmt: skip
    screen.say(f"{result['destination']}: {clients}{size}; {checked}")
    if result["kind"] == "jfl run":
        screen.say(f"next: jfl eval {result['destination']}")

"""`jfl split`: training of a network whose middle a server computes."""

from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer
from jfl.files.strict_json import dumps

_SETTINGS = {
    "server": "server.address", "dataset": "data.name", "samples": "data.samples",
    "batch_size": "batch_size", "max_length": "data.max_length", "epochs": "epochs",
    "lora_rank": "lora.rank", "lora_alpha": "lora.alpha", "lora_dropout": "lora.dropout",
    "targets": "lora.targets", "lr": "learning_rate", "save_dir": "save_dir", "wire": "wire",
    "model": "model.name", "cut": "model.cut", "trunk": "trunk", "adapter": "adapter",
    "seed": "seed",
    "port": "listen.port", "host": "listen.host", "stash": "limits.stash_mb", "state": "state",
    "tokenizer": "data.tokenizer",
}  # fmt: skip
"""Which setting each option changes."""


@click.group(
    "split",
    epilog="""
\b
Examples:
  jfl split demo
  jfl split serve --model ./gpt2 --cut 2 10 --port 50052
  jfl split train --model ./gpt2 --dataset texts.txt --server localhost:50052
""",
)
def split() -> None:
    """Split learning: both ends of a GPT-2 train here, its middle is a server's.

    Texts and labels never leave the client, but features do, and a curious server can read much
    of the text from them: splitting alone is not privacy.
    """


def _model(function: Any) -> Any:
    function = click.option(
        "--cut", nargs=2, type=int, metavar="A B", help="The trunk is layers A to B - 1. [2 10]"
    )(function)
    return click.option(
        "--model", metavar="NAME", help="tiny, a folder of a GPT-2, or its parts in files. [tiny]"
    )(function)


_seed = click.option("--seed", type=int, help="What everything random follows from. [0]")


def _run(function: Any) -> Any:
    for decorate in (
        options.common,
        options.device,
        options.out,
        click.option("--dry-run", is_flag=True, help="Say what would run; do nothing."),
        click.option("--detach", is_flag=True, help="Run in the background; see jfl runs, stop."),
        click.argument("words", nargs=-1, metavar="[YAML...] [KEY=VALUE...]"),
    ):
        function = decorate(function)
    return function


def _training(function: Any) -> Any:
    for name, kind, shown, text in reversed((
        ("--dataset", str, "synthetic", "synthetic, shakespeare, ..., or texts in files."),
        ("--samples", int, "20", "Pieces of text in an epoch."),
        ("--batch-size", int, "2", "Pieces that go through the network at a time."),
        ("--max-length", int, "128", "Tokens of a piece."),
        ("--epochs", int, "1", "Passes over the pieces."),
        ("--lora-rank", int, "8", "Rank of the adapters."),
        ("--lora-alpha", float, "16", "Their products count alpha / rank."),
        ("--lora-dropout", float, "0.1", "Share of what enters them that is zeroed."),
        ("--targets", str, "c_attn,c_fc,c_proj", "Which layers have one."),
        ("--lr", float, "1e-4", "Learning rate of AdamW."),
        ("--trunk", click.Choice(["frozen", "own", "shared"]), "frozen", "What trains there."),
        ("--wire", click.Choice(["f32", "bf16", "f16", "int8"]), "f32", "Type of what is sent."),
        ("--adapter", str, "none", "A folder of PEFT to go on from."),
        ("--tokenizer", str, "the model's", "bytes, or a tokenizer's file or folder."),
        ("--save-dir", str, "./lora_checkpoints", "Where bottom_lora, top_lora, ... are left."),
    )):  # fmt: skip
        function = click.option(name, type=kind, help=f"{text} [{shown}]")(function)
    return function


@split.command(
    "serve",
    epilog="""
\b
Examples:
  jfl split serve
  jfl split serve --model ./gpt2 --cut 2 10 --port 50052
  jfl split serve listen.host=0.0.0.0 listen.cert=certs/server.pem listen.key=certs/server.key
""",
)
@_model
@click.option("--port", type=int, help="Where it listens; 0 = any that is free. [50052]")
@click.option("--host", metavar="NAME", help="At which address; others need TLS. [127.0.0.1]")
@click.option("--trunk", type=click.Choice(["frozen", "own", "shared"]), help="What trains. [own]")
@click.option("--stash", type=int, metavar="MB", help="Memory for what backward needs. [0]")
@click.option("--state", metavar="DIR", help="Where adapters of clients are kept.")
@_seed
@_run
def serve(words: tuple[str, ...], **flags: Any) -> int:
    """Compute the trunk for clients until Ctrl-C, SIGTERM or `jfl stop`."""
    return run("split.server", words, flags)


@split.command(
    "train",
    epilog="""
\b
Examples:
  jfl split train --server localhost:50052
  jfl split train --model ./gpt2 --dataset texts.txt --samples 200 --epochs 3 --lr 3e-4
  jfl split train --resume outputs/split/2026-01-31-1
""",
)
@click.option("--server", metavar="HOST:PORT", help="Who computes the trunk. [localhost:50052]")
@_model
@_training
@_seed
@click.option("--resume", metavar="RUN", help="Go on from a run folder's last good checkpoint.")
@_run
def train(words: tuple[str, ...], **flags: Any) -> int:
    """Train the adapters of both ends on texts that stay here."""
    if flags["save_dir"] is None and flags["resume"] is None:
        flags["save_dir"] = "lora_checkpoints"
    return run("split", words, flags)


@split.command("demo", epilog="\b\nExamples:\n  jfl split demo\n  jfl split demo --epochs 3\n")
@_model
@_training
@_seed
@options.out
@options.device
@options.common
def demo(**flags: Any) -> int:
    """Start a server and a client on this machine, train, stop both, and say what came of it."""
    from jfl.commands import split_demo

    return split_demo.run(flags)


@split.command(
    "audit",
    epilog="""
\b
Examples:
  jfl split audit --dataset texts.txt
  jfl split audit --dataset texts.txt cuts=[2,6] noises=[0,1] steps=200
""",
)
@click.option("--model", metavar="NAME", help="tiny, a folder of a GPT-2, or its parts. [tiny]")
@click.option("--dataset", metavar="NAME", help="synthetic, or a file of texts. [synthetic]")
@click.option("--tokenizer", metavar="NAME", help="bytes, or a tokenizer's file or folder.")
@_seed
@_run
def audit(words: tuple[str, ...], **flags: Any) -> int:
    """Attack your own cut: how much of the text does a curious server recover?"""
    return run("split.audit", words, flags)


@split.command("certs", epilog="\b\nExamples:\n  jfl split certs certs --name gpu.example.org\n")
@click.argument("folder", default="certs", metavar="[DIR]")
@click.option("--name", "names", multiple=True, metavar="HOST", help="Of the server. [localhost]")
@click.option("--days", default=90, show_default=True, help="For how long they are good.")
@options.common
def certs(folder: str, names: tuple[str, ...], days: int, **flags: Any) -> None:
    """Make an authority for development, and certificates of a server and a client."""
    from pathlib import Path

    from jfl.report.screen import Screen
    from jfl.split import certs as made

    files = made.write(Path(folder), names or ("localhost", "127.0.0.1"), days)
    Screen(stderr=flags["as_json"]).say(f"in {folder}: {', '.join(path.name for path in files)}")
    if flags["as_json"]:
        answer({"saved": [str(path) for path in files]})


def changes(flags: dict[str, Any]) -> list[str]:
    """Returns the options that were given as changes of settings."""
    given = {key: flags.get(key) for key in _SETTINGS}
    if given["targets"]:
        given["targets"] = options.words(given["targets"])
    return [f"{_SETTINGS[key]}={dumps(value)}" for key, value in given.items() if value is not None]


def run(kind: str, words: tuple[str, ...], flags: dict[str, Any]) -> int:
    """Runs a server or a client, new or gone on with."""
    import sys

    from jfl.report.live import Live
    from jfl.report.screen import Screen
    from jfl.runs import detach, start

    names = [word for word in words if "=" not in word]
    given = [*(word for word in words if "=" in word), *changes(flags)]
    if flags["detach"] and not flags["dry_run"]:
        return detach.start([word for word in sys.argv[1:] if word != "--detach"])["code"]
    watch = Live(Screen(stderr=flags["as_json"]))
    shared = {"device": flags["device"], "dry_run": flags["dry_run"]}
    if flags.get("resume"):
        start.check_arguments(names, flags["resume"], replan=False)
        summary, code = start.go_on(flags["resume"], given, watch, **shared)
    else:
        given = [f"kind={kind}", *given]
        summary, code = start.start(names, given, watch, out=flags["out"], **shared)
    if flags["as_json"]:
        answer(summary)
    return code

"""`jfl lm`: networks of language from raw text on."""

from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer


@click.group(
    "lm",
    epilog="""
\b
Examples:
  jfl lm tok-train --data-dir books --output-dir tokenizer --vocab-size 8192
  jfl lm base-train speedrun_cpu
  jfl lm base-train d12 data.dir=shards tokenizer.path=tokenizer
  jfl lm base-loss outputs/speedrun_cpu/2026-01-31-1
""",
)
def lm() -> None:
    """Train networks of language from raw text: its tokenizer, then the network."""


@lm.command(
    "tok-train",
    epilog="""
\b
Examples:
  jfl lm tok-train --data-dir books --output-dir tokenizer --vocab-size 8192
  jfl lm tok-train --data-dir shards --output-dir tokenizer --hf tokenizer_hf
""",
)
@click.option(
    "--data-dir", "--data_dir", "data_dir", required=True, metavar="PATH",
    help="A file or folder of .parquet, .arrow, .jsonl, .csv or .txt.",
)  # fmt: skip
@click.option(
    "--output-dir", "--output_dir", "output_dir", required=True, metavar="DIR",
    help="Where the tokenizer is kept.",
)  # fmt: skip
@click.option(
    "--vocab-size", "--vocab_size", "vocab_size", default=65536, show_default=True,
    help="Tokens, 256 bytes and nine special ones included.",
)  # fmt: skip
@click.option(
    "--max-chars", "--max_chars", "max_chars", default=10_000_000_000, show_default=True,
    type=click.IntRange(min=1), help="Letters to read at the most.",
)  # fmt: skip
@click.option(
    "--doc-cap", "--doc_cap", "doc_cap", default=10_000, show_default=True,
    type=click.IntRange(min=1), help="Letters of one document at the most.",
)  # fmt: skip
@click.option("--column", default="text", show_default=True, help="Where tables have their texts.")
@click.option("--hf", metavar="DIR", help="Write it for transformers too.")
@options.common
def tok_train(
    data_dir: str, output_dir: str, vocab_size: int, hf: str | None, **flags: Any
) -> None:
    """Train a tokenizer: bytes in pairs, as GPT-4 has it, with digits in ones and twos."""
    from jfl.lm.tokenizer import command
    from jfl.report.screen import Screen

    made = command.train(
        Path(data_dir), Path(output_dir), vocab_size, Path(hf) if hf else None,
        most=flags["max_chars"], each=flags["doc_cap"], column=flags["column"],
    )  # fmt: skip
    Screen(stderr=flags["as_json"]).say(
        f"{made['vocab_size']:,} tokens in {made['tokenizer']}, {made['bytes_per_token']:.2f} "
        f"bytes of text each, after {made['chars']:,} letters in {made['seconds']:.1f} s"
    )
    if flags["as_json"]:
        answer(made)


@lm.command(
    "download",
    epilog="""
\b
Examples:
  jfl lm download 'https://host/shard_{:05d}.parquet' -n 240 --last 1822 --output-dir shards
""",
)
@click.argument("url")
@click.option(
    "-n", "--num-files", required=True, type=click.IntRange(min=1, max=10**6),
    help="How many shards, from number 0 on.",
)  # fmt: skip
@click.option("--last", type=click.IntRange(min=0), help="One more, which is held back.")
@click.option(
    "-w", "--num-workers", default=4, show_default=True, type=click.IntRange(min=1, max=64),
    help="How many come at a time.",
)  # fmt: skip
@click.option("--output-dir", required=True, metavar="DIR", help="Where they are kept.")
@options.common
def download(url: str, num_files: int, last: int | None, **flags: Any) -> None:
    """Bring shards of texts from the web; those that are there are not brought again."""
    from jfl.lm.data import download as shards
    from jfl.report.screen import Screen

    numbers = sorted({*range(num_files), *(() if last is None else (last,))})
    urls = shards.addresses(url, numbers)
    screen = Screen(stderr=flags["as_json"])
    found = shards.fetch(urls, Path(flags["output_dir"]), screen.say, workers=flags["num_workers"])
    if flags["as_json"]:
        answer({"files": [str(path) for path in found]})


_WORDS = {"ignore_unknown_options": True}


@lm.command(
    "base-train",
    context_settings=_WORDS,
    epilog="""
\b
Examples:
  jfl lm base-train speedrun_cpu
  jfl lm base-train d12 data.dir=shards tokenizer.path=tokenizer
  jfl lm base-train my_config.py --depth=16 --data_dir=shards
  jfl train --resume outputs/d12/2026-01-31-1
""",
)
@click.argument("words", nargs=-1, metavar="[CONFIG...] [KEY=VALUE...]", type=click.UNPROCESSED)
@click.option("--detach", is_flag=True, help="Run in the background; see jfl runs, logs, stop.")
@click.option("--dry-run", is_flag=True, help="Say what would run; train nothing.")
@options.out
@options.device
@options.common
def base_train(words: tuple[str, ...], **flags: Any) -> int:
    """Train a network from nothing.

    CONFIG is a yaml, by path or by the name of one in configs/lm, or a Python file of plain
    assignments, which is read and not run. KEY=VALUE and --KEY=VALUE take jfl's names and those of
    nanochat, such as depth, device_batch_size, total_batch_size, max_seq_len.
    """
    from jfl.commands.train import in_background
    from jfl.lm.base import names
    from jfl.report.live import Live
    from jfl.report.screen import Screen
    from jfl.runs import start

    configs, changes, notes = names.translated(words)
    if flags["detach"] and not flags["dry_run"]:
        return in_background(as_json=flags["as_json"])
    watch = Live(Screen(stderr=flags["as_json"]))
    for note in notes:
        watch.say(f"note: {note}")
    summary, code = start.start(
        [names.packaged(config) for config in configs], ["kind=lm.base", *changes], watch,
        out=flags["out"], device=flags["device"], dry_run=flags["dry_run"],
    )  # fmt: skip
    if flags["as_json"]:
        answer(summary)
    return code


@lm.command(
    "base-loss",
    epilog="""
\b
Examples:
  jfl lm base-loss outputs/d12/2026-01-31-1
  jfl lm base-loss --base_checkpoint=outputs/d12 --step best
  jfl lm base-loss -i base -g d12 -s 1000
  jfl lm base-loss base_checkpoints/d12/model_000650.pt --data-dir shards
""",
)
@click.argument("run", required=False, metavar="[RUN]")
@options.network
@click.option("--data-dir", "--data_dir", "data_dir", metavar="PATH", help="Other texts.")
@click.option(
    "--eval-tokens", "--eval_tokens", "--split_tokens", "eval_tokens",
    type=click.IntRange(min=1, max=1 << 32), help="Tokens of each part; default: as in training.",
)  # fmt: skip
@click.option(
    "--baselines", is_flag=True, help="Count trigrams of bytes and of tokens, and measure them too."
)
@options.device
@options.common
def base_loss(run: str | None, **flags: Any) -> None:
    """Measure bits per byte of a trained network, on texts it trained on and on those held back."""
    from jfl.errors import UsageError
    from jfl.lm import named
    from jfl.lm.base import loss
    from jfl.report.screen import Screen

    if run is not None and flags["checkpoint"] is not None:
        raise UsageError(f"{run} is one network, and {flags['checkpoint']} another; give one")
    which = named.named(
        run or flags["checkpoint"], flags["stage"], flags["model_tag"], flags["step"], flags["out"]
    )
    found = loss.measure(
        which, data_dir=flags["data_dir"], tokens=flags["eval_tokens"],
        tokenizer=flags["tokenizer"], device=flags["device"], baselines=flags["baselines"],
    )  # fmt: skip
    screen = Screen(stderr=flags["as_json"])
    for note in found["notes"]:
        screen.say(f"note: {note}")
    screen.say(f"{found['title']}, step {found['step']}")
    for part in ("train", "valid"):
        bpb, nats = found[f"{part}_bpb"], found[f"{part}_loss"]
        screen.say(f"{part}: {bpb:.4f} bits per byte, {nats:.4f} nats a token")
    for name, bpb in found.get("baselines", {}).items():
        screen.say(f"valid, by {name.replace('_', ' ')}s: {bpb:.4f} bits per byte")
    if flags["as_json"]:
        answer(found)

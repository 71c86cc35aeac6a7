"""`jfl lm`: networks of language from raw text on."""

from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer


@click.group("lm")
def lm() -> None:
    """Train networks of language from raw text: tokenizer, then network."""


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

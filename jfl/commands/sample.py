"""`jfl sample`: a trained network of language goes on with a text, or answers."""

import sys
import time
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer
from jfl.files.printable import printable

LONGEST = 1 << 20
SLOTS = 8
"""Replies that are drawn at once."""
MOST_ENDS = 16


@click.command(
    "sample",
    epilog="""
\b
Examples:
  jfl sample SmolLM2-135M-Instruct.Q4_1.gguf --chat --prompt "What is the capital of France?"
  jfl sample gpt2/ --prompt "It is a truth" --temperature 0.8 --top-p 0.95 --samples 3
  jfl sample my_adapter/ --base gpt2/ --prompt "Dear Sir" --json
  jfl sample gpt2/ --prompt - < beginning.txt
  jfl sample outputs/d12/2026-01-31-1 --prompt "It is a truth" --temperature 0.8
  jfl sample -i base -g d12 -s 1000 --prompt "It is a truth"
  jfl sample base_checkpoints/d12/model_000650.pt --prompt "It is a truth"
""",
)
@click.argument("network", metavar="[MODEL]", required=False)
@options.network
@click.option("--prompt", required=True, metavar="TEXT", help="What it goes on with; - = stdin.")
@click.option("--chat", is_flag=True, help="The prompt is what a user says, in its chat template.")
@click.option("--system", metavar="TEXT", help="With --chat: what stands before all that is said.")
@click.option("--template", metavar="NAME", help="With --chat: chatml, llama2, llama3 or tulu.")
@click.option("--base", metavar="DIR", help="The network that an adapter's folder adapts.")
@click.option("--max-tokens", type=click.IntRange(1, LONGEST), default=256, show_default=True)
@click.option("--samples", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option(
    "--temperature", type=click.FloatRange(0, 100), default=0.0, show_default=True,
    help="0 = always the likeliest token.",
)  # fmt: skip
@click.option("--top-k", type=click.IntRange(0), default=0, help="Draw of so many; 0 = of all.")
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0,
    help="Draw of the likeliest that have this share together.",
)  # fmt: skip
@click.option(
    "--repetition-penalty", type=click.FloatRange(0, 100, min_open=True), default=1.0,
    help="Above 1: tokens that stand in the text become less likely.",
)  # fmt: skip
@click.option("--stop", multiple=True, metavar="TEXT", help="Ends a reply; may be given again.")
@click.option("--seed", type=click.IntRange(0, (1 << 32) - 1), default=0, show_default=True)
@click.option(
    "--dtype", type=click.Choice(["float32", "bf16"]), default="float32", show_default=True
)
@options.device
@options.common
def sample(network: str | None, prompt: str, **flags: Any) -> None:
    """Let a network go on with a text.

    MODEL is a folder of transformers, a .gguf, an adapter, a run of jfl lm, or a file of nanochat.

    The text is shown as it comes; signs that would move the cursor are spelled out.
    """
    from jfl.errors import UsageError
    from jfl.report.screen import Screen
    from jfl.runs import backend

    if not flags["chat"] and (flags["system"] or flags["template"]):
        raise UsageError("--system and --template are for --chat; give it too")
    if prompt == "-":
        prompt = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    if not prompt:
        raise UsageError("the prompt is empty; give some text to go on with")
    backend.start(flags["device"], 1)
    screen = Screen(stderr=True)
    found, notes = _opened(network, flags)
    for note in notes:
        screen.say(f"note: {note}")
    tokens = _tokens(found, prompt, flags)
    replies, rate = _run(found, tokens, flags)
    told = f"{sum(reply['tokens'] for reply in replies):,} tokens after {len(tokens):,} of prompt"
    screen.say(told if rate is None else f"{told}, {rate:.1f} tokens/s")
    if flags["as_json"]:
        content = {"model": found.name, "prompt_tokens": len(tokens), "replies": replies}
        answer(content | {"tokens_per_second": rate})


def _opened(network: str | None, flags: dict[str, Any]) -> tuple[Any, list[str]]:
    """Returns the network, and notes for people."""
    from pathlib import Path

    from jfl.adapters import networks
    from jfl.errors import UsageError
    from jfl.lm import named
    from jfl.lm import opened as own
    from jfl.models.language.base import Computation

    if network is not None and flags["checkpoint"] is not None:
        raise UsageError(f"{network} is one network, and {flags['checkpoint']} another; give one")
    place, computation = network or flags["checkpoint"], Computation(dtype=flags["dtype"])
    staged = flags["stage"] or flags["model_tag"]
    if place is None and not staged:
        raise UsageError("name a network, as in jfl sample gpt2/ or jfl sample -i base -g d12")
    named_so = staged or flags["step"] or flags["checkpoint"] or flags["tokenizer"]
    if named_so or own.takes(Path(str(place)).expanduser()):
        if flags["base"] is not None:
            raise UsageError("--base is for an adapter's folder; leave it out")
        which = named.named(place, flags["stage"], flags["model_tag"], flags["step"], flags["out"])
        mine = own.opened(which, flags["tokenizer"])
        found = own.network(mine, computation)
        return found, [*mine.notes, *([found.doubt] if found.doubt else [])]
    found = networks.opened(str(place), flags["base"], computation)
    return found, [found.doubt] if found.doubt else []


def _tokens(found: Any, prompt: str, flags: dict[str, Any]) -> list[int]:
    from jfl.text import chat

    if not flags["chat"]:
        return [*found.tokenizer.prefix, *found.tokenizer.encode(prompt)]
    said = [{"role": "system", "content": flags["system"]}] if flags["system"] else []
    said.append({"role": "user", "content": prompt})
    return chat.Format(found.tokenizer, flags["template"]).tokens(said, prompt=True).ids


def _run(
    found: Any, tokens: list[int], flags: dict[str, Any]
) -> tuple[list[dict[str, Any]], float | None]:
    """Shows replies, and returns them with the tokens a second after the first ones of all."""
    from jfl.errors import UsageError
    from jfl.generate.replies import pieces
    from jfl.generate.rows import Generator
    from jfl.generate.settings import Settings

    context, decode = found.model.config.context, found.tokenizer.decode_bytes
    if len(tokens) >= context:
        raise UsageError(
            f"the prompt has {len(tokens):,} tokens, but texts of {found.name} have {context:,} at "
            "the most; shorten it"
        )
    names = ("samples", "temperature", "top_k", "top_p", "repetition_penalty", "seed", "stop")
    length = min(context, len(tokens) + flags["max_tokens"])
    settings = Settings(
        max_tokens=length - len(tokens),
        stops=found.tokenizer.stops[:MOST_ENDS],
        **{name: flags[name] for name in names},
    )
    slots = min(settings.samples, SLOTS)
    generator = Generator(found.model, found.params, slots=slots, length=length, decode=decode)
    replies = [{"text": "", "tokens": 0, "end": None} for _ in range(settings.samples)]
    streams = len(replies) == 1 and not flags["as_json"]
    begun, started, later = set(), 0.0, 0
    for piece in pieces(generator, [tokens], settings):
        reply = replies[piece.row]
        reply["text"] += piece.text
        reply["tokens"] += piece.tokens
        reply["end"] = piece.end
        started = started or time.perf_counter()
        later += piece.tokens if piece.row in begun else 0
        begun.add(piece.row)
        if streams:
            click.echo(shown(piece.text), nl=False)
    took = time.perf_counter() - started
    if streams:
        click.echo()
    elif not flags["as_json"]:
        for number, reply in enumerate(replies, 1):
            click.echo(f"--- {number} of {len(replies)}\n{shown(reply['text'])}")
    return replies, later / took if later else None


def shown(text: str) -> str:
    """Returns text for a terminal: its lines and tabs, and no sign that is not to be seen."""
    lines = (line.split("\t") for line in text.split("\n"))
    return "\n".join("\t".join(map(printable, cells)) for cells in lines)

"""The command line: command names, and where each lives; nothing is imported before it is used."""

import importlib
import sys
import traceback
import warnings
from typing import Any, NoReturn

import click

import jfl
from jfl.commands.options import answer
from jfl.errors import JflError
from jfl.files.printable import SENTENCE, printable, printable_lines, short

# name -> (module:function, one line for `jfl --help`)
COMMANDS = {
    "train": ("jfl.commands.train:train", "Train a federation from yaml configs."),
    "eval": ("jfl.commands.eval:evaluate", "Measure each client's own model on its test data."),
    "split": ("jfl.commands.split:split", "Train both ends of a GPT-2, its middle at a server."),
    "heads": ("jfl.commands.heads:heads", "Train ensembles of heads on a trained run."),
    "lm": ("jfl.commands.lm:lm", "Train a network of language from raw text."),
    "sweep": ("jfl.commands.sweep:sweep", "Train over a grid of settings and seeds."),
    "table": ("jfl.commands.table:table", "Put runs side by side: mean and std over seeds."),
    "plot": ("jfl.commands.plot:plot", "Draw runs: curves, calibration against skew, heat maps."),
    "report": ("jfl.commands.report:report", "Write one page of one run, or of several runs."),
    "inspect": (
        "jfl.commands.inspect:inspect",
        "Look into runs, checkpoints and files of weights.",
    ),
    "convert": ("jfl.commands.convert:convert", "Bring models and old snapshots to jfl and back."),
    "runs": ("jfl.commands.runs:runs", "List runs: state, round, accuracy, time left."),
    "logs": ("jfl.commands.runs:logs", "Show what a run says; -f follows it."),
    "stop": ("jfl.commands.runs:stop", "Stop a run after its round, saved."),
    "doctor": ("jfl.commands.doctor:doctor", "Say what this machine has, and what is wrong."),
    "sample": (
        "jfl.commands.sample:sample",
        "Let a language network answer or go on.",
    ),
    "data": ("jfl.commands.data:data", "List, prepare, show and verify data sets."),
    "bench": ("jfl.commands.bench:bench", "Measure speed, side by side with lean PyTorch."),
    "list": ("jfl.commands.list:list_plugins", "List algorithms, models, data sets, heads, ..."),
}

EXAMPLES = """
\b
Examples:
  jfl train tiny_fomo                     a packaged config
  jfl train my.yaml seed=3 rounds=50      your own, with changes
  jfl train --resume outputs/tiny_fomo/2026-01-31-1
  jfl eval outputs/tiny_fomo/2026-01-31-1 --round best
"""


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Returns the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Imports the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(module), function)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Names the nearest command where there is none of the given name."""
        from jfl.plugins import nearest

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            known = ", ".join(COMMANDS)
            ctx.fail(
                f"there is no command {args[0]}{nearest(args[0], COMMANDS)}; there are: {known}"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Writes the table without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(jfl.__version__, prog_name="jfl")
def cli() -> None:
    """Trains many models at once: personalised federated learning as one JAX program.

    Every command takes --json (one JSON object, last on stdout) and --debug (a traceback where
    something fails).
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs one command; every error ends as one sentence and its exit code."""
    words = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    as_json, debug = "--json" in words, "--debug" in words
    if not debug:  # only threads of libraries get there, with what is also raised here
        sys.unraisablehook = lambda *_: None
        warnings.showwarning = lambda *_, **__: None  # libraries' words about damaged files
    try:
        code = cli.main(words, prog_name="jfl", standalone_mode=False)
    except click.exceptions.Abort:
        code = fail("interrupted", 130, as_json=as_json)
    except click.ClickException as error:
        sentence = " ".join(error.format_message().split())  # click lists choices in lines
        code = fail(sentence, 2, as_json=as_json)
    except KeyboardInterrupt:
        code = fail("interrupted", 130, as_json=as_json)
    except JflError as error:
        if debug:
            _show_traceback()
        settings = getattr(error, "settings", None)
        code = fail(str(error), error.code, as_json=as_json, settings=settings)
    except Exception as error:
        if debug:
            _show_traceback()
        first_line = (str(error).strip().splitlines() or [""])[0]
        what = f"{type(error).__name__}: {first_line}"
        code = fail(f"this is a fault of jfl: {what} (--debug shows where)", 1, as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)


def fail(sentence: str, code: int, *, as_json: bool, settings: dict[str, Any] | None = None) -> int:
    """Says what went wrong, and returns the exit code; JSON shows how a refused config was read."""
    click.echo(f"jfl: {short(printable(sentence), SENTENCE)}", err=True)
    if as_json:
        read = {} if settings is None else {"settings": settings}
        answer({"error": sentence, "code": code} | read)
    return code


def _show_traceback() -> None:
    click.echo(printable_lines(traceback.format_exc()), err=True, nl=False)

"""report.md: a run on one page, made from its files only."""

from pathlib import Path

from jfl.report import background, gallery, outcome, run_files
from jfl.report.journal import write_text
from jfl.report.markdown import literal
from jfl.report.run_files import RunFiles

NAME = "report.md"


def write(folder: Path) -> list[Path]:
    """Writes the page of a run, finished or not, and draws its pictures anew.

    Returns:
        The pictures and the page.
    """
    run = run_files.read(folder)
    pictures = gallery.draw_results(folder, run.title)
    if not all((folder / name).is_file() for name in gallery.PARTITION):  # of an older run
        gallery.draw_partition(folder, run.title)
    write_text(folder / NAME, text(run))
    return [*pictures, folder / NAME]


def text(run: RunFiles) -> str:
    """Returns the page, without the sections there is nothing to say in."""
    folder = run.folder.resolve()
    parts = [
        f"# {literal(run.title)}",
        outcome.headline(run),
        background.notice(run),
        outcome.results(run),
        outcome.clients(run),
        outcome.rejected(run),
        outcome.affinity(run),
        background.data(run),
        background.costs(run),
        background.settings(run),
        background.machine(run),
        f"Made from the files of `{folder.parent.name}/{folder.name}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"

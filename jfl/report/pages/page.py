"""report.md: a run on one page, made from its files only."""

from collections.abc import Sequence
from pathlib import Path

from jfl.files.documents import write_text
from jfl.files.printable import printable
from jfl.report import run_files
from jfl.report.pages import view
from jfl.report.pages.differences import Named
from jfl.report.pages.markdown import paragraph, section
from jfl.report.pages.parts import Section
from jfl.report.run_files import RunFiles
from jfl.report.words import literal

NAME = "report.md"
ORIGIN = "Made from the files of "


def write(folder: Path) -> list[Path]:
    """Writes the page of a run, finished or not, and draws its pictures anew.

    Returns:
        The pictures and the page.
    """
    run = run_files.read(folder)
    pictures = view.of(run.kind).draw(run, folder)
    write_text(folder / NAME, text(run))
    return [*pictures, folder / NAME]


def text(run: RunFiles, beside: Path | None = None) -> str:
    """Returns the page, without the sections there is nothing to say in.

    Args:
        run: as its files tell it.
        beside: the folder the page will lie in; the run's own where not given.
    """
    parts = [
        f"# {literal(view.title(run))}",
        paragraph(view.of(run.kind).headline(run)),
        paragraph(view.of(run.kind).notice(run)),
        *(section(content, beside or run.folder) for content in sections(run)),
        origin([run.folder]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def text_of_several(runs: Sequence[Named], shared: Sequence[Section], beside: Path) -> str:
    """Returns a page of several runs: what compares them, then each of them."""
    parts = [f"# {literal(headline([run.files for run in runs]))}"]
    parts += [section(content, beside) for content in shared]
    for run in runs:
        shown = view.of(run.files.kind)
        parts += [f"## {literal(run.label)}", literal(view.title(run.files))]
        parts += [paragraph(shown.headline(run.files)), paragraph(shown.notice(run.files))]
        parts += [section(content, beside, 3) for content in sections(run.files)]
    parts.append(origin([run.files.folder for run in runs]))
    return "\n\n".join(part for part in parts if part) + "\n"


def headline(runs: Sequence[RunFiles]) -> str:
    """Returns the title of a page of several runs."""
    data = {str(run.data.get("title", run.data.get("name", ""))) for run in runs}
    return (
        f"{len(runs)} runs on {data.pop()}"
        if len(data) == 1 and data != {""}
        else f"{len(runs)} runs"
    )


def sections(run: RunFiles, most: int = view.ALL_SHOWN) -> list[Section]:
    """Returns all there is to say of a run; of more than `most` clients, the worst and the best."""
    return view.of(run.kind).sections(run, most)


def origin(folders: Sequence[Path]) -> str:
    """Returns the last line of a page, by which jfl knows its own."""
    whole = [folder.resolve() for folder in folders]
    names = [printable(f"{folder.parent.name}/{folder.name}").replace("`", "'") for folder in whole]
    return f"{ORIGIN}{', '.join(f'`{name}`' for name in names)}."

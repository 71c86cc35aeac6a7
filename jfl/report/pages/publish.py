"""`jfl report`: pages of runs that were made before, in HTML or Markdown."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jfl.errors import UsageError
from jfl.files.documents import write_text
from jfl.report import run_files
from jfl.report.pages import differences, page, side_by_side, view, web
from jfl.report.pages.differences import Named
from jfl.report.run_files import RunFiles

FORMATS = ("html", "markdown")
_MARKS = {"html": web.MADE_BY, "markdown": page.ORIGIN}


def publish(folders: Sequence[Path], out: Path | None, form: str) -> list[Path]:
    """Writes a page of one run, or of several side by side, from their files.

    Args:
        folders: of the runs.
        out: the page; else report.html or report.md, in the folder of one run or here.
        form: one of `FORMATS`.

    Returns:
        The page, and the pictures it does not hold itself.

    Raises:
        UsageError: a folder is not a run or is damaged; the page cannot be written, or would
            replace a file that is not one.
    """
    runs = [run_files.checked(folder) for folder in dict.fromkeys(folders)]
    for run in runs:
        view.of(run.kind).check(run)
    name = web.NAME if form == "html" else page.NAME
    if out is None:
        out = runs[0].folder / name if len(runs) == 1 else Path(name)
    _spare(out, form)
    try:
        return _html(runs, out) if form == "html" else _markdown(runs, out)
    except OSError as error:
        where = error.filename or out
        raise UsageError(
            f"{where} cannot be written or read: {error.strerror or error}; give another --out"
        ) from error


def _spare(out: Path, form: str) -> None:
    if not out.exists():
        return
    try:
        known = out.is_file() and _MARKS[form] in out.read_text(encoding="utf-8", errors="replace")
    except OSError:
        known = False
    if not known:
        raise UsageError(
            f"{out} is there and is not a page of jfl, so it is kept; give another --out"
        )


def _html(runs: Sequence[RunFiles], out: Path) -> list[Path]:
    with tempfile.TemporaryDirectory(prefix="jfl-report-") as scratch:
        drawn = [replace(run, drawn=Path(scratch) / str(n)) for n, run in enumerate(runs)]
        alone = []
        for run in drawn:
            assert run.drawn
            run.drawn.mkdir()
            with _intact(run.folder):
                view.of(run.kind).refresh(run, run.drawn)
                alone.append(web.of_one(run))  # of several, too: it shows what is damaged
        if len(runs) == 1:
            write_text(out, *alone)
        else:
            named, differs = _compared(drawn)
            shared = side_by_side.sections(named, differs, Path(scratch) / "curves.png")
            write_text(out, web.of_several(named, shared))
    return [out]


def _markdown(runs: Sequence[RunFiles], out: Path) -> list[Path]:
    alone = []
    for run in runs:
        with _intact(run.folder):
            view.of(run.kind).refresh(run, run.folder)
            alone.append(page.text(run, out.parent))
    if len(runs) == 1:
        write_text(out, *alone)
        return [out]
    named, differs = _compared(runs)
    picture = out.with_name(f"{out.stem}-curves.png")
    shared = side_by_side.sections(named, differs, picture)
    write_text(out, page.text_of_several(named, shared, out.parent))
    return [path for path in (out, picture) if path.is_file()]


def _compared(runs: Sequence[RunFiles]) -> tuple[list[Named], dict[str, list[str]]]:
    differs = differences.settings(runs)
    return differences.named(runs, differs), differs


@contextmanager
def _intact(folder: Path) -> Iterator[None]:
    """Names the run whose files hold what jfl never wrote there."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UsageError(f"{folder} is damaged: {error!r}; `jfl runs` lists the runs") from error

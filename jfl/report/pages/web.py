"""report.html: one run, or several beside one another, on one page that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from jfl.report.pages import page, view
from jfl.report.pages.differences import Named
from jfl.report.pages.html import paragraph, section, text
from jfl.report.pages.parts import Section
from jfl.report.run_files import RunFiles

NAME = "report.html"
MADE_BY = '<meta name="generator" content="jfl report">'
"""By this line jfl knows its own pages."""
MOST_CLIENTS = 1000  # with more than this a table shows the worst and the best
# whatever a page holds, a browser may load nothing for it
_RULES = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def of_one(run: RunFiles) -> str:
    """Returns the page of a run."""
    found = [content for content in page.sections(run, MOST_CLIENTS) if content.parts]
    names = [_name(content) for content in found]
    top = [
        f"<h1>{text(view.title(run))}</h1>",
        paragraph(view.of(run.kind).headline(run), "lead"),
        paragraph(view.of(run.kind).notice(run)),
        _contents([(content.title, name) for content, name in zip(found, names, strict=True)]),
    ]
    body = [section(content, name) for content, name in zip(found, names, strict=True)]
    return _whole(view.title(run), top, body, [run])


def of_several(runs: Sequence[Named], shared: Sequence[Section]) -> str:
    """Returns the page of several runs: what compares them, then each of them, folded."""
    found = [content for content in shared if content.parts]
    title = page.headline([run.files for run in runs])
    places = [*((content.title, _name(content)) for content in found), ("Each run", "runs")]
    top = [f"<h1>{text(title)}</h1>", _contents(places)]
    body = [section(content, _name(content)) for content in found]
    each = "\n".join(_folded(run) for run in runs)
    body.append(f'<section id="runs">\n<h2>Each run</h2>\n{each}\n</section>')
    return _whole(title, top, body, [run.files for run in runs])


def _folded(run: Named) -> str:
    found = [content for content in page.sections(run.files, MOST_CLIENTS) if content.parts]
    shown = view.of(run.files.kind)
    parts = [
        paragraph(shown.headline(run.files), "lead"),
        paragraph(shown.notice(run.files)),
        *(section(content, f"{run.place}-{_name(content)}", 3) for content in found),
    ]
    return "\n".join(
        [
            f'<details class="run" id="{run.place}">',
            f"<summary>{text(run.label)}</summary>",
            "<div>",
            f"<p>{text(view.title(run.files))}</p>",
            *filter(None, parts),
            "</div>",
            "</details>",
        ]
    )


def _name(content: Section) -> str:
    return "".join(c if c.isalnum() else "-" for c in content.title.lower())


def _contents(places: Sequence[tuple[str, str]]) -> str:
    links = "".join(f'<li><a href="#{text(to)}">{text(words)}</a></li>' for words, to in places)
    return f'<nav aria-label="on this page"><ul>{links}</ul></nav>'


def _whole(title: str, top: Sequence[str], body: Sequence[str], runs: Sequence[RunFiles]) -> str:
    here = Path(__file__)
    origin = page.origin([run.folder for run in runs]).replace("`", "")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_RULES}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            MADE_BY,
            f"<title>{text(title)}</title>",
            f"<style>\n{here.with_name('page.css').read_text(encoding='utf-8')}</style>",
            "</head>",
            "<body>",
            "<header>",
            *filter(None, top),
            "</header>",
            "<main>",
            *filter(None, body),
            "</main>",
            f"<footer>{text(origin)}</footer>",
            f"<script>\n{here.with_name('page.js').read_text(encoding='utf-8')}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )

"""report.html, in the eyes of a parser and of a browser."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jfl.errors import JflError, UsageError
from jfl.report.evaluations import keep
from jfl.report.pages import publish
from jfl.runs.lock import hold
from tests.command_line import copied, warm
from tests.report import test_page as hand_made

HOSTILE = """<script>alert("1")</script> & 'two' </style> <img src=x onerror=alert(3)>"""
VOID = {"meta", "img"}
METRICS = {"test_accuracy": 0.5, "nll": 0.25, "ece": 0.125, "ood_auroc": 0.75}


class Parsed(HTMLParser):
    """The elements of a page; fails where they are not closed as they were opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def written(*folders: Path, out: Path, form: str = "html") -> str:
    files = publish.publish(list(folders), out, form)
    assert files[0] == out
    return out.read_text(encoding="utf-8")


def run_folder(folder: Path, records: list[dict] | None = None, **config) -> Path:
    folder.mkdir()
    hand_made.make(
        folder, [hand_made.evaluation([0.5, 0.75])] if records is None else records, **config
    )
    hand_made.partition(folder, np.array([[10, 0, 20], [0, 5, 2]]))
    return folder


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Leaves out the pictures of runs, which take seconds."""
    monkeypatch.setattr("jfl.federated.pages.view.FederatedView.refresh", lambda *_: None)


def evaluated(folder: Path, clients: Sequence[float] = (), **heads: dict) -> None:
    bins = {"bin_samples": [1.0, 3.0], "bin_confidence": [0.4, 2.5], "bin_correct": [1.0, 2.0]}
    result = {**METRICS, "round": 1, "title": "t", "params_sha256": "0", "heads": heads}
    result |= {"temperature": METRICS | {"temperature": 1.5}}
    result["per_client"] = [{"id": n, "accuracy": value} for n, value in enumerate(clients)]
    keep(folder, result, dict.fromkeys(["base", "temperature", *heads], bins))


def assert_loads_nothing(page: str, parsed: Parsed) -> None:
    for tag, attributes in parsed.elements:
        assert "srcset" not in attributes
        assert (attributes.get("src") or "data:").startswith("data:"), tag
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        if "href" in attributes:
            assert tag == "a"
    assert "@import" not in page
    assert "url(" not in page


def test_a_real_run(tmp_path):
    run = copied(tmp_path)
    done = warm("report", str(run), "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.answer == {"files": [str(run / "report.html")], "runs": [str(run)]}
    page = (run / "report.html").read_text(encoding="utf-8")
    parsed = Parsed(page)

    assert_loads_nothing(page, parsed)
    assert parsed.all("html") == [{"lang": "en"}]
    assert "fedfomo" in re.findall("<title>(.*)</title>", page)[0]
    sections = {attributes["id"] for attributes in parsed.all("section")}
    known = {"results", "clients", "who-helps-whom", "data", "costs", "settings", "machine"}
    assert sections == known
    assert {
        a["href"] for a in parsed.all("nav") + parsed.all("a")[: len(known)] if "href" in a
    } == {f"#{name}" for name in known}
    pictures = parsed.all("img")
    assert len(pictures) == 6  # curves, loss, clients, affinity, two of the partition
    assert all(picture["alt"] for picture in pictures)
    assert "after 12 of 12 rounds" in parsed.words
    assert "name: dirichlet" in parsed.words
    clients = page.split('<section id="clients">')[1].split("</section>")[0]
    assert clients.count('<th scope="row">') == 6
    assert "samples of each client and class" in parsed.words.lower()
    # the same page once more: jfl replaces its own
    assert warm("report", str(run), cwd=tmp_path).code == 0
    assert (run / "report.html").read_text(encoding="utf-8") == page


def test_a_run_has_its_own_pictures_where_they_are_newer_than_its_journal(tmp_path, monkeypatch):
    run = copied(tmp_path)
    monkeypatch.setattr(
        "jfl.federated.pages.gallery.draw_results", lambda *_: pytest.fail("drawn anew")
    )
    written(run, out=tmp_path / "page.html")
    times = (run / "loss.png").stat().st_mtime + 1
    os.utime(run / "journal.jsonl", (times, times))

    with pytest.raises(pytest.fail.Exception, match="drawn anew"):
        written(run, out=tmp_path / "page.html")


def test_what_people_write_is_shown_as_they_wrote_it(tmp_path, undrawn):
    data = {"name": HOSTILE, "embedded": False}
    run = run_folder(tmp_path / "run", name=HOSTILE, data=data, note=HOSTILE)
    about = hand_made.ENVIRONMENT | {"platform": HOSTILE, "git": HOSTILE}
    about["data"] = hand_made.ENVIRONMENT["data"] | {
        "title": HOSTILE,
        "source": "javascript:alert(1)",
    }
    (run / "environment.json").write_text(json.dumps(about))
    (run / "status.json").write_text(json.dumps({"state": "failed", "error": HOSTILE}))
    evaluated(run, **{HOSTILE: METRICS})
    other = run_folder(tmp_path / "other")
    for folders in ([run], [run, other]):
        page = written(*folders, out=tmp_path / "page.html")
        parsed = Parsed(page)

        assert_loads_nothing(page, parsed)
        assert len(parsed.all("script")) == 1
        assert len(parsed.all("style")) == 1
        assert not any(name.startswith("on") for _, names in parsed.elements for name in names)
        assert all((a["href"] or "").startswith("#") for a in parsed.all("a"))
        assert parsed.words.count(HOSTILE) >= 4


def test_reliability_of_the_base_a_temperature_and_heads(tmp_path, monkeypatch):
    for name in ("draw_results", "draw_partition"):
        monkeypatch.setattr(f"jfl.federated.pages.gallery.{name}", lambda *_: [])
    run = run_folder(tmp_path / "run")
    evaluated(run, aph=METRICS | {"ood_auroc": 0.875})
    page = written(run, out=tmp_path / "page.html")
    section = page.split('<section id="reliability--round-1">')[1].split("</section>")[0]

    for name in ("base", "temperature", "aph"):
        assert f'<th scope="col">{name}</th>' in section
    assert '<td data-value="0.875">0.8750</td>' in section
    assert '<td>-</td><td data-value="1.5">1.500</td><td>-</td>' in section
    assert section.count("<img") == 1
    (run / "evaluations" / "1-reliability.png").unlink()
    again = written(run, out=tmp_path / "page.html")
    assert again.count("<img") == page.count("<img")


def test_several_runs_beside_one_another(tmp_path, undrawn):
    runs = [
        run_folder(
            tmp_path / f"run{seed}{name}",
            [hand_made.evaluation([0.5, 0.75]) | {"test_accuracy": accuracy}],
            seed=seed,
            algorithm={"name": name} | ({"epsilon": 0.5} if name == "fedfomo" else {}),
        )
        for name, accuracies in {"fedfomo": (0.9, 0.8), "fedavg": (0.5, 0.7)}.items()
        for seed, accuracy in enumerate(accuracies)
    ]
    page = written(*runs, runs[0], out=tmp_path / "page.html")
    parsed = Parsed(page)

    assert_loads_nothing(page, parsed)
    assert [d["id"] for d in parsed.all("details") if "run" in (d.get("class") or "")] == [
        *("run-1", "run-2", "run-3", "run-4"),
    ]
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    settings = page.split('<section id="settings-that-differ">')[1].split("</section>")[0]
    columns = re.findall('<th scope="col">(.*?)</th>', settings)
    assert columns == ["run", "seed", "algorithm.name", "algorithm.epsilon"]
    results = page.split('<section id="results">')[1].split("</section>")[0]
    best = '<td class="best" data-value="0.9"><strong>90.00 %</strong></td>'
    assert results.count(best) == 1
    assert '<a href="#run-4" rel="noreferrer">fedavg, seed 1</a>' in results
    assert "differ in seed, so their clients do not own the same samples" in results
    assert "85.00 % +- 7.07 %" in results
    curves = page.split('<section id="accuracy-over-the-rounds">')[1].split("</section>")[0]
    assert curves.count("<img") == 1


def test_a_run_that_began_and_one_without_a_name_of_its_own(tmp_path, undrawn):
    runs = [run_folder(tmp_path / name, []) for name in ("one", "two")]
    page = written(*runs, out=tmp_path / "page.html")

    assert "Nothing was evaluated yet." in page
    assert "the runs have the same settings" in page
    assert f"<summary>{tmp_path.name}/two</summary>" in page
    assert "0 of 4 rounds (interrupted); nothing was evaluated yet." in page


def test_a_run_that_goes_on_says_so(tmp_path, undrawn):
    run = run_folder(tmp_path / "run")
    with hold(run):
        page = written(run, out=tmp_path / "page.html")

    assert "after 1 of 4 rounds (still running): 62.50 %" in page
    assert "(interrupted)" in written(run, out=tmp_path / "page.html")


def test_a_run_without_a_journal_is_shown_as_jfl_eval_found_it(tmp_path, undrawn):
    run = run_folder(tmp_path / "run", [])
    evaluated(run, clients=[0.25, 0.75])
    page = written(run, out=tmp_path / "page.html")

    assert "<strong>50.00 %</strong> of all test samples" in page
    assert "clients&#x27; own test data, round 1" in page
    assert '<td data-value="0.25">25.00 %</td>' in page.split('<section id="clients">')[1]


def test_markdown_says_the_same(tmp_path):
    runs = [run_folder(tmp_path / str(seed), seed=seed) for seed in range(2)]
    out = tmp_path / "pages" / "both.md"
    out.parent.mkdir()
    text = written(*runs, out=out, form="markdown")

    assert text.startswith(
        "# 2 runs on Tiny\\|ImageNet\n\n## Settings that differ\n\n| run | seed |"
    )
    assert "](both-curves.png)" in text
    assert "](../1/curves.png)" in text
    assert (out.parent / "both-curves.png").is_file()
    for picture in re.findall(r"\]\((.*?)\)", text):
        assert (out.parent / picture).is_file()


@pytest.mark.parametrize("form", publish.FORMATS)
def test_a_file_of_others_is_kept(tmp_path, undrawn, form):
    run, out = run_folder(tmp_path / "run"), tmp_path / "page"
    out.write_text("<html>mine</html>")
    with pytest.raises(UsageError, match="is not a page of jfl"):
        written(run, out=out, form=form)
    assert out.read_text() == "<html>mine</html>"
    out.unlink()

    assert written(run, out=out, form=form) == written(run, out=out, form=form)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.yaml", None, "is not a run folder: it has no config.yaml"),
        ("config.yaml", "- a list", "its config.yaml is not one that `jfl train` wrote"),
        ("config.yaml", "data: {name: x}", "its config.yaml is not one that `jfl train` wrote"),
        ("config.yaml", "\x00: [", "is not valid yaml"),
        ("journal.jsonl", '{"round": 1, "test_accuracy": "high"}\n', "is damaged"),
        ("evaluations/1.json", '{"round": 1, "heads": ["aph"]}', "is damaged"),
        ("environment.json", '{"versions": 3}', "is damaged"),
    ],
)
def test_a_folder_that_is_no_run_or_damaged_is_named(tmp_path, undrawn, name, content, says):
    run = run_folder(tmp_path / "run")
    (run / "evaluations").mkdir()
    (run / name).unlink(missing_ok=True)
    if content is not None:
        (run / name).write_text(content)
    good = run_folder(tmp_path / "good", seed=5)

    with pytest.raises(JflError, match=re.escape(says)) as error:
        written(good, run, out=tmp_path / "page.html")
    assert str(run) in str(error.value)
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written(tmp_path, undrawn):
    with pytest.raises(UsageError, match="cannot be written"):
        written(run_folder(tmp_path / "run"), out=tmp_path / "nowhere" / "page.html")


@pytest.fixture
def browser(tmp_path) -> str:
    """Chromium; where it must be there, as in CI, its absence fails instead of skipping."""
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is absent: install Debian's chromium")
        pytest.skip("chromium is absent")
    return found


# Measures the page in a frame, since the windows of a browser are never as narrow as a phone
FRAME = """<!doctype html><body style="margin:0"><iframe src="page.html"
style="border:0;width:{width}px;height:{height}px" onload="
const page = this.contentDocument, root = page.documentElement, window = this.contentWindow;
const table = page.querySelector('#clients table'), cells = [...table.tHead.rows[0].cells];
const column = cells.findIndex((cell) => cell.textContent === 'accuracy');
cells[column].querySelector('button').click();
const order = [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[column].textContent));
page.querySelector('nav a').click();
console.log('JFL' + JSON.stringify({{
  wide: [root.scrollWidth, root.clientWidth], order, sorted: cells[column].ariaSort,
  broken: [...page.images].filter((image) => !image.naturalWidth).length,
  loaded: window.performance.getEntriesByType('resource').map((e) => e.name)
    .filter((name) => !name.startsWith('data:')).length,
}}));"></iframe>"""


@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(tmp_path, undrawn, browser, width):
    run = copied(tmp_path)
    evaluated(run, aph=METRICS)
    other = run_folder(tmp_path / "other")
    written(*[run, other] if width < 1000 else [run], out=tmp_path / "page.html")
    if width < 1000:  # what is folded must not be wider either
        page = (tmp_path / "page.html").read_text().replace("<details", "<details open")
        (tmp_path / "page.html").write_text(page.replace('id="run-1-clients"', 'id="clients"'))
    (tmp_path / "frame.html").write_text(FRAME.format(width=width, height=1600))
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"),
            "--host-resolver-rules=MAP * ~NOTFOUND",  # no network
            "--allow-file-access-from-files",  # the frame looks into the page
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={max(width, 500)},1600",
            f"--screenshot={tmp_path / 'seen.png'}",
            (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert len(said) == 1, said  # what is measured, and nothing else
    found = json.JSONDecoder().raw_decode(said[0].split("JFL", 1)[1])[0]

    assert found["wide"] == [width, width]
    assert found["order"] == sorted(found["order"], reverse=True)
    assert len(found["order"]) == 6
    assert (found["sorted"], found["broken"], found["loaded"]) == ("descending", 0, 0)
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.size == (max(width, 500), 1600)
        seen = np.asarray(picture.convert("L"))[:, :width]
    assert seen.std() > 10
    assert (seen.min(axis=1) < 200).mean() > 0.2  # something stands in many lines

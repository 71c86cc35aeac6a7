"""Whatever a file holds, what is printed of it moves no cursor and hides or turns no words."""

import json
import pickle  # noqa: TID251 - to write what must be read
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text as Label
from rich.table import Table
from rich.text import Text

from jfl.cli import main
from jfl.files.printable import LINE, SENTENCE, WORD, printable, printable_lines, short
from jfl.report.pages import markdown, publish
from jfl.report.pages.parts import Code, Listing, Pairs, Paragraph, Section
from jfl.report.pictures import style
from jfl.report.screen import Screen
from tests.report import run_folders

SIGNS = [
    *map(chr, [*range(0x20), *range(0x7F, 0xA0)]),
    *map(chr, [*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070)]),
    *("\u00ad", "\u061c", "\u180e", "\ufeff", "\ufff9", "\ufffb", "\u3164", "\u2800", "\uffa0"),
    *map(chr, [*range(0xE0000, 0xE0080), 0xE0100, 0xD800, 0xDC80, 0xDFFF]),
]
NAME = "a\x1b[2J\x1b]0;t\x07\n\r\x9b\x7fjfl: \u202eb\u2066\u200b\u2028\U000e0041[red]c[/red]"
SHOWN = (
    r"a\x1b[2J\x1b]0;t\x07\n\r\x9b\x7fjfl: \u202eb\u2066\u200b\u2028\U000e0041[red]c[/red]"
)  # fmt: skip
HOSTILE = re.compile("[" + "".join(map(re.escape, sorted(set(SIGNS) - {"\n"}))) + "]")


def test_no_sign_is_left_that_cannot_be_seen() -> None:
    for sign in SIGNS:
        shown = printable(f"a{sign}b")
        assert shown.isascii()
        assert shown.isprintable()
        assert shown.encode().decode("unicode_escape") == f"a{sign}b"


@pytest.mark.parametrize(
    "text", ["", "plain", "déjà vu", "漢字 かな", "😀 ± → 5 %", "[red]", "C:\\n"]
)
def test_what_can_be_seen_stays(text: str) -> None:
    assert printable(text) == text


def test_lines_stay_lines_and_long_words_are_cut_in_their_middle() -> None:
    assert printable_lines("a\x1b\nb\r\n") == "a\\x1b\nb\\r\n"
    cut = short(f"start {'x' * 9999}y end")
    assert cut.startswith("start xxx")
    assert cut.endswith("xy end")
    assert len(cut) < WORD + 20
    path = "/".join(["d" * 200] * 20)
    assert short(path) == path
    assert LINE - 2 < len(short("a " * 10**6)) <= LINE


@pytest.mark.parametrize("terminal", [True, False])
def test_the_console_shows_any_text_as_signs(terminal, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
    screen = Screen()
    screen.console.width = 200
    table = Table(title=NAME, caption=NAME)
    table.add_column(NAME)
    table.add_row(NAME)
    table.add_row(Text(NAME))
    for part in (NAME, Text(NAME, style="bold"), table, "x" * 5000):
        screen.say(part)
    screen.keep_log(tmp_path / "log.txt")
    out = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    for text in (out, (tmp_path / "log.txt").read_text()):
        assert not HOSTILE.search(text)
        assert SHOWN in text.splitlines()
        assert len(text) < 5000


def said(capfd, *words: object, code: int = 0) -> str:
    """Runs a command; returns all it printed, in which nothing acts on a terminal."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    found = capfd.readouterr()
    text = found.out + found.err
    assert ended.value.code == code, text
    assert not HOSTILE.search(text), ascii(text)
    return text


def safetensors(path: Path, *names: str) -> Path:
    entries = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]}
        for n, name in enumerate(names)
    }
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4 * len(names))
    return path


def test_names_in_files_of_weights(tmp_path, capfd) -> None:
    path = safetensors(tmp_path / "m.safetensors", f"{NAME}.w", "long" * 500)
    assert SHOWN in said(capfd, "inspect", path)
    assert SHOWN in said(capfd, "inspect", path, "--stats")
    other = safetensors(tmp_path / "n.safetensors", "w")
    assert SHOWN in said(capfd, "inspect", path, "--diff", other)
    shown = said(capfd, "convert", path, tmp_path / "m.npz", "--dry-run")
    assert SHOWN in shown
    assert "[...]" in shown
    assert "long" * 500 not in shown

    np.savez(tmp_path / "p.npz", **{NAME: np.zeros(1)})  # pyright: ignore[reportArgumentType]
    assert r"a\x1b[2J" in said(capfd, "inspect", tmp_path / "p.npz")


def test_json_stays_exact(tmp_path, capfd) -> None:
    path = safetensors(tmp_path / "m.safetensors", f"{NAME}.w")
    with pytest.raises(SystemExit):
        main(["inspect", str(path), "--json"])
    (tensor,) = json.loads(capfd.readouterr().out)["tensors"]
    assert tensor["path"] == f"{NAME}.w"


def test_names_in_pickles(tmp_path, capfd) -> None:
    path = tmp_path / "m.pkl"
    word = b"X" + struct.pack("<I", len(b"evil\x1b[2J")) + b"evil\x1b[2J"
    turned = "\u202eb".encode()
    word += b"X" + struct.pack("<I", len(turned)) + turned
    path.write_bytes(b"\x80\x04" + word + b"\x93.")
    assert r"evil\x1b[2J.\u202eb" in said(capfd, "inspect", path, "--list-globals")
    assert r"\x1b[2J" in said(capfd, "inspect", path, code=5)
    path.write_bytes(pickle.dumps({NAME: 3}))
    said(capfd, "inspect", path)


def test_sentences_of_errors_and_their_tracebacks(tmp_path, capfd, monkeypatch) -> None:
    odd = tmp_path / "odd\x1b[2J\u202e\nname"
    for words in (["inspect", odd], ["logs", odd], ["report", odd], ["table", odd]):
        shown = said(capfd, *words, code=2)
        assert shown.count("\n") == 1
        assert r"odd\x1b[2J\u202e\nname" in shown
    shown = said(capfd, "inspect", odd, "--debug", code=2)
    assert r"\x1b[2J" in shown
    assert "Traceback" in shown
    assert r"\x1b[2J" in said(capfd, NAME, code=2)

    def fail(*_: object) -> None:
        raise ValueError(NAME)

    monkeypatch.setattr("jfl.runs.overview.survey", fail)
    assert SHOWN.split(r"\n", maxsplit=1)[0] in said(capfd, "runs", tmp_path, code=1)


@pytest.fixture
def run(tmp_path) -> Path:
    """A run whose folder, settings and log hold what a terminal would act upon."""
    folder = run_folders.run(tmp_path / "out" / "odd\x1b[2J\u202e\nname" / "2026-01-01-1")
    config = (folder / "config.yaml").read_text()
    odd = json.dumps(NAME)
    (folder / "config.yaml").write_text(f"{config}note: {odd}\n")
    (folder / "log.txt").write_text(f"one\n{NAME}\n")
    return folder


def test_commands_on_runs(run, tmp_path, capfd) -> None:
    out = tmp_path / "out"
    shown = r"odd\x1b[2J\u202e\nname"
    assert shown in said(capfd, "runs", out).replace("\n", "")
    assert r"a\x1b[2J" in said(capfd, "logs", run)
    other = run_folders.run(tmp_path / "out" / "plain", seed=1)
    (other / "config.yaml").write_text((other / "config.yaml").read_text() + "note: x\n")
    for form in ("terminal", "markdown", "latex", "csv"):
        words = ("table", out, "--by", "note", "--format", form)
        shown = said(capfd, *words).replace("\\[", "[").replace("\\textbackslash{}", "\\")
        assert "x1b[2J" in shown
    for name in ("config.yaml", "journal.jsonl", "status.json"):
        (other / name).write_text(NAME)
    said(capfd, "runs", out)
    said(capfd, "table", out, code=2)


def test_plugins_and_data_sets_from_outside(tmp_path, capfd) -> None:
    place = tmp_path / "mine" / "data"
    place.mkdir(parents=True)
    summary = f"A{NAME}".replace("\n", "").replace("\r", "")
    (place / "odd_set.py").write_text(
        f"{summary!r}\nfrom jfl.datasets.base import Config as Base\n\nclass Config(Base):\n"
        f'    name: str = "odd_set"\n    word: str = {NAME!r}\n    {NAME!r}\n'
        "def available(config): return False\ndef load(config, seed): ...\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["list", "--plugins", str(tmp_path / "mine")])
    shown = capfd.readouterr()
    assert not HOSTILE.search(shown.out + shown.err), ascii(shown)
    assert ended.value.code in (0, 2)


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_pages(run, tmp_path, form, monkeypatch) -> None:
    monkeypatch.setattr("jfl.federated.pages.view.FederatedView.refresh", lambda *_: None)
    config = (run / "config.yaml").read_text().replace("name: fedavg", f"name: {json.dumps(NAME)}")
    (run / "config.yaml").write_text(config)
    other = run_folders.run(tmp_path / "other")
    for runs in ([run], [run, other]):
        page = tmp_path / f"page{len(runs)}"
        publish.publish(runs, page, form)
        text = page.read_text()
        assert not HOSTILE.search(text)
        assert "x1b[2J" in text


def test_markdown_is_not_left_by_what_it_holds() -> None:
    odd = f"{NAME}`|"
    parts = [
        Paragraph([odd, Code(odd)]), Pairs(odd, [(odd, Code(odd))]), Listing(f"a: {odd}\n```\n"),
    ]  # fmt: skip
    text = markdown.section(Section(NAME, parts), Path())
    assert not HOSTILE.search(text)
    assert "\n````yaml\n" in text


def test_pictures(tmp_path) -> None:
    found: list[str] = []
    with style.figure(24.0, 18.0, tmp_path / "a.png") as figure:
        axes = figure.subplots()
        axes.plot([0, 1], label=NAME)
        axes.legend()
        axes.set(title=NAME, xlabel=NAME)
        axes.set_xticks([0, 1], [NAME, "b"])
        axes.text(0, 0, f"{NAME}")
    figure.canvas.draw()
    for text in figure.findobj(Label):
        assert isinstance(text, Label)
        found.append(text.get_text())
    assert len([text for text in found if r"\x1b[2J" in text]) >= 5
    assert not HOSTILE.search("".join(found))


def test_errors_are_no_longer_than_a_screen():
    long = "a b " * 5000
    assert SENTENCE - 1 <= len(short(long, SENTENCE)) <= SENTENCE
    assert short("a b", SENTENCE) == "a b"

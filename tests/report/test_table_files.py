"""Tables in files: what they keep of their rows, what joins them, what is never lost."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jfl.report.compare import record, table_file
from jfl.report.compare.results import Result
from jfl.report.compare.sheet import Sheet
from tests.report.run_folders import BASE, evaluated, run
from tests.report.test_result_tables import error, said

FORMS = [("markdown", ".md"), ("latex", ".tex"), ("csv", ".csv")]
ENDINGS = [ending for _, ending in FORMS]
STRANGE = 'a-->b <!-- % "q" \\ \x1b[31m\n\r\n\u2028 \ud800 é | & {x}'


@pytest.fixture
def runs(tmp_path) -> Path:
    """Two alphas, two algorithms, two seeds."""
    for alpha in (0.1, 1.0):
        for seed in range(2):
            for name, more in (("fedavg", 0.0), ("fedfomo", 0.05)):
                accuracy = 0.25 + alpha / 4 + more + seed / 50
                folder = tmp_path / "runs" / f"{alpha}-{name}-{seed}"
                run(folder, seed=seed, alpha=alpha, algorithm=name, accuracy=accuracy)
    return tmp_path / "runs"


def table(path: Path) -> list[list[str]]:
    """The cells of a table in a file, without bold; of csv without the records."""
    if path.suffix == ".csv":
        lines = csv.reader(path.read_text(encoding="utf-8-sig").splitlines())
        return [line[:-1] for line in lines]
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    if path.suffix == ".md":
        found = [line[1:-1].split("|") for line in lines if line.startswith("|")]
        cells = [found[0], *found[2:]]
    else:
        rows = (line for line in lines if line.endswith(r"\\"))
        cells = [line.removesuffix(r"\\").split("&") for line in rows]
    marks = ("**", "\\textbf{", "}")
    for mark in marks:
        cells = [[cell.replace(mark, "").strip() for cell in line] for line in cells]
    return cells


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_of_another_setting_stand_below_and_a_column_tells_them(
    runs, tmp_path, capsys, ending
):
    path, whole = tmp_path / f"t{ending}", tmp_path / f"whole{ending}"
    said(capsys, "table", runs, "--where", "alpha=0.1", "--out", path)
    assert "alpha" not in "".join(table(path)[0])
    shown = said(capsys, "table", runs, "--where", "alpha=1.0", "--add-to", path)

    assert "rows added: 2" in shown
    said(capsys, "table", runs, "--out", whole)
    assert table(path) == table(whole)  # as if it was made of all runs at once
    assert [line[:2] for line in table(path)[1:]] == [
        *(["fedavg", "0.1"], ["fedavg", "1.0"], ["fedfomo", "0.1"], ["fedfomo", "1.0"]),
    ]


def test_the_caption_names_what_the_rows_share(runs, tmp_path, capsys):
    path = tmp_path / "t.md"
    where = ("--where", "alpha=0.1", "--where", "on_missing=embedded")
    for folder in runs.iterdir():
        config = (folder / "config.yaml").read_text().replace("rounds: 4", "rounds: 4\nxi: 3")
        (folder / "config.yaml").write_text(config.replace("dir: null", "on_missing: embedded"))
    said(capsys, "table", runs, *where, "--where", "xi=3", "--out", path)
    text = path.read_text()
    shared = "clients 2, participation 0.5, data digits, partition dirichlet, alpha 0.1, rounds 4"
    assert f"the best of each column is bold. All rows: {shared}, xi 3.*" in text

    said(capsys, "table", runs, "--where", "alpha=1.0", "--add-to", path)
    assert f"equal alpha is bold. All rows: {shared.replace(' alpha 0.1,', '')}, xi 3.*" in (
        path.read_text()
    )


def test_rows_that_no_column_tells_apart_are_refused(runs, tmp_path, capsys):
    path = tmp_path / "t.tex"
    words = ("--where", "alpha=0.1", "--where", "algorithm=fedavg", "--by", "algorithm")
    said(capsys, "table", runs, *words, "--out", path)
    before = path.read_bytes()

    again = ("table", runs, "--where", "alpha=1.0", "--add-to", path)
    # the same algorithm: a mean over two problems; another: side by side as if of one problem
    for name, sentence in (
        ("fedavg", "differ in partition.alpha, so their mean says nothing"),
        ("fedfomo", "would differ in partition.alpha, which no column tells"),
    ):
        assert sentence in error(capsys, *again, "--where", f"algorithm={name}")
        assert path.read_bytes() == before
    said(capsys, *again, "--by", "algorithm,alpha")
    assert len(table(path)) == 1 + 3


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_seed_counts_once_however_often_it_is_added(runs, tmp_path, capsys, ending):
    path, whole = tmp_path / f"t{ending}", tmp_path / f"whole{ending}"
    said(capsys, "table", *runs.glob("*-0"), "--out", path)
    assert "rows added: 0, seeds added to other rows: 4" in said(
        capsys, "table", *runs.glob("*-1"), "--add-to", path
    )
    said(capsys, "table", runs, "--out", whole)
    assert table(path) == table(whole)

    again = said(capsys, "table", runs, "--add-to", path)
    assert "rows added: 0, results replaced, as they were there already: 8" in again
    assert path.read_text() == whole.read_text()


def test_a_newer_run_of_a_seed_takes_the_place_of_the_older(tmp_path, capsys):
    path = tmp_path / "t.md"
    for accuracy in (0.5, 0.75):
        folder = run(tmp_path / str(accuracy), accuracy=accuracy)
        said(capsys, "table", folder, "--columns", "test_accuracy", "--add-to" if
             path.exists() else "--out", path)  # fmt: skip

    assert table(path)[1:] == [["fedavg", "1", "75.00"]]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_marks_and_ends_of_lines_stay(runs, tmp_path, capsys, ending, mark, ends):
    path, plain = tmp_path / f"t{ending}", tmp_path / f"plain{ending}"
    said(capsys, "table", runs, "--where", "alpha=0.1", "--out", path)
    text = path.read_text()
    before, after = ("words before\n", "words after") if ending != ".csv" else ("", "")
    path.write_bytes((mark + (before + text + after).replace("\n", ends)).encode())
    said(capsys, "table", runs, "--where", "alpha=1.0", "--add-to", path)
    said(capsys, "table", runs, "--where", "alpha=0.1", "--out", plain)
    said(capsys, "table", runs, "--where", "alpha=1.0", "--add-to", plain)

    wanted = mark + (before + plain.read_text() + after).replace("\n", ends)
    assert path.read_bytes().decode() == wanted
    assert len(table(path)) == 1 + 4


@pytest.mark.parametrize(("form", "ending"), FORMS)
def test_any_value_comes_back(tmp_path, form, ending):
    strange = results_with(STRANGE.replace("\ud800", ""))
    sheet = Sheet(strange, ["nll"], "last", by=["algorithm.name", "train.note"])
    path = tmp_path / f"t{ending}"
    table_file.write(path, form, sheet, None)
    text = path.read_text()
    found: list[Sheet] = []
    table_file.add(path, form, lambda there: (found.append(there) or there, there.joined([])[1]))

    (back,) = (sorted(sheet.results, key=lambda result: result.seed) for sheet in found)
    assert [r.settings for r in back] == [r.settings for r in strange]
    assert [r.metrics for r in back] == [r.metrics for r in strange]
    assert path.read_text() == text
    assert "\x1b" not in text
    assert text.count("-->") == (form == "markdown") + text.count("a-->b")


def results_with(note: str) -> list[Result]:
    values = [note, None, True, 3, 0.1, -2.5e-17, "3", "", "-"]
    return [
        Result("r", seed, {"algorithm.name": "x", "train.note": value, "seed": seed}, "base", 4,
               {"nll": 1 / (seed + 3)})
        for seed, value in enumerate(values)
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["latex", "markdown"])
def test_what_people_wrote_stays(runs, tmp_path, capsys, form):
    path = tmp_path / ("t.tex" if form == "latex" else "t.md")
    said(capsys, "table", runs, "--where", "alpha=0.1", "--out", path)
    text = path.read_text()
    if form == "latex":
        text = text.replace(r"\begin{table}", r"\begin{table*}[t]\footnotesize")
        text = "\n".join(r"\caption{Mine.}\label{x}" if line.startswith(r"\caption") else line
                         for line in text.split("\n"))  # fmt: skip
    else:
        text = "\n".join("*Mine.*" if line.startswith("*") else line for line in text.split("\n"))
    other = "\n\\begin{tabular}{l}\na \\\\\n\\end{tabular}\n\n| a |\n| --- |\n| 1 |\n"
    path.write_text("My words.\n" + text + other)
    shown = said(capsys, "table", runs, "--where", "alpha=1.0", "--add-to", path)

    after = path.read_text()
    assert after.startswith("My words.\n")
    assert after.endswith(other)
    assert "Mine." in after
    assert "Round: last" not in after
    assert "is not jfl's, so it stays; it should say: Round: last" in " ".join(shown.split())
    assert "fedfomo & 1.0" in after or "fedfomo | 1.0" in after

    # neither does --out lose them
    shown = said(capsys, "table", runs, "--where", "alpha=0.1", "--out", path)
    assert "in place of its table; the text around it stays" in " ".join(shown.split())
    assert path.read_text() == "My words.\n" + text + other


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_that_was_changed_by_hand_is_left_alone(runs, tmp_path, capsys, ending):
    path = tmp_path / f"t{ending}"
    said(capsys, "table", runs, "--out", path)
    text = path.read_text()
    old = {".csv": "fedavg,0.1,", ".md": "| fedavg | 0.1 ", ".tex": "fedavg & 0.1 "}[ending]
    changes = [text.replace(old, old.replace("fedavg", "FedAvg")), text.replace(old, "x" + old)]
    for changed in changes:
        path.write_text(changed)
        for flag in ("--add-to", "--out"):
            assert "was changed" in error(capsys, "table", runs, flag, path)
            assert path.read_text() == changed
    if ending != ".csv":
        path.write_text(re.sub(r" ([|&]) ", r"   \1  ", text))  # as an editor might align it
        assert "rows added: 0" in said(capsys, "table", runs, "--add-to", path)
        path.write_text(text + text)
        assert "holds 2 " in error(capsys, "table", runs, "--add-to", path)


@pytest.mark.parametrize(("form", "ending"), FORMS)
@pytest.mark.parametrize(
    "text", ["some words\n", "| a | b |\n| --- | --: |\n| 1 | 2 |\n", "a\n1", "a,jfl_record\n"]
)
def test_a_file_of_others_is_kept(tmp_path, capsys, form, ending, text):
    folder, path = run(tmp_path / "r"), tmp_path / f"t{ending}"
    path.write_text(text)

    assert f"no {form} table" in error(capsys, "table", folder, "--add-to", path)
    assert "so it is kept; give another --out" in error(capsys, "table", folder, "--out", path)
    assert path.read_text() == text
    path.write_text("")
    said(capsys, "table", folder, "--out", path)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [path.name]


def test_a_table_of_an_older_jfl_is_refused_and_kept(runs, tmp_path, capsys):
    path = tmp_path / "t.tex"
    said(capsys, "table", runs, "--out", path)
    old = "".join(
        line for line in path.read_text().splitlines(keepends=True)
        if not line.startswith(("% jfl {", "% what"))
    )  # fmt: skip
    path.write_text(old)

    sentence = "no latex table that jfl table made and keeps the rows of, so nothing is added"
    assert sentence in error(capsys, "table", runs, "--add-to", path)
    assert path.read_text() == old


@pytest.mark.parametrize("ending", ENDINGS)
def test_made_anew_it_takes_the_place_of_its_like(runs, tmp_path, capsys, ending):
    path, other = tmp_path / f"t{ending}", tmp_path / f"other{ending}"
    label = ("--label", "tab:a") if ending == ".tex" else ()
    said(capsys, "table", runs, "--out", path)
    said(capsys, "table", runs, "--where", "alpha=1.0", *label, "--out", other)
    shown = said(capsys, "table", runs, "--where", "alpha=1.0", *label, "--out", path)

    assert "in place of the table that was there" in shown
    assert path.read_text() == other.read_text()
    assert label == () or r"\label{tab:a}" in path.read_text()


def test_a_table_of_another_format_round_or_metric_is_not_added_to(runs, tmp_path, capsys):
    path = tmp_path / "t.md"
    said(capsys, "table", runs, "--columns", "nll", "--out", path)
    before = path.read_text()

    words = ("table", runs, "--add-to", path)
    for more, sentence in (
        (["--columns", "ece"], "has the columns nll, but --columns names ece"),
        (["--which", "best-test"], "is not of the round best on test data"),
        (["--format", "latex"], "holds no latex table"),
        (["--format", "csv"], "holds no csv table"),
        (["--format", "terminal"], "cannot be of the format terminal"),
    ):
        assert sentence in error(capsys, *words, *more)
    bare = run(tmp_path / "bare", records=[{"round": 4, "test_accuracy": 0.5}])
    sentence = error(capsys, "table", bare, "--add-to", path)
    assert "none of these runs has nll" in sentence
    assert path.read_text() == before


DAMAGES = {
    "cut": lambda line: line[: len(line) // 2],
    "empty": lambda _: "{}",
    "not a number": lambda line: line.replace("[0.", "[NaN, 0.").replace('"columns"', "NaN"),
    "infinite": lambda line: line.replace("[0.", "[1e999, 0.").replace("1,", "1e999,", 1),
    "huge": lambda line: line.replace("[0.", "[1e300, 0.").replace("1,", "9" * 5000 + ",", 1),
    "deep": lambda _: "[" * 100_000,
    "deep objects": lambda _: '{"settings": ' + '{"a": ' * 50_000,
    "words": lambda line: line.replace("[0.", '["x", 0.').replace('["', '[3, "', 1),
    "no settings": lambda line: line.replace('"settings"', '"sett"'),
    "nested settings": lambda line: line.replace('"settings": {', '"settings": {"a": {"b": 1}, '),
    "ESC": lambda line: line.replace('"settings"', '"\\u001b[31m\\n"'),
    "a surrogate": lambda line: line.replace('"settings": {', '"settings": {"a": "\\ud800", '),
    "another version": lambda line: line.replace(": 1,", ": 2,", 1).replace("seeds", "seed"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_record_of_another_is_checked(tmp_path, capsys, ending, damage):
    path = tmp_path / f"t{ending}"
    folder = run(tmp_path / "r")
    said(capsys, "table", folder, "--out", path)
    text = path.read_text()
    for number in range(2):
        path.write_text(damaged(text, ending, number, damage))
        before = path.read_bytes()
        shown = error(capsys, "table", folder, "--add-to", path)
        assert shown.count("\n") == 1
        assert "\x1b" not in shown
        assert path.read_bytes() == before


def damaged(text: str, ending: str, number: int, damage) -> str:
    """A table's text with one line of its record, 0 of the table or 1 of a row, put wrong."""
    if ending == ".csv":
        header, line = csv.reader(text.splitlines())
        parts = [record.text(part) for part in json.loads(line[-1])]
        parts[number] = damage(parts[number])
        line[-1] = f"[{', '.join(record.sealed(parts[:-1]))}]"
        quoted = ['"' + cell.replace('"', '""') + '"' for cell in line]
        return ",".join(header) + "\n" + ",".join(quoted) + "\n"
    start = "% jfl " if ending == ".tex" else ""
    lines = text.split("\n")
    first = next(n for n, line in enumerate(lines) if line.startswith(start + "{"))
    parts = [lines[n].removeprefix(start) for n in (first, first + 1)]
    parts[number] = damage(parts[number])
    lines[first : first + 3] = [start + part for part in record.sealed(parts)]
    return "\n".join(lines)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_record_with_another_digit_is_not_drawn(runs, tmp_path, capsys, ending):
    path = tmp_path / f"t{ending}"
    said(capsys, "table", runs, "--out", path)
    text = path.read_text()
    for old, new in (('"seeds"', '"sEEds"'), ("[0.27", "[0.28"), ("0.5", "0.6"), ("fedavg", "x")):
        found = [match.start() for match in re.finditer(re.escape(old.replace('"', '""' if ending
                 == ".csv" else '"')), text)]  # fmt: skip
        place = found[-1]  # in the record, which comes last
        path.write_text(text[:place] + text[place:].replace(old.strip('"'), new.strip('"'), 1))
        before = path.read_bytes()
        assert "is damaged or of another jfl" in error(capsys, "table", runs, "--add-to", path)
        assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    ["<!-- jfl: what jfl table --add-to draws the table from\n" * 3, "a,jfl_record\n1,\0\n",
     "a,jfl_record\n1,[]\n", "a,jfl_record\n1,[1]\n", "a,jfl_record\n1\n", "\ufeff", "\udcff",
     '"', "a,jfl_record\n" + "x" * 200_000 + ",1\n", "% jfl {}\n", "% jfl {}\nx\n% jfl {}\n"],
)  # fmt: skip
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_file_ends_in_a_traceback(tmp_path, capsys, text, ending):
    folder, path = run(tmp_path / "r"), tmp_path / f"t{ending}"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    for flag in ("--add-to", "--out"):
        before = path.read_bytes()
        assert error(capsys, "table", folder, flag, path).count("\n") == 1
        assert path.read_bytes() == before


def test_two_commands_at_once_lose_nothing(tmp_path, capsys):
    path = tmp_path / "t.md"
    folders = [run(tmp_path / str(alpha), alpha=alpha) for alpha in (0.1, 0.2, 0.3)]
    said(capsys, "table", folders[0], "--out", path)
    code = (
        "import sys, time; from jfl.report.compare import record\n"
        "dump = record.dump\n"
        "record.dump = lambda *given: (time.sleep(0.3), dump(*given))[1]\n"
        "from jfl.cli import main; main(sys.argv[1:])"
    )
    words = [[str(folder), "--add-to", str(path)] for folder in folders[1:]]
    started = [subprocess.Popen([sys.executable, "-c", code, "table", *more]) for more in words]

    assert [process.wait() for process in started] == [0, 0]
    assert [line[1] for line in table(path)[1:]] == ["0.1", "0.2", "0.3"]


def test_a_link_stays_a_link_and_a_folder_is_no_table(tmp_path, capsys):
    folder, path = run(tmp_path / "r"), tmp_path / "t.md"
    (tmp_path / "real").mkdir()
    path.symlink_to(tmp_path / "real" / "t.md")
    said(capsys, "table", folder, "--out", path)
    said(capsys, "table", folder, "--add-to", path)

    assert path.is_symlink()
    (tmp_path / "d.md").mkdir()
    for flag in ("--out", "--add-to"):
        assert "d.md is no file" in error(capsys, "table", folder, flag, tmp_path / "d.md")


def test_a_place_that_is_none(tmp_path, capsys):
    folder, circle = run(tmp_path / "r"), tmp_path / "circle.md"
    circle.symlink_to(circle)
    for path in (circle, tmp_path / f"{'x' * 300}.md", tmp_path / "gone" / "t.md"):
        assert "cannot be written" in error(capsys, "table", folder, "--out", path)
        assert "not there" in error(capsys, "table", folder, "--add-to", path)


def test_a_run_without_a_setting_of_the_table_is_added(tmp_path, capsys):
    for count in (3, 5):
        fomo = {"name": "fedfomo", "num_candidates": count}
        run(tmp_path / "old" / str(count), algorithm=fomo, accuracy=0.5)
    path = tmp_path / "t.md"
    said(capsys, "table", tmp_path / "old", "--columns", "test_accuracy", "--out", path)
    said(capsys, "table", run(tmp_path / "a", accuracy=0.875), "--add-to", path)

    assert table(path) == [
        ["algorithm", "num_candidates", "seeds", "accuracy (%)"],
        ["fedavg", "-", "1", "87.50"],
        ["fedfomo", "3", "1", "50.00"],
        ["fedfomo", "5", "1", "50.00"],
    ]


def test_methods_are_added_to_methods(tmp_path, capsys):
    evaluated(run(tmp_path / "a", alpha=0.1), {"base": {"ece": 0.01}, "aph": {"ece": 0.004}})
    path = tmp_path / "t.tex"
    said(capsys, "table", tmp_path / "a", "--columns", "ece", "--out", path)
    evaluated(run(tmp_path / "b", alpha=5.0), {"base": {"ece": 0.3}, "aph": {"ece": 0.001}})
    assert "rows added: 2" in said(capsys, "table", tmp_path / "b", "--add-to", path)

    text = path.read_text()
    assert r"fedavg & 5.0 & aph & 1 & \textbf{0.10} \\" in text
    assert r"fedavg & 0.1 & aph & 1 & \textbf{0.40} \\" in text  # the best of its alpha
    assert r"fedavg & 0.1 & base & 1 & 1.00 \\" in text


def test_records_hold_no_place_of_the_machine(tmp_path, capsys):
    data = BASE["data"] | {"dir": "/home/somebody/secret", "cache_dir": "/home/x"}
    path = tmp_path / "t.md"
    said(capsys, "table", run(tmp_path / "r", data=data), "--out", path)

    assert "secret" not in path.read_text()
    assert str(tmp_path) not in path.read_text()


def test_fingerprints_are_of_words_and_not_of_space():
    assert record.fingerprint(["a  b ", "c\r"]) == record.fingerprint(["a b", " c"])
    assert record.fingerprint(["a b"]) != record.fingerprint(["ab"])

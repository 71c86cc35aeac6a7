"""`jfl table` on folders written by hand: exact texts, adding rows, what it says of errors."""

import csv
import json

import pytest

from jfl.cli import main
from jfl.report import tables
from jfl.report.compare import grid_files
from jfl.report.compare.comparison import Row, Spread
from jfl.report.compare.grid import number_grid, text_grid
from tests.report.run_folders import evaluated, run

CAPTION = (
    "Round: last. Mean ± sample standard deviation over seeds; the best of each column is bold."
)
MARKDOWN = f"""\
| algorithm | a_b | seeds | accuracy (%) | NLL |
| --- | --- | --: | --: | --: |
| my_fed\\|avg&co | 50% | 2 | **81.25 ± 2.50** | 0.5000 ± 0.0100 |
| fedfomo | 0.1 | 1 | 75.00 | **0.2500** |

*{CAPTION}*
"""
LATEX = r"""% jfl table; needs \usepackage{booktabs}
\begin{table}
\centering
\caption{Round: last. Mean $\pm$ sample standard deviation over seeds; the best of each column is bold.}
\begin{tabular}{llrrr}
\toprule
algorithm & a\_b & seeds & accuracy (\%) & NLL \\
\midrule
my\_fed\textbar{}avg\&co & 50\% & 2 & \textbf{81.25 $\pm$ 2.50} & 0.5000 $\pm$ 0.0100 \\
fedfomo & 0.1 & 1 & 75.00 & \textbf{0.2500} \\
\bottomrule
\end{tabular}
\end{table}
"""  # noqa: E501
CSV = """\
algorithm.name,train.a_b,round,seeds,test_accuracy,test_accuracy_std,nll,nll_std
my_fed|avg&co,50%,last,2,0.8125,0.025,0.5,0.01
fedfomo,0.1,last,1,0.75,,0.25,
"""
COLUMNS = ["test_accuracy", "nll"]
FORMS = [("markdown", ".md"), ("latex", ".tex"), ("csv", ".csv")]


def row(name, setting, seeds, accuracy, nll) -> Row:
    values = {"test_accuracy": accuracy, "nll": nll}
    return Row({"algorithm.name": name, "train.a_b": setting}, seeds, values)


ROWS = [
    row("my_fed|avg&co", "50%", [0, 1], Spread(0.8125, 0.025, 2), Spread(0.5, 0.01, 2)),
    row("fedfomo", 0.1, [3], Spread(0.75, None, 1), Spread(0.25, None, 1)),
]


def grid(rows, form, which="last"):
    return (number_grid if form == "csv" else text_grid)(rows, COLUMNS, which)


@pytest.mark.parametrize(("form", "text"), [("markdown", MARKDOWN), ("latex", LATEX), ("csv", CSV)])
def test_the_text_of_a_small_table(form, text):
    assert grid_files.written(grid(ROWS, form), form) == text


@pytest.mark.parametrize(("form", "ending"), FORMS)
def test_a_table_is_read_back_as_it_was_written(tmp_path, form, ending):
    path = tmp_path / f"t{ending}"
    made = grid(ROWS, form)
    path.write_text(grid_files.written(made, form))
    found = grid_files.existing(path, form)

    assert (found.header, found.rows) == (made.header, made.rows)
    assert found.columns == COLUMNS


@pytest.mark.parametrize(("form", "ending"), FORMS)
def test_rows_are_added_and_the_best_is_found_anew(tmp_path, form, ending):
    path = tmp_path / f"t{ending}"
    path.write_text(grid_files.written(grid(ROWS[:1], form), form))
    grid_files.existing(path, form).add(grid(ROWS[1:], form))
    assert path.read_text() == grid_files.written(grid(ROWS, form), form)

    again = row("fedfomo", 0.1, [3, 4], Spread(0.9, 0.1, 2), Spread(0.25, 0.0, 2))
    grid_files.existing(path, form).add(grid([again], form))
    assert path.read_text() == grid_files.written(grid([ROWS[0], again], form), form)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_words_around_a_table_stay(tmp_path):
    path = tmp_path / "t.md"
    path.write_text("# Results\n\n" + grid_files.written(grid(ROWS[:1], "markdown"), "markdown"))
    grid_files.existing(path, "markdown").add(grid(ROWS[1:], "markdown"))

    assert path.read_text() == "# Results\n\n" + MARKDOWN


@pytest.mark.parametrize(("form", "ending"), FORMS)
@pytest.mark.parametrize(
    "text", ["", "some words\n", "| a | b |\n| --- | --: |\n| 1 | 2 |\n", "a\n1"]
)
def test_no_rows_are_added_to_what_is_no_table_of_ours(tmp_path, capsys, form, ending, text):
    folder, path = run(tmp_path / "r"), tmp_path / f"t{ending}"
    path.write_text(text)

    assert "no " + form + " table that jfl table made" in error(
        capsys, "table", folder, "--add-to", path
    )
    assert path.read_text() == text


def test_rows_of_other_columns_or_rounds_are_not_added(tmp_path, capsys):
    folder, path = run(tmp_path / "r"), tmp_path / "t.md"
    said(capsys, "table", folder, "--columns", "nll", "--out", path)
    before = path.read_text()

    words = ("table", folder, "--add-to", path)
    assert "has the columns algorithm, seeds, NLL, but" in error(capsys, *words, "--columns", "ece")
    assert "is not of the round best on test data" in error(capsys, *words, "--which", "best-test")
    assert path.read_text() == before


def error(capsys, *words) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 2
    return capsys.readouterr().err


def said(capsys, *words) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    assert ended.value.code == 0, captured.err
    return captured.out


def test_the_command_finds_runs_at_any_depth(tmp_path, capsys):
    for seed, accuracy in enumerate([0.5, 0.7]):
        run(tmp_path / "out" / "name" / str(seed), seed=seed, accuracy=accuracy)
    words = ("table", tmp_path / "out", tmp_path / "out" / "name", "--columns", "test_accuracy")
    answer = json.loads(said(capsys, *words, "--json").splitlines()[-1])

    assert answer["columns"] == ["algorithm.name", "seeds", "test_accuracy"]
    (found,) = answer["rows"]
    assert found["seeds"] == [0, 1]
    assert found["test_accuracy"]["mean"] == pytest.approx(0.6)
    assert found["test_accuracy"]["std"] == pytest.approx(0.02**0.5)
    assert found["test_accuracy"]["n"] == 2


def test_the_terminal_shows_rows_and_what_was_left_out(tmp_path, capsys):
    run(tmp_path / "a", accuracy=0.5)
    run(tmp_path / "b", seed=1, records=[{"round": 2}], state="interrupted")
    shown = said(capsys, "table", tmp_path)

    assert "fedavg" in shown
    assert "50.00" in shown
    assert "left out, not finished (round 2 of 4; --unfinished takes it)" in shown


def test_best_on_test_says_what_it_is(tmp_path, capsys):
    folder = run(tmp_path / "r")
    for words in ([], ["--format", "latex"], ["--format", "markdown"], ["--json"]):
        shown = said(capsys, "table", folder, "--which", "best-test", *words)
        assert "best on test data: optimistic, not for papers" in " ".join(shown.split())
    rows = said(capsys, "table", folder, "--which", "best-test", "--format", "csv")
    assert next(csv.DictReader(rows.splitlines()))["round"] == "best-test"


def test_a_run_is_added_by_its_table_alone(tmp_path, capsys):
    for alpha in (0.1, 1.0):
        methods = {"base": {"ece": alpha / 10}, "aph": {"ece": 0.004}}
        evaluated(run(tmp_path / "old" / str(alpha), alpha=alpha), methods)
    path = tmp_path / "t.tex"
    said(capsys, "table", tmp_path / "old", "--columns", "ece", "--out", path)
    evaluated(run(tmp_path / "new", alpha=5.0), {"base": {"ece": 0.3}, "aph": {"ece": 0.001}})
    shown = said(capsys, "table", tmp_path / "new", "--add-to", path)

    assert "rows added: 2, replaced by others of their names: 0" in shown
    assert r"fedavg & 5.0 & aph & 1 & \textbf{0.10} \\" in path.read_text()
    assert r"fedavg & 0.1 & aph & 1 & 0.40 \\" in path.read_text()


def test_a_run_without_a_setting_of_the_table_is_added_and_replaces_its_like(tmp_path, capsys):
    for count in (3, 5):
        fomo = {"name": "fedfomo", "num_candidates": count}
        run(tmp_path / "old" / str(count), algorithm=fomo, accuracy=0.5)
    path = tmp_path / "t.md"
    said(capsys, "table", tmp_path / "old", "--columns", "test_accuracy", "--out", path)
    for accuracy in (0.75, 0.875):
        folder = run(tmp_path / str(accuracy), accuracy=accuracy)
        shown = said(capsys, "table", folder, "--add-to", path)

    assert "rows added: 0, replaced by others of their names: 1" in shown
    assert path.read_text().splitlines()[:5] == [
        "| algorithm | num_candidates | seeds | accuracy (%) |",
        "| --- | --- | --: | --: |",
        "| fedfomo | 3 | 1 | 50.00 |",
        "| fedfomo | 5 | 1 | 50.00 |",
        "| fedavg | - | 1 | **87.50** |",
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "nowhere is not there"),
        (["empty"], "empty is not a run folder and holds none"),
        (["foreign"], "foreign is not a run of jfl: its config.yaml has no seed"),
        (["r", "--out", "t.xlsx"], "must end in .md, .tex, .csv"),
        (["r", "--out", "a.md", "--add-to", "a.md"], "give it without --out"),
        (["r", "--add-to", "absent.md"], "absent.md cannot be read"),
        (["r", "--out", "gone/t.md"], "gone/t.md cannot be written"),
        (["r", "--columns", "f1"], "f1 is not a metric"),
        (["r", "--by", "momentum"], "no run has a setting momentum"),
    ],
)
def test_errors_are_one_sentence(tmp_path, capsys, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "r")
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.yaml").write_text("{model: llama}")
    shown = error(capsys, "table", *words)

    assert shown.startswith("jfl: ")
    assert sentence in shown
    assert shown.count("\n") == 1


def test_a_value_over_fewer_seeds_says_so():
    short = row("fedavg", 1, [0, 1, 2], Spread(0.5, 0.1, 2), Spread(0.5, None, 1))
    made = text_grid([short, ROWS[1]], COLUMNS, "last")

    assert made.rows[0][3:] == ["50.00 ± 10.00 (of 2)", "0.5000 (of 1)"]
    assert made.best()[1][3:] == [True, True]


def test_values_that_look_alike_are_all_best_and_one_row_has_none():
    alike = [
        row("a", 1, [0], Spread(0.50001, None, 1), Spread(0.5, None, 1)),
        row("b", 1, [0], Spread(0.50002, None, 1), Spread(0.4, None, 1)),
    ]

    assert [best[3:] for best in text_grid(alike, COLUMNS, "last").best()] == [
        [True, False],
        [True, True],
    ]
    assert not any(text_grid(alike[:1], COLUMNS, "last").best()[0])


def test_a_narrow_terminal_puts_deviations_below():
    made = text_grid(ROWS, COLUMNS, "last")
    _, wide, _ = tables.grid_table("t", made, 200).renderables
    _, narrow, _ = tables.grid_table("t", made, 40).renderables

    assert str(next(iter(wide.columns[3].cells))) == "81.25 ± 2.50"
    assert str(next(iter(narrow.columns[3].cells))) == "81.25\n±2.50"

"""`jfl table` on folders written by hand: exact texts, what is best, what it says of errors."""

import csv
import json

import pytest

from jfl.cli import main
from jfl.report import tables
from jfl.report.compare import table_file
from jfl.report.compare.comparison import Row, Spread
from jfl.report.compare.results import Result
from jfl.report.compare.sheet import Sheet
from jfl.report.compare.shown_cells import shown_cells
from tests.report.run_folders import evaluated, run

CAPTION = (
    "Round: last. Mean ± sample standard deviation over seeds; the best of each column is bold. "
    "All rows: clients 20, data digits."
)
MARKDOWN = f"""\
| algorithm | a_b | seeds | accuracy (%) | NLL |
| --- | --- | --: | --: | --: |
| fedfomo | 0.1 | 1 | 75.00 | **0.2500** |
| my_fed\\|avg&co | 50% | 2 | **81.25 ± 1.77** | 0.5000 ± 0.1414 |

*{CAPTION}*
"""
LATEX = r"""% jfl table; needs \usepackage{booktabs}
\begin{table}
\centering
\caption{Round: last. Mean $\pm$ sample standard deviation over seeds; the best of each column is bold. All rows: clients 20, data digits.}
\label{tab:one}
\begin{tabular}{llrrr}
\toprule
algorithm & a\_b & seeds & accuracy (\%) & NLL \\
\midrule
fedfomo & 0.1 & 1 & 75.00 & \textbf{0.2500} \\
my\_fed\textbar{}avg\&co & 50\% & 2 & \textbf{81.25 $\pm$ 1.77} & 0.5000 $\pm$ 0.1414 \\
\bottomrule
\end{tabular}
\end{table}
"""  # noqa: E501
CSV = """\
algorithm.name,train.a_b,round,seeds,test_accuracy,test_accuracy_std,nll,nll_std
fedfomo,0.1,last,1,0.75,,0.25,
my_fed|avg&co,50%,last,2,0.8125,0.01767767,0.5,0.14142136
"""
COLUMNS = ["test_accuracy", "nll"]


def result(name, setting, seed, accuracy, nll) -> Result:
    settings = {"clients": 20, "data.name": "digits"}
    settings |= {"algorithm.name": name, "train.a_b": setting, "seed": seed}
    return Result("r", seed, settings, "base", 4, {"test_accuracy": accuracy, "nll": nll})


RESULTS = [
    result("my_fed|avg&co", "50%", 0, 0.8, 0.4),
    result("my_fed|avg&co", "50%", 1, 0.825, 0.6),
    result("fedfomo", 0.1, 3, 0.75, 0.25),
]


@pytest.mark.parametrize(("form", "text"), [("markdown", MARKDOWN), ("csv", CSV), ("latex", LATEX)])
def test_the_text_of_a_small_table(form, text):
    label = "tab:one" if form == "latex" else None

    assert table_file.text(Sheet(RESULTS, COLUMNS, "last"), form, label) == text


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


def test_what_a_round_takes_is_a_column_where_it_is_asked_for(tmp_path, capsys):
    folders = [run(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    for seconds, folder in zip((1.5, 2.5), folders, strict=True):
        path = folder / "result.json"
        content = json.loads(path.read_text()) if path.is_file() else {"rounds": 4}
        path.write_text(json.dumps(content | {"seconds_per_round": seconds}))
    asked = ("--columns", "test_accuracy,seconds_per_round", "--format", "markdown")
    shown = said(capsys, "table", tmp_path, *asked)
    assert "| seconds a round |" in shown
    assert "2.0000 ± 0.7071" in shown
    assert "**2.0000" not in shown
    assert "seconds a round" not in said(capsys, "table", tmp_path, "--format", "markdown")


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


def test_a_table_with_auc_says_which_it_is(tmp_path, capsys):
    folder = evaluated(run(tmp_path / "r"), {"base": {"auc": 0.91, "auc_logits": 0.875}})
    note = "AUC: micro one-vs-rest, mean over clients weighted by samples."
    for words in ([], ["--format", "latex"], ["--format", "markdown"], ["--json"]):
        plain = said(capsys, "table", folder, *words)
        assert note not in " ".join(plain.split())
        shown = said(capsys, "table", folder, "--columns", "auc,auc_logits", *words)
        assert " ".join(shown.split()).count(note) == 1
    lines = said(capsys, "table", folder, "--columns", "auc,auc_logits", "--format", "markdown")
    assert "| AUC | AUC of logits |" in lines
    assert "0.9100" in lines
    assert "0.8750" in lines


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
        (["r", "--across", "momentum"], "no run has a setting momentum"),
        (["r", "--label", "tab:a"], "--label is for LaTeX, not for terminal"),
        (["r", "--label", "tab:a}%", "--format", "latex"], "should be letters, digits and"),
        (["r", "--label", "a", "--add-to", "t.tex"], "one that is added to keeps its own"),
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


def row(name, setting, seeds, accuracy, nll) -> Row:
    values = {"test_accuracy": accuracy, "nll": nll}
    return Row({"algorithm.name": name, "train.a_b": setting}, seeds, values)


ROWS = [
    row("my_fed|avg&co", "50%", [0, 1], Spread(0.8125, 0.025, 2), Spread(0.5, 0.01, 2)),
    row("fedfomo", 0.1, [3], Spread(0.75, None, 1), Spread(0.25, None, 1)),
]


def test_a_value_over_fewer_seeds_says_so():
    short = row("fedavg", 1, [0, 1, 2], Spread(0.5, 0.1, 2), Spread(0.5, None, 1))
    made = shown_cells([short, ROWS[1]], COLUMNS, "last")

    assert made.rows[0][3:] == ["50.00 ± 10.00 (of 2)", "0.5000 (of 1)"]
    assert made.best[1][3:] == [True, True]


def test_values_that_look_alike_are_all_best_and_one_row_has_none():
    alike = [
        row("a", 1, [0], Spread(0.50001, None, 1), Spread(0.5, None, 1)),
        row("b", 1, [0], Spread(0.50002, None, 1), Spread(0.4, None, 1)),
    ]

    assert [best[3:] for best in shown_cells(alike, COLUMNS, "last").best] == [
        [True, False],
        [True, True],
    ]
    assert not any(shown_cells(alike[:1], COLUMNS, "last").best[0])


def test_a_narrow_terminal_puts_deviations_below():
    made = shown_cells(ROWS, COLUMNS, "last")
    _, wide, _ = tables.cells_table("t", made, 200).renderables
    _, narrow, _ = tables.cells_table("t", made, 40).renderables

    assert str(next(iter(wide.columns[3].cells))) == "81.25 ± 2.50"
    assert str(next(iter(narrow.columns[3].cells))) == "81.25\n±2.50"

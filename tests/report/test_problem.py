"""The best stands out among results of the same problem only: in tables, on pages, everywhere."""

import json
import re

import numpy as np
import pytest

from jfl.errors import UsageError
from jfl.report.compare import gathered, latex_table, problem, results
from jfl.report.compare.sheet import Sheet
from jfl.report.pages import publish
from tests.report import test_page as hand_made
from tests.report.run_folders import BASE, evaluated, measured, run
from tests.report.test_result_tables import error, said

SETTINGS = {
    "seed": 0,
    "rounds": 4,
    "clients": 20,
    "participation": 1.0,
    "data.name": "npz",
    "data.dir": "/a",
    "data.limit": None,
    "data.augment": "[]",
    "partition.name": "dirichlet",
    "partition.alpha": 0.1,
    "train.learning_rate": 0.1,
    "algorithm.name": "fedavg",
}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"clients": 10}, False),
        ({"participation": 0.5}, False),
        ({"data.name": "cifar10"}, False),
        ({"data.limit": 100}, False),
        ({"data.sha256": "12345678"}, False),
        ({"partition.name": "iid"}, False),
        ({"partition.alpha": 1.0}, False),
        ({"partition.valid_fraction": 0.2}, False),
        ({"data.embedded": True}, False),
        ({"algorithm.name": "fedfomo"}, True),
        ({"train.learning_rate": 0.2, "model.name": "mlp"}, True),
        ({"name": "other", "plan.loop": "map"}, True),
        ({"seed": 1}, False),
        ({"data.dir": "/b", "data.cache_dir": "/c"}, True),
        ({"data.augment": '["crop"]'}, True),
        ({"data.image_size": None}, True),  # as of a jfl that did not know it yet
    ],
)
def test_what_makes_another_problem(change, same):
    assert (problem.same(SETTINGS) == problem.same(SETTINGS | change)) == same
    assert (problem.differing([SETTINGS, SETTINGS | change]) == []) == same


def test_the_best_of_each_problem():
    values, of = [0.5, 0.7, 0.7, 0.9, None, 0.1], ["a", "a", "a", "b", "b", "c"]

    assert problem.best(values, of, lambda value: value) == [False, True, True, *[False] * 3]
    assert problem.best(values, of, lambda value: -value) == [True, *[False] * 5]
    assert problem.best(values, of, None) == [False] * 6


def test_the_rule_in_words():
    keys = ["data.name", "data.limit", "partition.name", "partition.alpha", "seed"]

    assert problem.rule([], "column") == "the best of each column"
    for differs, words in ((keys[3:4], "alpha"), (keys[3:], "alpha and seed"),
                           (keys, "data, partition and seed")):  # fmt: skip
        assert problem.rule(differs, "metric") == (
            f"the best of each metric among results of equal {words}"
        )


def sheet(folders, columns=("test_accuracy",), **more) -> Sheet:
    runs, _ = gathered.gather(folders)
    return Sheet([r for item in runs for r in item.results("last")], [*columns], "last", **more)


def bold(grid) -> list[str]:
    pairs = zip(grid.rows, grid.best, strict=True)
    return [cell for line in pairs for cell, best in zip(*line, strict=True) if best]


@pytest.fixture
def folders(tmp_path):
    """Two algorithms under two alphas: the worse of the easy one is better than the hard one's."""
    values = {("fedavg", 0.1): 0.3, ("fedfomo", 0.1): 0.4, ("fedavg", 1.0): 0.8}
    values[("fedfomo", 1.0)] = 0.7
    return [
        run(tmp_path / f"{name}-{alpha}", alpha=alpha, algorithm=name, accuracy=accuracy)
        for (name, alpha), accuracy in values.items()
    ]


def test_alphas_below_one_another(folders):
    grid = sheet(folders).grid("markdown")

    assert bold(grid) == ["80.00", "40.00"]
    assert "the best of each column among results of equal alpha is bold" in grid.caption


def test_rows_of_single_seeds_compare_within_a_seed(tmp_path):
    values = {("fedavg", 0): 0.5, ("fedfomo", 0): 0.6, ("fedavg", 1): 0.8, ("fedfomo", 1): 0.7}
    runs = [
        run(tmp_path / f"{name}-{seed}", algorithm=name, seed=seed, accuracy=accuracy)
        for (name, seed), accuracy in values.items()
    ]

    assert bold(sheet(runs, by=["algorithm.name", "seed"]).grid("latex")) == ["80.00", "60.00"]
    assert bold(sheet(runs).grid("latex")) == ["65.00 ± 21.21", "65.00 ± 7.07"]


def test_alphas_side_by_side(folders):
    grid = sheet(folders, across="partition.alpha").grid("markdown")

    assert grid.header == ["algorithm", "seeds", "alpha 0.1", "alpha 1.0"]
    assert grid.rows == [["fedavg", "1", "30.00", "80.00"], ["fedfomo", "1", "40.00", "70.00"]]
    assert grid.best == [[False, False, False, True], [False, False, True, False]]
    assert grid.caption.startswith("accuracy (%). Round: last.")
    two = sheet(folders, ["test_accuracy", "nll"], across="partition.alpha").grid("markdown")
    assert two.header[2:] == [
        *("accuracy (%), alpha 0.1", "accuracy (%), alpha 1.0", "NLL, alpha 0.1", "NLL, alpha 1.0"),
    ]
    assert bold(two) == ["80.00", "0.2000", "40.00", "0.6000"]
    latex = latex_table.body(two)
    assert latex[2:6] == [
        r" &  & \multicolumn{2}{c}{accuracy (\%)} & \multicolumn{2}{c}{NLL} \\",
        r"\cmidrule(lr){3-4} \cmidrule(lr){5-6}",
        r"algorithm & seeds & alpha 0.1 & alpha 1.0 & alpha 0.1 & alpha 1.0 \\",
        r"\midrule",
    ]


def test_methods_side_by_side_are_compared_along_the_line(tmp_path):
    for alpha, ece in ((0.1, 0.3), (1.0, 0.01)):
        methods = {"base": {"ece": ece}, "aph": {"ece": ece / 2}}
        evaluated(run(tmp_path / str(alpha), alpha=alpha), methods)
    grid = sheet([tmp_path / "0.1", tmp_path / "1.0"], ["ece"], across="method").grid("latex")

    assert grid.header == ["algorithm", "alpha", "seeds", "base", "aph"]
    assert bold(grid) == ["15.00", "0.50"]


def test_a_place_without_a_run_and_seeds_that_are_fewer(folders, tmp_path):
    more = run(tmp_path / "more", alpha=0.1, algorithm="fedavg", seed=1, accuracy=0.5)
    made = sheet([*folders[:3], more], across="partition.alpha")

    assert made.grid("markdown").rows == [
        ["fedavg", "2", "40.00 ± 14.14", "80.00 (of 1)"],
        ["fedfomo", "1", "40.00", "-"],
    ]
    numbers = made.grid("csv")
    assert numbers.header[3:] == [
        "test_accuracy[alpha 0.1]", "test_accuracy_std[alpha 0.1]", "test_accuracy[alpha 1.0]",
        "test_accuracy_std[alpha 1.0]", "test_accuracy_n[alpha 1.0]",
    ]  # fmt: skip
    assert numbers.rows[0][-1] == "1"
    assert numbers.rows[1][-3:] == ["", "", "0"]


@pytest.mark.parametrize("form", ["latex", "markdown", "csv", "terminal"])
def test_the_command_puts_a_setting_across(folders, capsys, form):
    words = ("table", *folders, "--across", "alpha", "--columns", "test_accuracy")
    shown = said(capsys, *words, "--format", form)

    line = next(line for line in shown.splitlines() if line.startswith(("fedavg", "| fedavg")))
    numbers = [float(word) for word in re.findall(r"\d+\.\d+", line)]
    assert numbers == ([0.3, 0.8] if form == "csv" else [30.0, 80.0])
    answer = json.loads(said(capsys, *words, "--json").splitlines()[-1])
    assert answer["across"] == "partition.alpha"
    assert answer["common"]["participation"] == 0.5
    assert len(answer["rows"]) == 4


def test_own_data_of_one_name_are_told_apart_by_what_they_hold(tmp_path):
    folders = []
    for seed, (place, sha256) in enumerate([("/a", "1" * 64), ("/b", "1" * 64), ("/c", "2" * 64)]):
        data = BASE["data"] | {"name": "npz", "dir": place}
        folders.append(run(tmp_path / str(seed), seed=seed, data=data, accuracy=0.5 + seed / 10))
        (folders[-1] / "environment.json").write_text(json.dumps({"data": {"sha256": sha256}}))
    grid = sheet(folders).grid("markdown")

    assert grid.header[:3] == ["algorithm", "sha256", "seeds"]
    assert [line[1:3] for line in grid.rows] == [["11111111", "2"], ["22222222", "1"]]
    assert bold(grid) == []


def test_rounds_are_those_done(tmp_path):
    # one went on after its config was lowered, one was stopped: their mean says nothing
    short = [measured(2, 0.3)]
    folders = [run(tmp_path / "a", seed=0), run(tmp_path / "b", seed=1, rounds=2)]
    folders.append(run(tmp_path / "c", seed=2, records=short, state="interrupted"))
    runs, _ = gathered.gather(folders, unfinished=True)
    found = Sheet([r for item in runs for r in item.results("last")], ["test_accuracy"], "last")

    assert [(row.names["rounds"], row.seeds) for row in found.rows] == [(2, [2]), (4, [0, 1])]
    with pytest.raises(UsageError, match="differ in rounds"):
        _ = Sheet(found.results, found.columns, "last", by=["algorithm.name"]).rows


def test_a_seed_never_counts_twice(tmp_path, capsys):
    run(tmp_path / "o" / "old")
    run(tmp_path / "o" / "new", train={"new_setting": 1})

    sentence = "have the same seed 0 and differ in no setting that both have"
    assert sentence in error(capsys, "table", tmp_path / "o")
    assert sentence in error(capsys, "plot", "curves", tmp_path / "o", "--out", tmp_path / "c.png")


def test_settings_that_are_lists_can_be_chosen(tmp_path, capsys):
    for number, augment in enumerate((["crop", "flip"], [])):
        data = BASE["data"] | {"augment": augment}
        run(tmp_path / str(number), data=data, accuracy=0.5 + number / 4)
    where = ("table", tmp_path, "--columns", "test_accuracy", "--where")

    assert "50.00" in said(capsys, *where, "augment=[crop, flip]", "--format", "markdown")
    assert "75.00" in said(capsys, *where, "augment=[]", "--format", "markdown")


def test_values_of_foreign_configs_and_results_are_shown_or_left_out(tmp_path, capsys):
    text = '"a\\n\\e[31m%\\ud800 \\u202e"'
    for number, value in enumerate((text, "0x" + "f" * 300, ".nan", "[!!binary aGk=]", "1")):
        folder = run(tmp_path / str(number), accuracy=0.5)
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(f"{config}odd: {value}\n")
    with (tmp_path / "4" / "journal.jsonl").open("a") as journal:
        journal.write(json.dumps({"round": 5, "test_accuracy": 1e300, "test_nll": 1e308}) + "\n")
    for form in ("terminal", "latex", "csv", "markdown"):
        shown = said(capsys, "table", tmp_path, "--format", form)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    for ending in ("md", "tex", "csv"):
        path = tmp_path / f"t.{ending}"
        said(capsys, "table", tmp_path, "--out", path)
        assert "rows added: 0" in said(capsys, "table", tmp_path, "--add-to", path)


def test_a_table_without_metrics_is_none(tmp_path, capsys):
    folder = run(tmp_path / "r", records=[{"round": 4, "test_accuracy": None, "test_mce": 0.5}])

    assert "choose with --columns; there are: mce" in error(capsys, "table", folder)
    assert "50.00" in said(capsys, "table", folder, "--columns", "mce,mce", "--by", "alpha,alpha")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page of two algorithms under two alphas with two seeds each."""
    monkeypatch.setattr("jfl.federated.pages.view.FederatedView.refresh", lambda *_: None)
    monkeypatch.setattr("jfl.report.pictures.line_pictures.runs_picture", lambda *_, **__: None)
    values = {("fedavg", 0.1): 0.3, ("fedfomo", 0.1): 0.4, ("fedavg", 1.0): 0.8}
    values[("fedfomo", 1.0)] = 0.7
    runs = []
    for (name, alpha), accuracy in values.items():
        for seed in range(2):
            folder = tmp_path / f"{name}-{alpha}-{seed}"
            folder.mkdir()
            record = hand_made.evaluation([0.5, 0.75]) | {"test_accuracy": accuracy + seed / 100}
            settings = {"partition": {"name": "dirichlet", "alpha": alpha}, "seed": seed}
            algorithm = {"name": name} | ({"m": 3} if name == "fedfomo" else {})
            hand_made.make(folder, [record], algorithm=algorithm, **settings)
            hand_made.partition(folder, np.array([[10, 0, 20], [0, 5, 2]]))
            runs.append(folder)
    publish.publish(runs, tmp_path / "page.md", "markdown")
    return (tmp_path / "page.md").read_text()


def test_a_page_compares_runs_of_one_problem_and_seed(page):
    results = hand_made.section(page, "Results").split("Over seeds")

    found = [re.findall(r"\*\*(\d\d\.\d\d) %.*?\*\*", part) for part in results]
    assert [value for value in found[0] if value not in ("62.50", "50.00")] == [
        *("40.00", "41.00", "80.00", "81.00"),
    ]
    assert [value for value in found[1] if value not in ("62.50", "50.00")] == ["40.50", "80.50"]
    assert "among results of equal alpha and seed stands out" in results[0]
    assert "among results of equal alpha stands out" in results[1]


def test_a_page_takes_no_mean_over_different_settings(tmp_path, monkeypatch):
    monkeypatch.setattr("jfl.federated.pages.view.FederatedView.refresh", lambda *_: None)
    monkeypatch.setattr("jfl.report.pictures.line_pictures.runs_picture", lambda *_, **__: None)
    runs = []
    # settings of one algorithm or partition only
    for number, algorithm in enumerate(
        [{"name": "fedavg"}, {"name": "fedfomo", "m": 3}, {"name": "fedfomo", "m": 5}]
    ):
        for seed in (0, 1):
            folder = tmp_path / f"{number}-{seed}"
            folder.mkdir()
            accuracy = 0.5 + number / 10
            record = hand_made.evaluation([0.5, 0.75]) | {"test_accuracy": accuracy}
            hand_made.make(folder, [record], algorithm=algorithm, seed=seed)
            runs.append(folder)
    again = tmp_path / "again"
    again.mkdir()
    hand_made.make(again, [hand_made.evaluation([0.5]) | {"test_accuracy": 0.9}], seed=1,
                   algorithm={"name": "fedavg"})  # fmt: skip
    publish.publish([*runs, again], tmp_path / "page.md", "markdown")
    text = hand_made.section((tmp_path / "page.md").read_text(), "Results").split("Over seeds")[1]

    lines = [line.replace("*", "").split(" | ") for line in text.splitlines() if "fed" in line]
    assert [(line[0].strip("| "), line[1]) for line in lines] == [
        ("fedavg", "70.00 % +- 28.28 %"),  # of seeds 0 and 1; of the latter the last counts
        ("fedfomo, m 3", "60.00 % +- 0.00 %"),
        ("fedfomo, m 5", "70.00 % +- 0.00 %"),
    ]


def test_settings_of_old_runs_are_read_as_they_are():
    found = results.settings({"a": {"b": [1, "x"]}, "c": None, "d": True}, {})

    assert found == {"a.b": '[1, "x"]', "c": None, "d": True}

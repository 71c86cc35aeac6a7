"""What runs came to, from folders written by hand; means and deviations are computed here."""

import json
import math
import os

import pytest

from jfl.errors import JflError, UsageError
from jfl.report.compare import cells, comparison, gathered, groups, measures, results
from jfl.report.compare.comparison import Spread
from tests.report.run_folders import evaluated, measured, run


def rows(folders, columns=("test_accuracy",), by=(), which="last", **chosen):
    runs, _ = gathered.gather(folders, **chosen)
    found = [result for item in runs for result in item.results(which)]
    columns = comparison.columns_of(found, columns)
    keys = [groups.full_key(word, found) for word in by]
    return comparison.rows(found, comparison.keys_of(found, keys), columns)


def test_runs_that_differ_in_seed_and_name_are_one_row(tmp_path):
    accuracy = [0.5, 0.6, 0.8]
    folders = [run(tmp_path / f"r{n}", seed=n, accuracy=a) for n, a in enumerate(accuracy)]
    (row,) = rows(folders, ["test_accuracy", "nll"])

    mean = (0.5 + 0.6 + 0.8) / 3
    std = math.sqrt(((0.5 - mean) ** 2 + (0.6 - mean) ** 2 + (0.8 - mean) ** 2) / 2)
    assert row.names == {"algorithm.name": "fedavg"}
    assert row.seeds == [0, 1, 2]
    assert row.values["test_accuracy"].mean == pytest.approx(mean)
    assert row.values["test_accuracy"].std == pytest.approx(std)
    assert row.values["nll"].mean == pytest.approx(1 - mean)
    assert row.values["nll"].count == 3


def test_one_seed_has_no_deviation(tmp_path):
    (row,) = rows([run(tmp_path / "r", accuracy=0.5)])

    assert row.values == {"test_accuracy": Spread(0.5, None, 1)}


def test_rows_are_named_by_the_algorithm_and_what_differs(tmp_path):
    fomo = {"name": "fedfomo", "num_candidates": 3}
    folders = [
        run(tmp_path / "a", alpha=1.0),
        run(tmp_path / "b", alpha=0.1, plan={"loop": "map"}, data={"name": "digits", "dir": "/x"}),
        run(tmp_path / "c", alpha=0.1, algorithm=fomo),
        run(tmp_path / "d", alpha=0.1, algorithm=fomo | {"num_candidates": 10}),
        run(tmp_path / "e", alpha=0.1, algorithm=fomo | {"num_candidates": 10}, seed=1),
    ]
    named = [(*row.names.values(), row.seeds) for row in rows(folders)]

    assert list(rows(folders)[0].names) == [
        *("algorithm.name", "partition.alpha", "algorithm.num_candidates"),
    ]
    assert named == [
        ("fedavg", 0.1, None, [0]),
        ("fedavg", 1.0, None, [0]),
        ("fedfomo", 0.1, 3, [0]),
        ("fedfomo", 0.1, 10, [0, 1]),
    ]


def test_a_mean_over_different_experiments_is_refused(tmp_path):
    folders = [run(tmp_path / "a", alpha=1.0), run(tmp_path / "b", alpha=0.1, seed=1)]

    with pytest.raises(UsageError, match=r"algorithm\.name=fedavg differ in partition\.alpha"):
        rows(folders, by=["algorithm"])


def test_methods_are_rows_of_their_own(tmp_path):
    folders = []
    for seed, (base, aph) in enumerate([(0.2, 0.04), (0.4, 0.08)]):
        folder = run(tmp_path / str(seed), seed=seed)
        methods = {"base": {"ece": base}, "temperature": {"ece": base / 2}, "aph": {"ece": aph}}
        folders.append(evaluated(folder, methods))
    found = {row.names["method"]: row.values["ece"] for row in rows(folders, ["ece"])}

    assert list(found) == ["base", "temperature", "aph"]
    assert found["base"].mean == pytest.approx(0.3)
    assert found["base"].std == pytest.approx(0.1 * math.sqrt(2))
    assert found["temperature"].mean == pytest.approx(0.15)
    assert found["aph"].mean == pytest.approx(0.06)


def test_a_metric_some_seeds_lack_says_over_how_many_it_is(tmp_path):
    evaluated(run(tmp_path / "a"), {"base": {"ood_auroc": 0.75}}, ood={"name": "noise"})
    folders = [tmp_path / "a", run(tmp_path / "b", seed=1)]
    (row,) = rows(folders, ["test_accuracy", "ood_auroc"])

    assert row.values["ood_auroc[noise]"] == Spread(0.75, None, 1)
    assert row.values["test_accuracy"].count == 2


def test_samples_out_of_distribution_have_columns_of_their_own(tmp_path):
    for seed, name in enumerate(["noise", "unseen"]):
        folder = run(tmp_path / name, seed=seed)
        evaluated(folder, {"base": {"ood_auroc": 0.5 + seed / 4}}, ood={"name": name})
    both = {"ood_auroc[noise]": 0.6, "ood_auroc[unseen]": 0.9, "ood_auroc": 0.9}
    evaluated(run(tmp_path / "both", seed=2), {"base": both}, ood={"name": "unseen"})
    folders = [tmp_path / name for name in ("noise", "unseen", "both")]
    (row,) = rows(folders, ["ood_auroc"])

    assert list(row.values) == ["ood_auroc[noise]", "ood_auroc[unseen]"]
    assert row.values["ood_auroc[noise]"].mean == pytest.approx((0.5 + 0.6) / 2)
    assert row.values["ood_auroc[unseen]"].mean == pytest.approx((0.75 + 0.9) / 2)
    with pytest.raises(UsageError, match=r"may be ood_auroc\[noise\] or ood_auroc\[unseen\]"):
        measures.require("ood_auroc", row.values)
    assert measures.measure("ood_auroc[noise]").heading == "OOD AUROC (noise)"
    assert measures.measure("ood_auroc_entropy[noise]").alone == "AUROC by entropy (noise)"
    short = cells.plain_rows([row], ["ood_auroc[noise]"])[0]
    assert short["ood_auroc"] == short["ood_auroc[noise]"]


@pytest.mark.parametrize(("which", "number"), [("last", 4), ("best", 2), ("best-test", 3)])
def test_the_rounds_that_can_be_asked_for(tmp_path, which, number):
    records = [
        measured(1, 0.1, valid_accuracy=0.5),
        measured(2, 0.2, valid_accuracy=0.9),
        measured(3, 0.8, valid_accuracy=0.9),  # a tie: the earlier counts
        measured(4, 0.4, valid_accuracy=0.7),
    ]
    found = results.read(run(tmp_path / "r", records=records)).results(which)

    assert [result.round for result in found] == [number]


def test_best_needs_validation_data(tmp_path):
    folder = run(tmp_path / "r", records=[measured(4, 0.5)])

    with pytest.raises(UsageError, match="no valid_accuracy in any round"):
        results.read(folder).results("best")


def test_heads_of_another_round_are_not_shown_as_of_this_one(tmp_path):
    folder = evaluated(run(tmp_path / "r"), {"base": {}, "aph": {"ece": 0.1}})

    assert len(results.read(folder).results("last")) == 2
    assert [r.method for r in results.read(folder).results("best")] == ["base"]


def test_a_run_without_its_journal_is_told_by_its_result(tmp_path):
    folder = run(tmp_path / "r", records=[])
    (folder / "result.json").write_text(json.dumps({"rounds": 4, "test_accuracy": 0.7, "nll": 1}))
    (found,) = results.read(folder).results("last")

    assert (found.round, found.metrics) == (4, {"test_accuracy": 0.7, "nll": 1.0})


def test_unfinished_empty_and_repeated_runs_are_named(tmp_path):
    short = run(tmp_path / "short", records=[measured(2, 0.3)], state="interrupted", seed=1)
    empty = run(tmp_path / "empty", records=[{"round": 4}], seed=2)
    old = run(tmp_path / "old", accuracy=0.1)
    os.utime(old / "config.yaml", (1, 1))
    new = run(tmp_path / "new", accuracy=0.2)
    runs, notes = gathered.gather([short, empty, new, old])

    assert [item.folder for item in runs] == [new]
    assert notes == [
        f"left out, not finished (round 2 of 4; --unfinished takes it): {short}",
        f"left out, nothing was measured yet: {empty}",
        f"left out, {new} repeats it: {old}",
    ]
    runs, _ = gathered.gather([short, new], unfinished=True)
    assert [item.folder for item in runs] == [short, new]
    with pytest.raises(UsageError, match="no run is left to show; left out, not finished"):
        gathered.gather([short])


def test_where_chooses_runs(tmp_path):
    folders = [run(tmp_path / str(a), alpha=a) for a in (0.1, 1.0)]
    runs, _ = gathered.gather(folders, where=["alpha=0.1", "algorithm=fedavg"])

    assert [item.folder for item in runs] == [folders[0]]
    for word, error in (
        ("alpha=0.3", r"no run has partition\.alpha=0\.3; there are: 0\.1, 1\.0"),
        ("alpah=0.1", r"no run has a setting alpah \(did you mean alpha\?\)"),
        ("alpha", "is not key=value"),
    ):
        with pytest.raises(UsageError, match=error):
            gathered.gather(folders, where=[word])


def test_a_short_name_of_several_settings_is_asked_back(tmp_path):
    found = [results.read(run(tmp_path / "r", model={"alpha": 3}))]

    assert groups.full_key("algorithm", found) == "algorithm.name"
    with pytest.raises(UsageError, match=r"alpha may be partition\.alpha or model\.alpha"):
        groups.full_key("alpha", found)


def test_unknown_metrics_and_methods(tmp_path):
    found = results.read(run(tmp_path / "r")).results("last")

    with pytest.raises(UsageError, match=r"acuracy is not a metric"):
        comparison.columns_of(found, ["acuracy"])
    with pytest.raises(UsageError, match="none of these runs has ood_auroc"):
        comparison.columns_of(found, ["ood_auroc"])
    with pytest.raises(UsageError, match="no run has results of aph; there are: base"):
        comparison.only(found, ["aph"])


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("config.yaml", "[1, 2]", "is not a run of jfl: its config.yaml has no seed"),
        ("config.yaml", "{seed: 1, rounds: 2}", "has no algorithm.name"),
        ("config.yaml", "{seed: [", "is not valid yaml"),
        ("result.json", "{torn", "result.json is damaged: it is no whole JSON"),
        ("result.json", "[]", "result.json is damaged: it holds a list, not an object"),
        ("evaluations/4.json", "{torn", "4.json is damaged: it is no whole JSON"),
        ("evaluations/4.json", '{"round": 3, "test_accuracy": 1}', "not what `jfl eval` keeps"),
        ("evaluations/4.json", '{"epoch": 4}', "4.json is damaged: round is missing"),
        (
            "evaluations/4.json",
            '{"round": 4, "test_accuracy": 1, "heads": {"aph": 3}}',
            r"heads\.aph should be",
        ),
    ],
)
def test_malformed_and_foreign_folders_are_named(tmp_path, name, content, error):
    folder = run(tmp_path / "r")
    (folder / "evaluations").mkdir()
    (folder / name).write_text(content)

    with pytest.raises(JflError, match=error) as raised:
        results.read(folder)
    assert str(folder) in str(raised.value)


def test_an_evaluation_of_other_models_is_refused(tmp_path):
    folder = evaluated(run(tmp_path / "r"), {"base": {}}, params_sha256="a")
    (folder / "result.json").write_text(json.dumps({"rounds": 4, "params_sha256": "b"}))

    with pytest.raises(UsageError, match="of other models than the run ended with"):
        results.read(folder)


def test_what_is_no_number_is_no_result(tmp_path):
    strange = measured(4, 0.5, test_brier=None, test_mce=True, auc="0.1", test_of=3)
    (found,) = results.read(run(tmp_path / "r", records=[strange])).results("last")

    assert set(found.metrics) == {"test_accuracy", "nll", "ece", "train_loss"}


def test_the_accuracy_of_any_other_model_is_a_metric() -> None:
    assert measures.measure("test_accuracy_of_global").label == "accuracy of global"


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("test_accuracy", 0.9, 0.8),
        ("auc", 0.9, 0.8),
        ("ood_auroc", 0.9, 0.8),
        ("ece", 0.1, 0.2),
        ("nll", 0.1, 0.2),
        ("ood_fpr95", 0.1, 0.2),
        ("signed_gap", -0.1, 0.2),
        ("signed_gap", 0.1, -0.2),
    ],
)
def test_which_way_is_better(name, better, worse):
    judge = measures.measure(name).better

    assert judge
    assert judge(better) > judge(worse)

"""The page of run folders written here, with numbers a person can check."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from jfl.config import parse_yaml
from jfl.federated.pages import owners
from jfl.report.pages import page
from jfl.runs.journal import Journal

CONFIG = {
    "name": "hand_made",
    "seed": 3,
    "rounds": 4,
    "clients": 2,
    "data": {"name": "tiny_imagenet", "embedded": False, "dir": None},
    "algorithm": {"name": "fedfomo", "epsilon": 1e-05},
}
ENVIRONMENT = {
    "python": "3.11.7",
    "platform": "Linux",
    "versions": {"jax": "0.10.2"},
    "devices": ["cpu", "cpu"],
    "git": "abc123",
    "parameters": 15010,
    "data": {
        "title": "Tiny|ImageNet",
        "licence": "none",
        "source": "somewhere",
        "sha256": "f00d",
        "train_samples": 1200,
    },
}


def evaluation(accuracy: list[float], **more) -> dict:
    known = np.array(accuracy)[~np.isnan(accuracy)]
    return {
        "test_accuracy": 0.9,
        "test_accuracy_mean": known.mean(),
        "test_accuracy_worst10": known.min(),
        "test_nll": 0.25,
        "test_brier": 0.125,
        "test_ece": 0.0625,
        "test_f_ece": 0.03125,
        "test_accuracy_per_client": np.array(accuracy),
        "test_nll_per_client": np.full(len(accuracy), 0.5),
        "test_ece_per_client": np.full(len(accuracy), 0.02),
        **more,
    }


def make(folder: Path, records: list[dict], **config) -> Journal:
    """Writes a run folder; the records are those of rounds 1, 2, ..."""
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | config, sort_keys=False))
    (folder / "environment.json").write_text(json.dumps(ENVIRONMENT))
    journal = Journal(folder)
    for number, record in enumerate(records, 1):
        journal.write(number, {"rejected": []} | record)
        costs = {"bytes_down": 2000, "bytes_up": 1500, "padding": 0.25, "samples": 300}
        seconds = 10.0 if number == 1 else float(number)
        times = {"seconds": seconds, "train_seconds": seconds / 2, "peak_rss_mb": 500 + number}
        journal.time(number, costs | times)
    return journal


def partition(folder: Path, counts: np.ndarray) -> None:
    sizes = counts.sum(axis=1)
    parts = {"train": sizes // 2, "valid": sizes * 0, "test": sizes - sizes // 2}
    owners.write(folder, counts, {name: part.tolist() for name, part in parts.items()})


def written(folder: Path) -> str:
    page.write(folder)
    return (folder / "report.md").read_text()


def section(text: str, name: str) -> str:
    return text.split(f"\n## {name}\n")[1].split("\n## ", maxsplit=1)[0]


def test_a_finished_run(tmp_path):
    records = [{}, evaluation([0.5, 0.75], valid_accuracy=0.8)]
    records += [{"rejected": [1]}, evaluation([0.875, 0.75], valid_accuracy=0.7)]
    make(tmp_path, records)
    partition(tmp_path, np.array([[10, 0, 20], [0, 5, 2]]))
    text = written(tmp_path)

    assert text.startswith(
        "# Tiny\\|ImageNet, 2 clients, fedfomo, seed 3\n\n"
        "fedfomo reached **90.00 %** of all test samples after 4 of 4 rounds: 81.25 % in the mean "
        "over clients, 75.00 % in their worst tenth.\n"
    )
    results = section(text, "Results")
    for row in (
        "| clients' own test data, round 4 | value |",
        "| accuracy, mean over clients | 81.25 % |",
        "| negative log-likelihood (nats) | 0.2500 |",
        "| Brier score (0 to 2) | 0.1250 |",
        "| calibration error (ECE, 15 bins) | 6.25 % |",
        "| calibration error, mean over clients (F-ECE) | 3.12 % |",
    ):
        assert f"\n{row}\n" in results
    assert "The best validation accuracy was that of round 2 (80.00 %); on clients' own" in results
    assert "test data accuracy was 90.00 % there." in results
    clients = section(text, "Clients")
    assert "| client | train samples | test samples | accuracy | NLL | ECE |" in clients
    assert "| 0 | 15 | 15 | 87.50 % | 0.5000 | 2.00 % |" in clients
    assert "| 1 | 3 | 4 | 75.00 % | 0.5000 | 2.00 % |" in clients
    rejected = section(text, "Rejected clients")
    assert "client 1 (1 x)." in rejected
    assert "| 3 | 1 |" in rejected
    assert "Who helps whom" not in text
    assert {p.name for p in tmp_path.glob("*.png")} == {
        *("curves.png", "clients.png", "partition.png", "partition_bars.png"),
    }
    for picture in tmp_path.glob("*.png"):
        assert text.count(f"]({picture.name})") == 1


def test_costs_data_settings_and_machine(tmp_path):
    make(tmp_path, [{}, {}, {}, {}])
    text = written(tmp_path)

    costs = section(text, "Costs")
    for row in (
        "| rounds timed | 4 |",
        "| all rounds | 19.00 s |",
        "| first round, which compiles | 10.00 s |",
        "| a later round, median | 3.00 s |",
        "| of it training, median | 1.50 s |",
        "| training samples a second | 200 |",  # 3 * 300 in (2 + 3 + 4) / 2 seconds
        "| sent to clients | 8.0 kB (2.0 kB a round) |",
        "| sent by clients | 6.0 kB (1.5 kB a round) |",
        "| padding, share of the steps computed | 25.00 % |",
        "| peak memory of the process | 504 MiB |",
    ):
        assert f"\n{row}\n" in costs + "\n"
    data = section(text, "Data")
    assert "| title | Tiny\\|ImageNet |" in data
    assert "| SHA-256 | `f00d` |" in data
    assert "| training samples | 1,200 |" in data
    settings = section(text, "Settings").split("```yaml\n")[1].split("```")[0]
    assert parse_yaml(settings, "report.md") == CONFIG
    assert "\ndata: {name: tiny_imagenet, embedded: false, dir: null}\n" in settings
    machine = section(text, "Machine")
    assert "| devices | 2 x cpu |" in machine
    assert "| parameters of a model | 15,010 |" in machine


def test_an_interrupted_run_that_was_never_evaluated(tmp_path):
    make(tmp_path, [{}])
    text = written(tmp_path)

    assert "fedfomo, 1 of 4 rounds (interrupted); nothing was evaluated yet." in text
    for name in ("Results", "Clients", "Rejected clients", "Who helps whom"):
        assert f"## {name}" not in text
    assert "](" not in text


def test_pictures_of_rounds_that_were_dropped_are_not_shown(tmp_path):
    journal = make(tmp_path, [{}, evaluation([0.5, 0.75], affinity=np.ones((2, 2)))])
    assert "](affinity.png)" in written(tmp_path)
    journal.cut(1)

    assert "](" not in written(tmp_path)


def test_an_interrupted_and_a_failed_run_say_so(tmp_path):
    make(tmp_path, [evaluation([0.5, 0.75])])
    assert "after 1 of 4 rounds (interrupted): 62.50 %" in written(tmp_path)
    (tmp_path / "status.json").write_text('{"state": "failed", "error": "no *room*"}')

    assert "after 1 of 4 rounds (failed: no \\*room\\*): 62.50 %" in written(tmp_path)


def test_digits_that_stand_in_are_named_at_the_top(tmp_path):
    make(tmp_path, [{}], data={"name": "tiny_imagenet", "embedded": True})
    top = written(tmp_path).split("\n## ")[0]

    assert "> **Embedded data.** tiny_imagenet was not on the machine" in top
    assert "digits, not tiny_imagenet." in top


@pytest.mark.parametrize(
    "line", ['{"round": 2, "test_acc', "[1, 2]", '{"round": "2"}', "null", "\xff\x00", '{"a": 1}']
)
def test_malformed_lines_are_passed_over(tmp_path, line):
    make(tmp_path, [evaluation([0.5, 0.75])])
    before = written(tmp_path)
    for name in ("journal.jsonl", "timing.jsonl"):
        with (tmp_path / name).open("ab") as file:
            file.write(line.encode("latin-1"))

    assert written(tmp_path) == before


def test_a_folder_with_a_config_only(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "partition.csv").write_text("client,train,class_0\n0,1,1\n1,")
    text = written(tmp_path)

    assert text.startswith("# tiny_imagenet, 2 clients, fedfomo, seed 3\n")
    assert "0 of 4 rounds" in text
    assert "## Settings" in text


@pytest.mark.filterwarnings("error")
def test_two_hundred_clients_and_classes(tmp_path):
    accuracy = np.linspace(0.3, 0.8, 200)[::-1].copy()
    accuracy[7] = np.nan
    affinity = np.random.default_rng(0).normal(size=(200, 200))
    make(tmp_path, [evaluation(list(accuracy), affinity=affinity)], clients=200)
    partition(tmp_path, np.random.default_rng(0).integers(0, 5, (200, 200)))
    text = written(tmp_path)

    clients = section(text, "Clients")
    ids = [int(number) for number in re.findall(r"^\| (\d+) \|", clients, re.MULTILINE)]
    assert ids == [*range(199, 189, -1), *(i for i in range(11) if i != 7)]
    assert "The worst 10 of 200:" in clients
    assert "Clients without test samples: 1." in clients
    assert "`journal.jsonl` (round 1), samples in `partition.csv`." in clients
    assert "](affinity.png)" in section(text, "Who helps whom")  # 40,000 numbers: from arrays/
    assert len(list(tmp_path.glob("*.png"))) == 5


def test_a_run_planned_anew_says_so_and_keeps_its_results(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "jfl.report.pictures.result_pictures.curves_picture",
        lambda *given, band, **_: drawn.append((given, band)),
    )
    journal = make(tmp_path, [evaluation([0.5, 0.75]), evaluation([0.25, 1.0])])
    journal.write(2, {"replanned": "on 1 gpu device"})
    text = written(tmp_path)

    assert "| planned anew after round 2 | on 1 gpu device |" in section(text, "Machine")
    assert "round 2 | value" in section(text, "Results")
    ((rounds, series, *_), band), = drawn  # fmt: skip
    assert rounds == [1, 2]
    assert series == {"all samples": [0.9, 0.9], "mean over clients": [0.625, 0.625]}
    np.testing.assert_allclose(band, [[0.525, 0.325], [0.725, 0.925]])


def test_the_clients_picture_is_of_the_last_evaluation(tmp_path, monkeypatch):
    drawn = []
    name = "jfl.report.pictures.result_pictures.clients_picture"
    monkeypatch.setattr(name, lambda *given: drawn.append(given))
    make(tmp_path, [evaluation([0.5, 0.75]), evaluation([0.25, 1.0]), {}])
    partition(tmp_path, np.array([[10, 0, 20], [0, 5, 2]]))
    page.write(tmp_path)

    ((accuracy, samples, title, *_),) = drawn
    assert (accuracy.tolist(), samples.tolist()) == ([0.25, 1.0], [15, 4])
    assert title == "Tiny|ImageNet, 2 clients, fedfomo, seed 3, round 2"


def test_a_lost_array_is_not_missed(tmp_path):
    make(tmp_path, [evaluation([0.5, 0.75], affinity=np.ones((101, 100)))])
    (tmp_path / "arrays" / "1.npz").write_bytes(b"PK\x03\x04 torn")

    assert "](affinity.png)" not in written(tmp_path)


def test_the_same_files_give_the_same_page(tmp_path):
    make(tmp_path, [evaluation([0.5, 0.75], test_accuracy_of_global=0.5)])
    text = written(tmp_path)

    assert "| accuracy of global | 50.00 % |" in text
    assert written(tmp_path) == text

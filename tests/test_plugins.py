import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import jfl
from jfl import plugins
from jfl.errors import UsageError
from jfl.federated import experiment
from tests.command_line import CHECKOUT, ENVIRONMENT, SMALL, trained
from tests.command_line import jfl as command

EXAMPLE = CHECKOUT / "docs" / "my_methods"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves no folder behind for the next test."""
    monkeypatch.setattr(plugins, "_outside", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.split(".")[0] in ("mine", "my_methods")]:
        monkeypatch.delitem(sys.modules, name)


def folder(place: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def test_the_example_trains_resumes_and_is_measured(tmp_path: Path) -> None:
    done = command(
        "train", str(EXAMPLE / "wine.yaml"), "rounds=2", "--data-cache-dir", "c", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    run = tmp_path / done.answer["run"]
    saved = yaml.safe_load((run / "config.yaml").read_text())
    recorded = json.loads((run / "environment.json").read_text())["plugins"]

    assert saved["plugins"] == [str(EXAMPLE)]
    assert "algorithms/pull.py" in recorded
    assert all(len(digest) == 64 for digest in recorded.values())
    measured = command("eval", str(run), "--json", cwd=tmp_path)
    assert measured.answer["test_accuracy"] == done.answer["test_accuracy"] > 0.6
    more = command("train", "--resume", str(run), "rounds=3", "--json", cwd=tmp_path)
    assert more.answer["rounds"] == 3
    assert "plugins have changed" not in more.err


def test_changed_plugins_are_told_and_lost_ones_can_be_found_again(tmp_path: Path) -> None:
    files = {p.relative_to(EXAMPLE).as_posix(): p.read_text() for p in EXAMPLE.rglob("*.py")}
    folder(tmp_path / "mine", files)
    settings = {"plugins": ["mine"], "algorithm": "pull", "rounds": 1}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(settings))
    run = trained("my.yaml", cwd=tmp_path)
    (tmp_path / "mine").rename(tmp_path / "moved")
    resume = ("train", "--resume", str(run), "rounds=2")

    lost = command(*resume, cwd=tmp_path)
    assert lost.code == 2
    assert f"{tmp_path / 'mine'} is not a folder" in lost.error
    folder(tmp_path / "moved", {"algorithms/pull.py": files["algorithms/pull.py"] + "# other\n"})
    found = command(*resume, "plugins=[moved]", cwd=tmp_path)
    assert found.code == 0, found.err
    assert "warning: the plugins have changed since the run started" in found.out


def test_paths_are_those_beside_the_yaml_and_names_are_known_at_once(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(f"plugins: {os.path.relpath(EXAMPLE, tmp_path)}\n")
    loaded = experiment.load(
        [SMALL, str(tmp_path / "my.yaml")], ["algorithm=pull", "model=residual"]
    )

    assert loaded.plugins == (str(EXAMPLE),)
    assert loaded.algorithm.model_dump() == {"name": "pull", "pull": 0.2}
    assert "wine" in plugins.names("data")
    assert plugins.outside("algorithm") == {"pull": EXAMPLE / "algorithms" / "pull.py"}
    with pytest.raises(UsageError, match=r"algorithm\.name=pul is not known \(did you mean pull"):
        experiment.load([SMALL], ["algorithm=pul"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is not a folder"),
        ({"mine/pull.py": ""}, "holds no python file in any of algorithms/, datasets/"),
        ({"mine/algorithms/fedavg.py": ""}, r"fedavg\.py has the name of another algorithm"),
        ({"mine/algorithms/x.py": "1 +"}, r"x\.py cannot be imported: SyntaxError"),
        ({"mine/algorithms/x.py": "import nothing"}, r"cannot be imported: ModuleNotFoundError"),
        ({"mine/algorithms/x.py": "build = 1"}, r"x\.py does not define Config, as each algorithm"),
        ({"mine/algorithms/x.py": "class Config: ...\nbuild = 1"}, "its Config needs `name: Liter"),
    ],
)
def test_bad_plugins_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(folder(tmp_path, files))
    with pytest.raises(UsageError, match=message) as caught:
        experiment.load([SMALL], ["plugins=[mine]", "algorithm=x"])
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_reached_by_import_says_so(tmp_path: Path) -> None:
    text = (EXAMPLE / "algorithms" / "pull.py").read_text()
    folder(tmp_path, {"json/algorithms/pull.py": text, "a-b/algorithms/pull.py": text})
    with pytest.raises(UsageError, match="a-b cannot be imported; name it like a variable"):
        plugins.add(tmp_path / "a-b")
    plugins.add(tmp_path / "json")
    with pytest.raises(UsageError, match=r"pull\.py cannot be imported"):
        plugins.load("algorithm", "pull")


def test_list_shows_plugins_from_outside(tmp_path: Path) -> None:
    done = command("list", "algorithms", "--plugins", str(EXAMPLE), "--json", cwd=tmp_path)
    pull = next(item for item in done.answer["items"] if item["name"] == "pull")

    assert pull["settings"]["pull"]["default"] == 0.2


def conformance(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", f"--plugins={folder}", "-q", *words],
        cwd=CHECKOUT, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_example_conforms() -> None:
    done = conformance(EXAMPLE, "tests/conformance")
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 25


def test_what_does_not_conform_fails(tmp_path: Path) -> None:
    """An algorithm that lets one client's explosion reach the others."""
    text = (EXAMPLE / "algorithms" / "pull.py").read_text()
    careless = text.replace('metrics["rejected"] == 0', 'metrics["rejected"] >= 0')
    careless = careless.replace("trained, metrics =", "own, metrics =", 1)
    mine = folder(tmp_path / "mine", {"algorithms/pull.py": careless.replace("trained)", "own)")})
    done = conformance(mine, "tests/conformance/test_algorithms.py", "-x")
    assert done.returncode == 1, done.stdout
    assert "tests/conformance/test_algorithms.py::test_" in done.stdout


def test_a_run_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = jfl.train(SMALL, rounds=2, quiet=True, train={"learning_rate": np.float32(0.1)})

    assert run.path.parent == Path("outputs/small")
    assert run.state == "finished"
    assert run.result["rounds"] == 2
    assert [record["round"] for record in run.journal()] == [1, 2]
    assert yaml.safe_load((run.path / "config.yaml").read_text())["train"]["batch_size"] == 10
    one, every = run.params(client=4), run.params()
    np.testing.assert_array_equal(one["fc1"]["kernel"], every["fc1"]["kernel"][4])
    assert every["fc1"]["kernel"].shape == (6, 64, 16)
    assert run.evaluate()["test_accuracy"] == run.result["test_accuracy"]
    assert jfl.Run(run.path).resume(rounds=3, quiet=True).result["rounds"] == 3
    with pytest.raises(UsageError, match="client=6 is not one of the 6 clients"):
        run.params(client=6)
    shared = jfl.train(SMALL, rounds=1, quiet=True, **{"algorithm.name": "fedavg"})
    assert shared.params()["fc1"]["kernel"].shape == (64, 16)


def test_python_prints_what_the_command_prints_unless_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = jfl.train(SMALL, out=tmp_path, rounds=1, quiet=True)
    assert capsys.readouterr().out == ""
    assert "round 1/1" in (run.path / "log.txt").read_text()
    run.resume()
    assert "is finished" in capsys.readouterr().out
    with pytest.raises(UsageError, match="a setting cannot be a set"):
        jfl.train(SMALL, out=tmp_path, rounds={1})

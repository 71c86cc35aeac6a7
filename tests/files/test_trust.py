"""A run folder from somebody else runs none of its code, whatever it brings along."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from jfl import plugins
from jfl.errors import SafetyError, UsageError
from jfl.federated import experiment
from jfl.files import trust
from tests.command_line import SMALL

PULL = (Path(__file__).parents[2] / "docs/my_methods/algorithms/pull.py").read_text()


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without any history; returns where they note what they trust."""
    monkeypatch.setattr(plugins, "_outside", [])
    monkeypatch.setattr(plugins, "_given", [])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    forget()
    return tmp_path / "state" / "jfl" / "plugins.json"


def forget() -> None:
    """What another process would not know."""
    plugins._outside.clear()
    plugins.take_back()
    for name in [name for name in sys.modules if name.split(".")[0] in ("mine", "other")]:
        del sys.modules[name]


def method(folder: Path, ran: Path, more: str = "") -> Path:
    """A folder of plugins that leaves a file behind when its code runs."""
    (folder / "algorithms").mkdir(parents=True)
    told = f"\nimport pathlib\npathlib.Path({str(ran)!r}).touch()\n{more}"
    (folder / "algorithms" / "pull.py").write_text(PULL + told)
    return folder


def gift(place: Path, folder: str | Path, **more: object) -> Path:
    """The config of a run that names plugins, with what lies beside it in a run."""
    place.mkdir(parents=True, exist_ok=True)
    made = {"data": {"name": "digits"}, "partition": {"name": "iid"}, "model": {"name": "mlp"}}
    settings = {**made, "algorithm": {"name": "pull"}, "plugins": [str(folder)], **more}
    (place / "config.yaml").write_text(yaml.safe_dump(settings))
    (place / "environment.json").write_text("{}")
    return place / "config.yaml"


def test_code_runs_once_its_user_has_named_it(tmp_path: Path, own: Path) -> None:
    mine, ran = method(tmp_path / "mine", tmp_path / "ran"), tmp_path / "ran"
    config = gift(tmp_path / "run", mine)
    with pytest.raises(SafetyError, match=r"not trained with .*mine as it is now.* --plugins "):
        experiment.saved(config)
    with pytest.raises(SafetyError, match="names plugins"):
        experiment.load([str(config)])
    assert not ran.exists()
    assert not own.exists()

    experiment.load([SMALL], ["plugins=[mine]", "algorithm=pull"])
    assert ran.exists()
    assert own.stat().st_mode & 0o777 == 0o600
    assert own.parent.stat().st_mode & 0o777 == 0o700
    forget()
    assert experiment.saved(config).algorithm.name == "pull"
    forget()
    shutil.copytree(mine, tmp_path / "elsewhere" / "mine")  # what it is counts, not where
    assert experiment.saved(gift(tmp_path / "run2", tmp_path / "elsewhere" / "mine"))
    forget()
    with (mine / "algorithms" / "pull.py").open("a") as file:
        file.write("x = 1\n")
    with pytest.raises(SafetyError, match="as it is now"):
        experiment.saved(config)


def test_a_run_that_brings_its_folder_and_every_hash_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    run = tmp_path / "gift"
    mine = method(run / "mine", ran)
    code = plugins._read(mine)
    config = gift(run, "mine")  # as beside it
    (run / "environment.json").write_text(json.dumps({"plugins": code.fingerprint}))
    listed = json.dumps({code.sha256: {"folder": str(mine), "since": "2026-01-01"}})
    for place in (run, run / "jfl", run / "state" / "jfl", run / ".local" / "state" / "jfl"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "plugins.json").write_text(listed)
        (place / "plugins.json").chmod(0o600)
    for named in ("mine", str(mine), "../gift/mine", "gift/mine"):
        gift(run, named)
        with pytest.raises((SafetyError, UsageError)):
            experiment.saved(config)
    monkeypatch.chdir(run)
    gift(run, "mine")
    for state in ("", "state", "."):  # not whole paths, so they do not count
        monkeypatch.setenv("XDG_STATE_HOME", state)
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(SafetyError):
            experiment.saved(config)
    monkeypatch.setenv("XDG_STATE_HOME", str(run / "state"))
    with pytest.raises(SafetyError, match="lies in the run folder"):
        experiment.saved(config)
    assert not ran.exists()


@pytest.mark.parametrize("how", ["wide", "wide folder", "link", "damaged", "deep", "fifo"])
def test_the_list_counts_only_if_it_is_the_users_own(tmp_path: Path, own: Path, how: str) -> None:
    config = gift(tmp_path / "run", method(tmp_path / "mine", tmp_path / "ran"))
    plugins.add(tmp_path / "mine")
    forget()
    assert trust.known(plugins._read(tmp_path / "mine").sha256)
    if how == "wide":
        own.chmod(0o666)
    elif how == "wide folder":
        own.parent.chmod(0o777)
    elif how == "link":
        own.rename(tmp_path / "there")
        own.symlink_to(tmp_path / "there")
    elif how == "fifo":
        own.unlink()
        os.mkfifo(own, 0o600)
    else:
        own.write_text("{" if how == "damaged" else "[" * 100_000)
    with pytest.raises(SafetyError) as caught:
        experiment.saved(config)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("beside", ["compiled", "sibling", "extension", "link"])
def test_only_what_was_looked_at_can_run(tmp_path: Path, beside: str) -> None:
    """A gift may bring a folder its user knows, and something that Python would prefer to it."""
    plain = method(tmp_path / "known" / "mine", tmp_path / "plain")
    ran = tmp_path / "ran"
    evil = f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n"
    more = "\ntry:\n    import torch_not_there, mine.extra\nexcept ImportError:\n    pass\n"
    with (plain / "algorithms" / "pull.py").open("a") as file:
        file.write(more)
    experiment.load([SMALL], [f"plugins=[{plain}]", "algorithm=pull"])
    forget()
    mine = tmp_path / "gift" / "mine"
    shutil.copytree(plain, mine)
    if beside == "sibling":
        (tmp_path / "gift" / "torch_not_there.py").write_text(evil)
    elif beside == "extension":
        (mine / "extra.pyc").write_bytes(compiled(evil, tmp_path, None))
    elif beside == "link":
        (tmp_path / "gift" / "mine.py").write_text(evil)
    else:
        source = mine / "algorithms" / "pull.py"
        cache = source.parent / "__pycache__"
        cache.mkdir()
        name = f"pull.{sys.implementation.cache_tag}.pyc"
        (cache / name).write_bytes(compiled(evil, tmp_path, source))
    assert experiment.saved(gift(tmp_path / "gift", mine)).algorithm.name == "pull"
    assert not ran.exists()


def compiled(text: str, place: Path, source: Path | None) -> bytes:
    """A compiled file that Python takes for that of `source`."""
    import importlib.util
    import py_compile

    file = place / "evil.py"
    file.write_text(text)
    made = bytearray(
        Path(py_compile.compile(str(file), cfile=str(place / "evil.pyc"))).read_bytes()
    )
    assert made[:4] == importlib.util.MAGIC_NUMBER
    if source is not None:
        about = source.stat()
        made[8:12] = int(about.st_mtime).to_bytes(4, "little")
        made[12:16] = about.st_size.to_bytes(4, "little")
    return bytes(made)


def test_plugins_given_to_a_command_stand_in_for_those_of_the_run(tmp_path: Path) -> None:
    method(tmp_path / "other", tmp_path / "ran")
    theirs = method(tmp_path / "mine", tmp_path / "theirs")
    config = gift(tmp_path / "run", theirs)
    plugins.give([tmp_path / "other"])
    assert experiment.saved(config).plugins == (str(tmp_path / "other"),)
    assert not (tmp_path / "theirs").exists()
    forget()
    with pytest.raises(SafetyError):
        experiment.saved(config)


def test_folders_without_an_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = method(tmp_path / "mine", tmp_path / "ran")
    (mine / "algorithms" / "again").symlink_to(mine)
    assert list(plugins._read(mine).files) == ["algorithms/pull.py"]
    monkeypatch.setattr("jfl.files.plugin_code._MOST", 2)
    with pytest.raises(UsageError, match="a folder of their own"):
        plugins._read(mine)


def test_saved_configs_include_nothing(tmp_path: Path) -> None:
    config = gift(tmp_path / "run", "mine", include=["x.yaml"])
    with pytest.raises(SafetyError, match=r"include=.* would be looked up elsewhere"):
        experiment.saved(config)

import json
import os
from pathlib import Path

import jax
import pytest

from jfl.federated.rounds import Rounds
from jfl.runs import compiled
from tests.command_line import CHECKOUT, SMALL
from tests.command_line import jfl as command
from tests.federated import federations


@pytest.mark.parametrize("algorithm", ["fedavg", "fedfomo"])
def test_nothing_is_compiled_after_the_second_round(algorithm: str) -> None:
    rounds = Rounds(federations.prepare(f"algorithm={algorithm}", "participation=0.8"))
    clock = compiled.CompileClock()
    for number in (1, 2):
        rounds.step(number)
        rounds.evaluate()
    warm = clock.programs
    for number in (3, 4, 5):
        rounds.step(number)
        rounds.evaluate()
    assert clock.programs == warm > 0


@pytest.mark.parametrize("algorithm", ["fedavg", "fedfomo"])
def test_options_of_the_compiler_leave_the_bits(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled.options("cpu")
    fingerprints = []
    for options in (compiled.options("cpu"), {}):
        monkeypatch.setattr(compiled, "options", lambda _, options=options: options)
        rounds = Rounds(federations.prepare(f"algorithm={algorithm}"))
        for number in (1, 2, 3):
            rounds.step(number)
        fingerprints.append(rounds.params_sha256())
    assert fingerprints[0] == fingerprints[1]


def test_a_second_run_finds_its_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import command_line

    own = {k: v for k, v in command_line.ENVIRONMENT.items() if not k.startswith("JAX_")}
    place = {"XDG_CACHE_HOME": str(tmp_path / "own")}
    monkeypatch.setattr(command_line, "ENVIRONMENT", own | {"JAX_PLATFORMS": "cpu"} | place)
    first, second, without = (
        command("train", SMALL, "algorithm=local", "rounds=1", "--json", *words, cwd=tmp_path)
        for words in ((), (), ("--no-cache",))
    )
    assert first.code == second.code == without.code == 0, first.err + second.err + without.err
    assert first.answer["programs_kept"] == 0
    assert second.answer["programs_kept"] > 0.8 * first.answer["programs_compiled"]
    assert second.answer["params_sha256"] == first.answer["params_sha256"]
    assert without.answer["programs_kept"] == 0
    kept_in = tmp_path / "own" / "jfl" / "compiled"
    assert list(kept_in.iterdir())
    assert kept_in.stat().st_mode & 0o077 == 0
    assert not (tmp_path / "data_cache" / "compiled").exists()
    run = tmp_path / second.answer["run"]
    kept = json.loads((run / "result.json").read_text())["programs_kept"]
    assert f"{kept} kept from earlier runs" in (run / "report.md").read_text()


def test_what_the_user_set_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.keep()
    assert jax.config.jax_compilation_cache_dir == before
    assert CHECKOUT.is_dir()
    assert not os.listdir(tmp_path)

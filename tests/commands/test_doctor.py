import json
import os
import stat
from collections import namedtuple
from pathlib import Path

import jax
import pytest
from click.testing import CliRunner

from jfl.bench import health
from jfl.cli import cli

SMI = """#!/bin/sh
echo "GPU-1, 4242, python, 2048 MiB"
echo "GPU-1, 4243, python train.py, 512 MiB"
"""


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine whose NVIDIA driver answers `nvidia-smi`."""
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return program


def test_it_says_what_is_here() -> None:
    found = health.examine("cpu")

    assert found["versions"]["jax"] == jax.__version__
    assert len(found["devices"]) == len(jax.devices())
    assert found["memory"]["total"] > found["memory"]["available"] > 0
    assert found["data"]["digits"] is True
    assert found["extras"].keys() == health.EXTRAS.keys()


def test_a_driver_without_jax_for_it_is_a_problem_with_a_remedy(driver: Path) -> None:
    found = health.examine("cpu")

    assert found["gpu_processes"] == [
        {"gpu": "GPU-1", "process": "python (pid 4242)", "memory": "2048 MiB"},
        {"gpu": "GPU-1", "process": "python train.py (pid 4243)", "memory": "512 MiB"},
    ]
    assert "JFL_EXTRAS=cuda bin/jfl doctor" in found["problems"][0]
    assert ("GPU GPU-1", "2048 MiB held by python (pid 4242)") in health.lines(found)


def test_a_driver_that_fails_is_no_reason_to_fail(driver: Path) -> None:
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert health.examine("cpu")["gpu_processes"] == []


def test_little_memory_and_disk_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = namedtuple("memory", "total available")(8 * 2**30, 2**30)
    disk = namedtuple("disk", "free")(2**29)
    monkeypatch.setattr(health.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: disk)
    problems = " ".join(health.examine("cpu")["problems"])

    assert "only 1.0 GiB of memory are free" in problems
    assert "only 0.5 GiB of disk are free" in problems


def test_a_device_that_is_not_there_is_a_problem_not_an_end() -> None:
    found = health.examine("nonsense")

    assert found["devices"] == []
    assert "nonsense is not a device" in found["problems"][0]


def test_the_command_prints_a_table_and_one_json_object() -> None:
    shown = CliRunner().invoke(cli, ["doctor", "--device", "cpu"], catch_exceptions=False).stdout
    done = CliRunner().invoke(cli, ["doctor", "--json"], catch_exceptions=False)
    answer = json.loads(done.stdout.strip().split("\n")[-1])

    assert "no problems found" in shown or "problem: " in shown
    assert {"versions", "devices", "cores", "memory", "extras", "problems"} <= answer.keys()

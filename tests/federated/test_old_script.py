"""Every command line of a script for federated MNIST and LoRA that jfl took the place of."""

import json
import shlex
from pathlib import Path

import pytest

from tests.command_line import CHECKOUT, Done, warm

ARCH, RECIPE = "configs/arch/mnist_mlp.yaml", "configs/federated.yaml"
SMALL = (
    "clients=3", "rounds=5", "model.hidden=[12]", "data.limit=200", "train.local_epochs=1",
    "plan.devices=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configs and nothing else."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "configs").symlink_to(CHECKOUT / "configs")
    return folder


def ran(place: Path, line: str, code: int = 0) -> Done:
    done = warm(*shlex.split(line), cwd=place)
    assert done.code == code, done.err
    assert "Traceback" not in done.out + done.err
    return done


@pytest.fixture(scope="module")
def base(place: Path) -> str:
    """A run of the new form, as the base of others."""
    line = f"train {ARCH} {RECIPE} {shlex.join(SMALL)} --json"
    return ran(place, line).answer["run"]


def old(*words: str) -> str:
    given = shlex.join(word for change in SMALL for word in ("--override", change))
    return f"train --arch-config {ARCH} --train-config {RECIPE} {given} {shlex.join(words)}"


def test_old_flags_train_the_same_and_show_the_new_form(place: Path, base: str) -> None:
    done = ran(place, f"{old()} --json")
    kept = json.loads((place / base / "result.json").read_text())
    assert done.answer["params_sha256"] == kept["params_sha256"]
    assert f"jfl train {ARCH} {RECIPE} clients=3" in done.err
    assert "--arch-config and --override and --train-config still work; now it is:" in done.err


@pytest.fixture(scope="module")
def adapted(place: Path, base: str) -> str:
    """A run with an adapter by the old flags, on the base."""
    done = ran(place, f"{old('--use-lora', '--override', f'adapter.base={base}')} --json")
    assert f" --lora {shlex.join([*SMALL, f'adapter.base={base}'])}" in done.err
    new = f"train {ARCH} {RECIPE} --lora {shlex.join(SMALL)} adapter.base={base} --json"
    assert ran(place, new).answer["params_sha256"] == done.answer["params_sha256"]
    return done.answer["run"]


def test_models_out_and_looked_into(place: Path, base: str) -> None:
    for name in ("out.safetensors", "out.npz"):
        ran(place, f"convert {base} {name} --client 0 --round 5")
        ran(place, f"inspect {name}")
    for path in (base, f"{base}/checkpoints", f"{base}/checkpoints/5"):
        ran(place, f"inspect {path}")
    line = f"train {ARCH} {RECIPE} --lora {shlex.join(SMALL)} --dry-run"
    ran(place, f"{line} adapter.base=out.safetensors")


@pytest.mark.torch
def test_models_out_for_torch(place: Path, base: str) -> None:
    pytest.importorskip("torch")
    for name in ("out.pth", "out.pt"):
        ran(place, f"convert {base} {name} --client 0 --round 5")
        ran(place, f"inspect {name}")
    (place / "out.pkl").write_bytes((place / "out.pth").read_bytes())
    ran(place, "inspect out.pkl")
    line = f"train {ARCH} {RECIPE} --lora {shlex.join(SMALL)} --dry-run"
    ran(place, f"{line} adapter.base=out.pth")


def test_adapters_out_and_on(place: Path, adapted: str) -> None:
    ran(place, f"convert {adapted} lora --client 0 --round 5")
    ran(place, "inspect lora")
    ran(place, "inspect lora --lora")
    weights = place / "outputs" / "loras" / "mnist_mlp_1" / "server" / "lora_round_5.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes((place / "lora" / "adapter_model.safetensors").read_bytes())
    line = old("--use-lora", "--override", f"adapter.start={weights.relative_to(place)}")
    assert "does not say its alpha" in ran(place, f"{line} --dry-run").out


@pytest.mark.torch
def test_adapters_of_the_script(place: Path, base: str) -> None:
    torch = pytest.importorskip("torch")
    file = place / "outputs" / "loras" / "mnist_mlp_2" / "server" / "lora_round_5.pth"
    file.parent.mkdir(parents=True)
    shapes = {"fc1": (784, 12), "head": (12, 10)}
    torch.save(
        {
            f"{module}.{side}": torch.ones(size) / 100
            for module, (inputs, outputs) in shapes.items()
            for side, size in (("lora_A", (8, inputs)), ("lora_B", (outputs, 8)))
        },
        file,
    )
    words = f"adapter.base={base} adapter.start={file.relative_to(place)}"
    ran(place, f"train {ARCH} {RECIPE} --lora {shlex.join(SMALL)} {words} rounds=1")
    ran(place, f"inspect {file.relative_to(place)}")


def test_the_cache(place: Path) -> None:
    cache = f"train {ARCH} {RECIPE} {shlex.join(SMALL)} --dry-run"
    ran(place, f"{cache} --no-cache")
    ran(place, f"{cache} --data-cache-dir elsewhere")
    ran(place, "doctor")


@pytest.mark.slow
def test_what_went_wrong_is_one_sentence(place: Path) -> None:
    (place / "bad.yaml").write_text("rounds: [1\n")
    assert "bad.yaml" in ran(place, f"train {ARCH} bad.yaml", 2).error
    line = f"train {ARCH} {RECIPE} {shlex.join(SMALL)}"
    assert (
        "adapter.base=no/base.pth is not there"
        in ran(place, f"{line} --use-lora --override adapter.base=no/base.pth", 2).error
    )
    few = ran(place, f"{line} plan.loop=vmap memory.budget=1kB", 2)
    assert "memory.budget" in few.error

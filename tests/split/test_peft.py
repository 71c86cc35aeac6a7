"""Adapters trained here are PEFT's, on parts with the original's names; and PEFT's go on here."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from jfl import tree  # noqa: E402
from jfl.split import cut as cuts  # noqa: E402
from jfl.split import source  # noqa: E402
from jfl.split.client import folders  # noqa: E402
from jfl.split.cut import PARTS  # noqa: E402
from tests.split import servers  # noqa: E402
from tests.split.test_training import SHAKEN, joined, shaken, start, whole  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::FutureWarning")]


class Part(torch.nn.Module):
    """A part of a GPT-2 with blocks counted from 0, as LHY-in-universe/SL builds it."""

    def __init__(self, whole: Any, part: str) -> None:
        super().__init__()
        body = whole.transformer
        first, last = {"bottom": (0, 1), "trunk": (1, 3), "top": (3, 4)}[part]
        self.part, self.h = part, torch.nn.ModuleList(body.h[first:last])
        if part == "bottom":
            self.wte, self.wpe = body.wte, body.wpe
        if part == "top":
            self.ln_f, self.lm_head = body.ln_f, whole.lm_head

    def forward(self, x: Any) -> Any:
        if self.part == "bottom":
            x = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
        length = x.shape[1]
        mask = torch.full((length, length), torch.finfo(x.dtype).min).triu(1)[None, None]
        for block in self.h:
            out = block(x, attention_mask=mask)
            x = out[0] if isinstance(out, tuple) else out
        return self.lm_head(self.ln_f(x)) if self.part == "top" else x


def parts_of(model: Path) -> dict[str, Part]:
    found = transformers.GPT2LMHeadModel.from_pretrained(model, attn_implementation="eager").eval()
    return {part: Part(found, part) for part in PARTS}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("peft")
    return servers.client(place, "localhost:1", **SHAKEN, lora={"dropout": 0.0})


def test_trained_adapters_load_with_peft_and_compute_the_same(job: Any, tmp_path: Path) -> None:
    adapter = shaken(start(job))
    written = folders.write(tmp_path, job._source, job._lora, adapter)
    assert [Path(folder).name for folder in written] == ["bottom_lora", "trunk_lora", "top_lora"]
    rows = job._texts.train[:2]
    x = torch.tensor(rows[:, :-1]).long()
    leaves = {}
    for part, module in parts_of(Path(job.config.model.name)).items():
        loaded = peft.PeftModel.from_pretrained(
            module, str(tmp_path / f"{part}_lora"), is_trainable=True
        )
        x = loaded(x)
        leaves |= {f"{part} {name}": p for name, p in loaded.named_parameters() if p.requires_grad}
    params = joined(job)(adapter)
    h, _ = job._ends.built.model.hidden(params, jnp.asarray(rows[:, :-1]))
    logits = job._ends.built.model.logits(params, h)
    np.testing.assert_allclose(logits, x.detach().numpy(), rtol=1e-4, atol=1e-4)
    loss = torch.nn.functional.cross_entropy(
        x.flatten(0, 1), torch.tensor(rows[:, 1:]).long().flatten()
    )
    loss.backward()
    ours, gradients = whole(job)(adapter, [rows], 0, 1)
    assert float(ours) == pytest.approx(float(loss.detach()), rel=1e-5)
    names = {"attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj",
             "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}  # fmt: skip
    seen = 0
    for path, gradient in tree.paths(gradients).items():
        part, _, *middle, _, side = path.split(".")
        for row, own in enumerate(np.asarray(gradient)):
            name = f"h.{row}.{names['.'.join(middle)]}.lora_{side.upper()}.default.weight"
            (theirs,) = (p for key, p in leaves.items() if key.startswith(part) and name in key)
            scale = float(np.abs(own).max())
            np.testing.assert_allclose(own, theirs.grad.numpy().T, rtol=1e-3, atol=1e-4 * scale)
            seen += 1
    assert seen == len(leaves) == 32


@pytest.mark.parametrize("safe", [True, False])
def test_an_adapter_of_peft_goes_on_here(job: Any, tmp_path: Path, safe: bool) -> None:
    model = transformers.GPT2LMHeadModel.from_pretrained(
        job.config.model.name, attn_implementation="eager"
    ).eval()
    config = peft.LoraConfig(
        r=3, lora_alpha=6, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True
    )
    torch.manual_seed(0)
    adapted = peft.get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path / "adapter"
    if safe:
        adapted.save_pretrained(folder)
    else:  # as older versions of PEFT left it
        adapted.save_pretrained(folder)
        (folder / "adapter_model.safetensors").unlink()
        torch.save(peft.get_peft_model_state_dict(adapted), folder / "adapter_model.bin")
    rows = job._texts.train[:2]
    theirs = adapted(torch.tensor(rows[:, :-1]).long()).logits.detach().numpy()
    with servers.served(tmp_path) as (address, _):
        ours = servers.client(
            tmp_path, address, trunk="own", adapter=str(folder), lora={"dropout": 0.0}
        )
        assert (ours._lora.rank, ours._lora.alpha) == (3, 6.0)
        ours._greet()
        passed = ours._exchange.passed(ours._adapter, [rows], 0, 1)
        labels = np.take_along_axis(
            np.array(jax.nn.log_softmax(jnp.asarray(theirs))), rows[:, 1:, None], -1
        )
        assert passed.loss == pytest.approx(-float(labels.mean()), rel=1e-5)
        servers.trained(ours, 2)
        trunk = tree.paths(ours._trunk())
        given = tree.paths(ours._given["trunk"])
        assert all(not np.array_equal(trunk[path], leaf) for path, leaf in given.items())
        ours._leave()


def test_own_folders_are_read_again(job: Any, tmp_path: Path) -> None:
    adapter = shaken(start(job))
    folders.write(tmp_path, job._source, job._lora, adapter)
    folders.write(tmp_path, job._source, job._lora, adapter)  # in place of the first
    config, found = folders.read(tmp_path, job._source, PARTS)
    assert (config.rank, config.alpha) == (2, 4.0)
    for path, leaf in tree.paths(adapter).items():
        np.testing.assert_array_equal(leaf, tree.paths(found)[path])
    opened = source.open(job.config.model.name, *servers.CUT, PARTS)
    assert cuts.join(opened.parts).keys() == {"embed", "layers", "norm"}

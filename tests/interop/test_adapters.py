"""LoRA adapters to folders of PEFT and back, beside peft itself."""

import json
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interop import convert
from interop.to_run import Wanted
from jfl import tree
from jfl.adapters import base as adapters
from jfl.adapters import foreign
from jfl.errors import CheckpointError, UsageError
from jfl.models.files import Lora, open_adapter, open_language, write_adapter
from tests.interop import networks

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
pytestmark = pytest.mark.torch
TOKENS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
PATHS = {
    "attn.c_attn": "layers.attention.qkv", "attn.c_proj": "layers.attention.out",
    "mlp.c_fc": "layers.mlp.up", "mlp.c_proj": "layers.mlp.down", "lm_head": "head",
    **{f"self_attn.{w}_proj": f"layers.attention.{w}" for w in "qkv"},
    "self_attn.o_proj": "layers.attention.out",
    **{f"mlp.{w}_proj": f"layers.mlp.{w}" for w in ("gate", "up", "down")},
}  # fmt: skip

CASES = {
    "plain": ("gpt2", {"target_modules": ["c_attn", "c_fc"], "lora_alpha": 5}),
    "square": ("gpt2", {"target_modules": ["attn.c_proj"], "use_rslora": True}),
    "all": ("gpt2-untied", {"target_modules": "all-linear"}),
    "patterns": ("gpt2", {
        "target_modules": ["c_attn", "c_proj"], "use_rslora": True,
        "rank_pattern": {"attn.c_proj": 3, r"h\.[02]\.mlp\.c_proj": 1},
        "alpha_pattern": {"h.1.attn.c_attn": 64, "mlp.c_proj": 3}}),
    "regular expression": ("llama", {  # of kernels that are square, and a beginning that is none
        "target_modules": r"model\.lay|.*\.[02]\.self_attn\.[qo]_proj"}),
    "some layers": ("qwen3", {
        "target_modules": ["q_proj", "down_proj"], "layers_to_transform": [0, 2],
        "layers_pattern": "layers", "exclude_modules": ["layers.2.mlp.down_proj"]}),
    "whole": ("qwen3", {
        "target_modules": "all-linear", "modules_to_save": ["lm_head", "input_layernorm", "k_norm"],
        "lora_dropout": 0.25}),
    "whole module": ("gpt2", {"target_modules": ["c_attn"], "modules_to_save": ["mlp", "ln_f"]}),
    "freed head": ("gpt2", {"target_modules": ["c_attn"], "modules_to_save": ["lm_head", "wte"]}),
    "head": ("gpt2-untied", {"target_modules": ["lm_head"], "fan_in_fan_out": False}),
}  # fmt: skip


def adapted(case, folder, *, bare=False):
    """Saves a network and an adapter of it, all of whose numbers are random; returns the model."""
    network, settings = CASES[case]
    model = networks.made(network)
    model.save_pretrained(folder / "base")
    inner = model.transformer if bare else model
    given = {"r": 2, "fan_in_fan_out": "gpt2" in network} | settings
    with networks.quiet():
        wrapped = peft.get_peft_model(inner, peft.LoraConfig(**given)).eval()
        drawn = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    parameter.normal_(0, 0.5, generator=drawn)
        wrapped.save_pretrained(folder / "theirs", save_embedding_layers=False)
    return wrapped


def opened(folder, name="theirs"):
    config = json.loads((folder / "base/config.json").read_text())
    return config, open_adapter(folder / name, config)


def changes(wrapped):
    """What peft adds to each weight, [in, out], by jfl's path and layer."""
    found = {}
    for name, layer in wrapped.named_modules():
        if isinstance(layer, peft.tuners.lora.LoraLayer):
            words = name.removeprefix("base_model.model.").split(".")
            module = ".".join(words[-2:]) if words != ["lm_head"] else "lm_head"
            number = next((int(word) for word in words if word.isdigit()), 0)
            change = layer.get_delta_weight("default").detach().numpy()
            conv = type(layer.get_base_layer()).__name__ == "Conv1D"
            found[PATHS[module], number] = change if conv else change.T
    return found


def some(names, *slow):
    return [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in names]


CHOSEN = some(CASES, "plain", "square", "all", "whole module", "head", "some layers")


@pytest.mark.parametrize("case", CHOSEN)
def test_there_and_back(case, tmp_path):
    wrapped = adapted(case, tmp_path)
    config, found = opened(tmp_path)
    expected = changes(wrapped)
    flat = tree.paths(found.params)
    for path, ranks in found.lora.ranks.items():
        for layer, (rank, scale) in enumerate(zip(ranks, found.lora.scales(path), strict=True)):
            assert ((path, layer) in expected) == (rank > 0)
            if rank:
                index = layer if path.startswith("layers.") else ...
                a, b = flat[f"{path}.a"][index], flat[f"{path}.b"][index]
                assert not a[:, rank:].any()
                np.testing.assert_allclose(
                    scale * (a @ b), expected.pop((path, layer)), rtol=1e-4, atol=1e-5
                )
    assert not expected

    write_adapter(tmp_path / "ours", config, found.lora, found.params)
    ours, theirs = (tmp_path / who / "adapter_model.safetensors" for who in ("ours", "theirs"))
    assert ours.read_bytes() == theirs.read_bytes()
    again = opened(tmp_path, "ours")[1]
    assert again.lora == found.lora
    with networks.quiet():
        base = networks.made(CASES[case][0])
        loaded = peft.PeftModel.from_pretrained(base, tmp_path / "ours").eval()
    with torch.no_grad():
        assert torch.equal(loaded(TOKENS).logits, wrapped(TOKENS).logits)
        assert not torch.equal(loaded(TOKENS).logits, networks.made(CASES[case][0])(TOKENS).logits)


@pytest.mark.parametrize("case", some(CASES, "all", "head", "regular expression", "whole module"))
def test_the_network_with_it_computes_what_peft_computes(case, tmp_path):
    wrapped = adapted(case, tmp_path)
    config, found = opened(tmp_path)
    if case == "freed head":
        with pytest.raises(CheckpointError, match="trains embedding and head apart"):
            foreign.taken(found)
        return
    settings, adapter = foreign.taken(found)
    base = open_language(tmp_path / "base")
    built = adapters.build(settings, base.network)
    start = jax.eval_shape(lambda: built.init(jax.random.key(0), base.params))
    assert jax.tree.map(np.shape, start) == jax.tree.map(np.shape, adapter)
    with torch.no_grad():
        theirs = wrapped(TOKENS).logits.numpy()

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def ours(adapter, base):
        whole = built.whole(adapter, base)
        return built.model.logits(whole, built.model.hidden(whole, jnp.asarray(TOKENS.numpy()))[0])

    logits = ours(adapter, base.params)
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(logits / scale, theirs / scale, rtol=0, atol=1e-5)

    write_adapter(tmp_path / "ours", config, *foreign.given(settings, adapter))
    if case in ("patterns", "regular expression", "some layers"):  # not alike in all layers
        again = foreign.taken(opened(tmp_path, "ours")[1])
        np.testing.assert_array_equal(ours(again[1], base.params), logits)
    else:
        files = [tmp_path / who / "adapter_model.safetensors" for who in ("ours", "theirs")]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("case", CHOSEN)
def test_merged_as_peft_merges(case, tmp_path):
    import transformers

    wrapped = adapted(case, tmp_path)
    done = convert.run(
        tmp_path / "theirs", tmp_path / "merged", Wanted(), client=None, which="last", scheme=None,
        suffix=None, dry=False, base=str(tmp_path / "base"),
    )  # fmt: skip
    assert done["verified"]
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        torch.testing.assert_close(
            merged(TOKENS).logits, wrapped(TOKENS).logits, rtol=1e-4, atol=1e-4
        )
        apart = (merged(TOKENS).logits - networks.made(CASES[case][0])(TOKENS).logits).abs().max()
    assert apart > 0.1
    flat = tree.paths(open_language(tmp_path / "merged").params)
    base = tree.paths(open_language(tmp_path / "base").params)
    untouched = "embed.positions.embedding" if "gpt2" in CASES[case][0] else "norm.scale"
    np.testing.assert_array_equal(flat[untouched], base[untouched])


@pytest.mark.parametrize("kind", ["bin", "bfloat16", "bare"])
def test_other_files_of_an_adapter(kind, tmp_path):
    wrapped = adapted("plain", tmp_path, bare=kind == "bare")
    folder = tmp_path / "theirs"
    state = peft.get_peft_model_state_dict(wrapped)
    if kind == "bfloat16":
        state = {name: tensor.bfloat16() for name, tensor in state.items()}
    if kind != "bare":
        (folder / "adapter_model.safetensors").unlink()
        torch.save(state, folder / "adapter_model.bin")
    _, found = opened(tmp_path)
    assert len(found.params["layers"]["attention"]["qkv"]["a"]) == 3
    for number in range(3):
        module = f"{'' if kind == 'bare' else 'transformer.'}h.{number}.attn.c_attn"
        for side in "ab":
            tensor = state[f"base_model.model.{module}.lora_{side.upper()}.weight"].float().numpy()
            array = found.params["layers"]["attention"]["qkv"][side][number]
            np.testing.assert_array_equal(array, tensor.T)

    for source, target, suffix in (("theirs", "b", None), ("b", "c", ".bin"), ("c", "d", None)):
        done = convert.run(
            tmp_path / source, tmp_path / target, Wanted(), client=None, which="last",
            scheme=None, suffix=suffix, dry=False,
        )  # fmt: skip
        assert (done["kind"], done["tensors"], done["verified"]) == ("peft folder", 12, True)
    first, last = (tmp_path / name / "adapter_model.safetensors" for name in "bd")
    assert first.read_bytes() == last.read_bytes()
    assert tree.sha256(opened(tmp_path, "d")[1].params) == tree.sha256(found.params)


def test_an_adapter_made_in_jfl(tmp_path):
    """Ranks and alphas of every kind that the settings can say."""
    model = networks.made("gpt2")
    model.save_pretrained(tmp_path / "base")
    config = json.loads((tmp_path / "base/config.json").read_text())
    lora = Lora(
        {"layers.attention.out": (2, 2, 2), "layers.mlp.down": (1, 0, 3)},
        {"layers.attention.out": (4, 8.5, 4), "layers.mlp.down": (1, 0, 4)},
        rslora=True, whole=("norm.bias", "norm.scale"),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    down = {"a": rng.normal(size=(3, 24, 3)), "b": rng.normal(size=(3, 3, 6))}
    for layer, rank in enumerate((1, 0, 3)):
        down["a"][layer, :, rank:] = down["b"][layer, rank:] = 0
    flat = {f"layers.mlp.down.{side}": array for side, array in down.items()} | {
        "layers.attention.out.a": rng.normal(size=(3, 6, 2)),
        "layers.attention.out.b": rng.normal(size=(3, 2, 6)),
        "norm.scale": rng.normal(size=6), "norm.bias": rng.normal(size=6),
    }  # fmt: skip
    params = tree.nested({path: array.astype(np.float32) for path, array in flat.items()})
    write_adapter(tmp_path / "theirs", config, lora, params)

    found = opened(tmp_path)[1]
    assert found.lora == lora
    assert tree.sha256(found.params) == tree.sha256(params)
    with networks.quiet():
        wrapped = peft.PeftModel.from_pretrained(model, tmp_path / "theirs").eval()
    theirs = changes(wrapped)
    assert theirs.keys() == {("layers.attention.out", n) for n in range(3)} | {
        ("layers.mlp.down", 0), ("layers.mlp.down", 2),
    }  # fmt: skip
    for (path, layer), change in theirs.items():
        a, b = (tree.paths(params)[f"{path}.{side}"][layer] for side in "ab")
        np.testing.assert_allclose(lora.scales(path)[layer] * (a @ b), change, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="theirs exists already"):
        write_adapter(tmp_path / "theirs", config, lora, params)
    shutil.rmtree(tmp_path / "theirs")

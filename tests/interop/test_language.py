"""Language networks to folders and back, beside transformers itself."""

import json

import numpy as np
import pytest

from interop import convert
from interop.language import write
from interop.to_run import Wanted
from jfl import tree
from jfl.errors import UsageError
from jfl.models.files import open_language, write_language
from tests.interop import networks

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch
TOKENS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


@pytest.fixture(scope="module", autouse=True)
def silent():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def same(found, expected):
    flat = tree.paths(found)
    assert flat.keys() == expected.keys()
    for path, array in expected.items():
        assert flat[path].dtype == np.float32
        np.testing.assert_array_equal(flat[path], array, err_msg=path)


def loaded(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(model[1][key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model[0].eval()


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits


def some(names, *slow):
    return [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in names]


@pytest.mark.parametrize("case", some(networks.CASES, "gpt2-untied", "llama", "qwen3", "qwen2"))
def test_there_and_back(case, tmp_path):
    model = networks.made(case)
    model.save_pretrained(tmp_path / "theirs")
    opened = open_language(tmp_path / "theirs")
    same(opened.params, networks.arrays(model))
    assert opened.config == json.loads((tmp_path / "theirs/config.json").read_text())

    size = write_language(tmp_path / "ours", opened.config, opened.params)
    ours, theirs = (tmp_path / who / "model.safetensors" for who in ("ours", "theirs"))
    assert ours.read_bytes() == theirs.read_bytes()
    assert size == sum(path.stat().st_size for path in ours.parent.iterdir())
    back = loaded(tmp_path / "ours")
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    assert torch.equal(logits(back), logits(model))


@pytest.mark.parametrize("case", ["gpt2-untied", "llama-biased"])
def test_kernels_answer_as_the_modules_they_came_from(case, tmp_path):
    """Those that are square too, which turned have the same shape."""
    model = networks.made(case)
    model.save_pretrained(tmp_path / "a")
    flat = tree.paths(open_language(tmp_path / "a").params)
    block = model.transformer.h[1] if "gpt2" in case else model.model.layers[1]
    attention = block.attn if "gpt2" in case else block.self_attn
    modules = {"attention.out": attention.c_proj, "mlp.up": block.mlp.c_fc} if "gpt2" in case else {
        "attention.q": attention.q_proj, "attention.k": attention.k_proj,
        "attention.out": attention.o_proj, "mlp.down": block.mlp.down_proj,
    }  # fmt: skip
    for path, module in modules.items():
        kernel, bias = (flat[f"layers.{path}.{leaf}"][1] for leaf in ("kernel", "bias"))
        x = np.random.default_rng(1).normal(size=(4, len(kernel))).astype(np.float32)
        with torch.no_grad():
            answer = module(torch.tensor(x)).numpy()
        np.testing.assert_allclose(x @ kernel + bias, answer, rtol=1e-4, atol=1e-5)
        if len(set(kernel.shape)) == 1:
            assert abs(x @ kernel.T + bias - answer).max() > 0.1


FORMS = ["sharded", "bin", "bin sharded", "wrapped", "hub", "bare", "halves", "bfloat16", "legacy"]


def form(model, folder, kind):
    """Saves a GPT-2 in one of the ways that people have it."""
    model.config.save_pretrained(folder)
    whole = model.state_dict()
    if kind == "sharded":
        model.save_pretrained(folder, max_shard_size="1KB")
    elif kind in ("halves", "bfloat16"):
        model.to(torch.float16 if kind == "halves" else torch.bfloat16).save_pretrained(folder)
    elif kind == "bin sharded":
        names = list(whole)
        placed = {}
        for number, part in enumerate((names[:9], names[9:-1]), start=1):
            file = f"pytorch_model-0000{number}-of-00002.bin"
            torch.save({name: whole[name] for name in part}, folder / file)
            placed |= dict.fromkeys(part, file)
        index = {"metadata": {}, "weight_map": placed}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    else:
        if kind == "wrapped":
            whole = {f"module._orig_mod.{name}": tensor for name, tensor in whole.items()}
        if kind in ("hub", "bare"):
            whole = {name.removeprefix("transformer."): tensor for name, tensor in whole.items()}
        if kind == "hub":
            del whole["lm_head.weight"]
            for layer in range(3):
                whole[f"h.{layer}.attn.bias"] = torch.ones(7, 7).tril().view(1, 1, 7, 7)
                whole[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        old = {"_use_new_zipfile_serialization": False} if kind == "legacy" else {}
        torch.save(whole, folder / "pytorch_model.bin", **old)


@pytest.mark.parametrize("kind", some(FORMS, "bin", "wrapped", "bare", "halves", "legacy"))
def test_every_form_is_read_alike(kind, tmp_path):
    model = networks.made("gpt2")
    form(model, tmp_path / "a", kind)
    found = open_language(tmp_path / "a")
    same(found.params, networks.arrays(model))
    assert len(found.sha256) == 64


def converted(source, target, suffix, base=None):
    return convert.run(
        source, target, Wanted(), client=None, which="last", scheme=None, suffix=suffix, dry=False,
        base=base,
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "to"), [("hub", ".safetensors"), ("bfloat16", ".bin")])
def test_other_files_of_the_same_numbers(kind, to, tmp_path):
    model = networks.made("gpt2")
    form(model, tmp_path / "a", kind)
    (tmp_path / "a/vocab.json").write_text("{}")
    first = converted(tmp_path / "a", tmp_path / "b", to)
    done = converted(tmp_path / "b", tmp_path / "c", None)
    assert (first["tensors"], done["tensors"], done["verified"]) == (40, 40, True)
    assert len(first["skipped"]) == (6 if kind == "hub" else 0)
    assert (tmp_path / "c/vocab.json").exists()
    back = loaded(tmp_path / "c")
    for name, tensor in model.state_dict().items():
        assert back.state_dict()[name].dtype == tensor.dtype
        assert torch.equal(back.state_dict()[name], tensor), name


def test_files_of_a_size(tmp_path):
    model = networks.made("qwen3")
    model.save_pretrained(tmp_path / "a")
    opened = open_language(tmp_path / "a")
    write.from_params(tmp_path / "b", opened.config, opened.params, limit=2000)
    assert len(list((tmp_path / "b").glob("*.safetensors"))) > 3
    assert torch.equal(logits(loaded(tmp_path / "b")), logits(model))
    same(open_language(tmp_path / "b").params, networks.arrays(model))


def test_a_head_is_tied_or_not_as_the_arrays_are(tmp_path):
    model = networks.made("gpt2")
    model.save_pretrained(tmp_path / "a")
    opened = open_language(tmp_path / "a")
    head = np.random.default_rng(0).normal(size=(6, 11)).astype(np.float32)
    params = {**opened.params, "head": {"kernel": head}}
    write_language(tmp_path / "b", opened.config, params)
    again = loaded(tmp_path / "b")
    assert not again.config.tie_word_embeddings
    np.testing.assert_array_equal(again.lm_head.weight.detach().numpy(), head.T)
    same(open_language(tmp_path / "b").params, tree.paths(params))
    with pytest.raises(UsageError, match="b exists already"):
        write_language(tmp_path / "b", opened.config, params)

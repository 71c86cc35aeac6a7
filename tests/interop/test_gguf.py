"""Networks in GGUF files, beside those of transformers that they were written from."""

import json

import numpy as np
import pytest

from interop import convert
from interop.gguf import scaling
from interop.inspect import inspect
from interop.to_run import Wanted
from jfl import tree
from jfl.errors import CheckpointError
from jfl.models.files import open_language
from jfl.models.language import base
from tests.interop import gguf_files, networks
from tests.reference import gguf_blocks

pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch
CASES = ["gpt2", "gpt2-untied", "llama", "llama-biased", "qwen2", "qwen3"]


@pytest.fixture(scope="module", autouse=True)
def silent():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def same(params, expected):
    flat = tree.paths(params)
    assert flat.keys() == expected.keys()
    for path, array in expected.items():
        assert flat[path].dtype == np.float32
        np.testing.assert_array_equal(flat[path], array, err_msg=path)


@pytest.mark.parametrize("case", CASES)
def test_every_network_is_read(case, tmp_path):
    model = networks.made(case)
    opened = open_language(gguf_files.network(tmp_path / "a.gguf", model))

    same(opened.params, networks.arrays(model))
    model.save_pretrained(tmp_path / "a")
    theirs = json.loads((tmp_path / "a/config.json").read_text())
    ours, expected = base.from_hf(opened.config), base.from_hf(theirs)
    unsaid = {"init_std", "head_size"}  # a file never says the first, and always the second
    assert ours.model_dump(exclude=unsaid) == expected.model_dump(exclude=unsaid)
    assert getattr(ours, "size", None) == getattr(expected, "size", None)
    assert len(opened.sha256) == 64


@pytest.mark.parametrize(("types", "dtype"), [("F16", "float16"), ("BF16", "bfloat16")])
def test_halves_are_read_as_float32(types, dtype, tmp_path):
    model = networks.made("llama")
    opened = open_language(gguf_files.network(tmp_path / "a.gguf", model, types))
    kind = getattr(torch, dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.to(kind).float())
    same(opened.params, networks.arrays(model))


@pytest.mark.parametrize("kind", gguf_blocks.BLOCKS)
def test_blocks_are_what_ggml_says(kind, tmp_path):
    """Random bytes, whose scales are made finite."""
    rng = np.random.default_rng(0)
    size = gguf_blocks.BLOCKS[kind][0]
    width = 256 if kind.endswith("K") else 32
    rows = rng.integers(0, 256, (6, 2, size), np.uint8)
    places = {"Q4_1": (0, 2), "Q4_K": (0, 2), "Q6_K": (208,)}.get(kind, (0,))
    for place in places:
        scales = rng.normal(size=(6, 2, 1)).astype("<f2")
        rows[..., place : place + 2] = scales.view(np.uint8)
    rows = rows.reshape(6, 2 * size)
    expected = np.stack([gguf_blocks.numbers(kind, row.tobytes()) for row in rows])

    model = _wide(2 * width)
    given = gguf_files.arrays(model) | {"blk.0.attn_v.weight": (kind, rows)}
    about = gguf_files.settings(model.config)
    opened = open_language(gguf_files.write(tmp_path / "a.gguf", "llama", about, given))
    found = tree.paths(opened.params)["layers.attention.v.kernel"][0].T
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def _wide(width):
    config = transformers.LlamaConfig(
        vocab_size=5, hidden_size=width, intermediate_size=4, num_hidden_layers=1, head_dim=6,
        num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=8,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("case", [
    "llama", *(pytest.param(c, marks=pytest.mark.slow) for c in ("gpt2", "qwen2", "qwen3")),
])  # fmt: skip
def test_transformers_reads_the_same(case, tmp_path):
    model = networks.made(case)
    gguf_files.network(tmp_path / "a.gguf", model)
    with networks.quiet():  # its reader skips some settings, as a head's size of qwen3
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path, gguf_file="a.gguf", config=model.config
        )
    same(open_language(tmp_path / "a.gguf").params, networks.arrays(theirs))


def converted(source, target, **given):
    given = {"suffix": None, "dry": False} | given
    return convert.run(source, target, Wanted(), client=None, which="last", scheme=None, **given)


@pytest.mark.parametrize("case", ["llama-biased", "gpt2"])
def test_it_becomes_a_folder_of_transformers(case, tmp_path):
    model = networks.made(case)
    path = gguf_files.network(tmp_path / "a.gguf", model)
    planned = converted(path, tmp_path / "b", dry=True)
    done = converted(path, tmp_path / "b")
    assert (planned["verified"], done["verified"]) == (None, True)
    assert done["bytes"] == planned["bytes"] > 0
    assert "holds no tokenizer" in done["notes"][0] or "has no tokenizer" in done["notes"][0]

    same(open_language(tmp_path / "b").params, networks.arrays(model))
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        assert torch.equal(back(tokens).logits, model.eval()(tokens).logits)


def test_inspect_says_what_network_it_is(tmp_path):
    path = gguf_files.network(tmp_path / "a.gguf", networks.made("qwen2"))
    shown = inspect.run(path, inspect.Wanted())["network"]
    assert shown == "a network jfl reads: qwen2 of 3 layers, its head tied to the embedding"
    path = gguf_files.network(tmp_path / "b.gguf", networks.made("qwen2"), qwen2__x=3)
    assert "no network jfl reads" in inspect.run(path, inspect.Wanted())["network"]


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_stretched_positions_of_llama_3(factor, tmp_path):
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    wanted = {
        "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    config = transformers.LlamaConfig(
        hidden_size=8, num_attention_heads=2, num_key_value_heads=1, head_dim=64, vocab_size=11,
        intermediate_size=12, num_hidden_layers=1,
        rope_parameters={**wanted, "rope_theta": 500000.0},
    )  # fmt: skip
    speeds, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 500000.0 ** (-np.arange(0, 64, 2) / 64)
    factors = (plain / speeds.numpy()).astype(np.float32)
    model = transformers.LlamaForCausalLM(config)
    given = gguf_files.arrays(model) | {scaling.NAME: factors}
    about = gguf_files.settings(model.config)
    opened = open_language(gguf_files.write(tmp_path / "a.gguf", "llama", about, given))
    assert opened.config["rope_scaling"] == wanted
    base.from_hf(opened.config)

    given[scaling.NAME] = factors * np.float32(1.01)
    with pytest.raises(CheckpointError, match=r"rope_freqs\.weight as no Llama 3 has it"):
        open_language(gguf_files.write(tmp_path / "b.gguf", "llama", about, given))

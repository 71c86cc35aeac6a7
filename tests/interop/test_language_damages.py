"""Damaged folders of language networks and adapters, each refused in one sentence that says why."""

import json
import os
import pickle  # noqa: TID251 - to write what must be refused
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from interop.inspect import inspect
from jfl import tree
from jfl.errors import CheckpointError, JflError, SafetyError, UsageError
from jfl.models.files import open_language, write_language
from tests.damages import DAMAGES
from tests.interop import networks

WTE, PROJ = "transformer.wte.weight", "transformer.h.1.attn.c_proj.weight"
WHOLE = networks.state()


def without(name):
    return {key: array for key, array in WHOLE.items() if key != name}


def changed(name, array):
    return WHOLE | {name: array}


def spoiled(value):
    array = WHOLE[PROJ].copy()
    array[1, 2] = value
    return changed(PROJ, array)


ARRAYS = {
    "missing": (without(PROJ), "lacks transformer.h.1.attn.c_proj.weight of gpt2"),
    "missing layer": (
        {k: v for k, v in WHOLE.items() if ".h.2." not in k},
        "has a n_layer of 3, but there are arrays of 2 layers",
    ),
    "another layer": (
        {k.replace(".h.2.", ".h.9."): v for k, v in WHOLE.items()},
        r"lacks transformer\.h\.2\.ln_1\.weight",
    ),
    "surplus": (changed("transformer.h.1.x", WHOLE[WTE]), "holds transformer.h.1.x, which is none"),
    "misshaped": (changed(PROJ, WHOLE[PROJ][:, :5]), r"c_proj\.weight is \[6, 5\], but by config"),
    "turned": (
        changed("transformer.h.0.mlp.c_fc.weight", WHOLE["transformer.h.0.mlp.c_fc.weight"].T),
        r"c_fc\.weight is \[24, 6\], but by config\.json it is \[6, 24\]",
    ),
    "NaN": (spoiled(np.nan), "c_proj.weight with 1 numbers that are not finite"),
    "infinite": (spoiled(np.inf), "c_proj.weight with 1 numbers that are not finite"),
    "whole numbers": (changed(PROJ, np.ones((6, 6), np.int8)), "c_proj.weight as int8; jfl reads"),
    "double": (changed(PROJ, np.ones((6, 6))), "as float64; jfl reads float32, float16"),
    "another head": (changed("lm_head.weight", WHOLE[WTE] + 1), "lm_head.weight differs from tr"),
    "short head": (changed("lm_head.weight", WHOLE[WTE][:5]), r"head\.weight is \[5, 6\], but by"),
    "twice": (changed("module.h.1.attn.c_proj.weight", WHOLE[PROJ]), "an array twice, as .* and "),
    "mask of another shape": (
        changed("transformer.h.1.attn.bias", np.ones((1, 1, 6, 7), np.float32)), "which is none of"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_not_the_networks(case, tmp_path):
    arrays, message = ARRAYS[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        open_language(networks.saved(tmp_path / "a", arrays))
    assert "\n" not in str(caught.value)
    assert inspect.run(tmp_path / "a", inspect.Wanted())["network"].startswith("a network jfl") == (
        case in ("NaN", "infinite", "another head")
    )


CONFIGS = {
    "another": ({"model_type": "bert"}, "is of bert, which jfl does not have; there are gpt2, lla"),
    "none": ({"model_type": ...}, "is of None, which jfl does not have"),
    "list": ({"model_type": ["gpt2"]}, r"is of \['gpt2'\], which jfl"),
    "absent": ({"n_embd": ...}, "has no n_embd; it must be a whole number above 0"),
    "word": ({"n_embd": "6"}, "has a n_embd of 6; it must be a whole"),
    "huge": ({"n_layer": 10**12}, "has a n_layer of 1000000000000; it must"),
    "many layers": ({"n_layer": 10**9}, "a n_layer of 1000000000, but there are arrays of 3"),
    "wide": ({"n_embd": 2 * 10**9}, r"wte\.weight is \[11, 6\], but by config"),
    "heads": ({"n_head": 4}, "contradicts itself: n_embd 6 by n_head 4"),
    "inner": ({"n_inner": 25}, r"c_fc\.weight is \[6, 24\], but by config\.json it is \[6, 25\]"),
    "positions": ({"n_positions": 8}, r"wpe\.weight is \[7, 6\], but by"),
    "untied": ({"tie_word_embeddings": False}, r"lacks lm_head\.weight of gpt2"),
    "tied": ({"tie_word_embeddings": "no"}, "a tie_word_embeddings of no, not true or false"),
    "crossed": ({"add_cross_attention": True}, "has add_cross_attention, which jfl does not have"),
    "llama": ({"model_type": "llama"}, "has no hidden_size"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_configs_that_contradict_the_arrays(case, tmp_path):
    settings, message = CONFIGS[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        open_language(networks.saved(tmp_path / "a", **settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_damaged_settings(name, damage, tmp_path):
    path = networks.sharded(tmp_path / "a") / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(JflError) as caught:
        open_language(tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "a") in str(caught.value)


def index(folder, **metadata):
    path = folder / "model.safetensors.index.json"
    content = json.loads(path.read_text())
    return path, content | {"metadata": metadata} if metadata else content


@pytest.mark.parametrize("size", [1, -1, "4584", [], 4e300, True])
def test_an_index_that_lies_about_its_size(size, tmp_path):
    path, content = index(networks.sharded(tmp_path / "a"), total_size=size)
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"the index of .* says .* bytes, but its files hold"):
        open_language(tmp_path / "a")


def test_an_index_that_is_wrong_about_files(tmp_path):
    path, content = index(networks.sharded(tmp_path / "a"))
    first, second = sorted(set(content["weight_map"].values()))
    for wrong, error, message in (
        ("../a/" + first, SafetyError, "names files elsewhere; refused"),
        ("/etc/passwd", SafetyError, "names files elsewhere; refused"),
        ("model-00009-of-00002.safetensors", CheckpointError, "1 of 3 files are missing"),
        (second, CheckpointError, "differ about transformer.wte.weight"),
    ):
        placed = content["weight_map"] | {
            WTE: wrong if wrong != content["weight_map"][WTE] else first
        }
        path.write_text(json.dumps(content | {"weight_map": placed}))
        with pytest.raises(error, match=message):
            open_language(tmp_path / "a")
    path.unlink()
    (tmp_path / "a" / second).unlink()
    with pytest.raises(CheckpointError, match="1 of 2 files are missing"):
        open_language(tmp_path / "a")


def test_an_array_in_two_files(tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = networks.sharded(tmp_path / "a")
    first = folder / "model-00001-of-00002.safetensors"
    twice = WHOLE["transformer.wte.weight"]
    save_file(load_file(first) | {WTE: twice}, first)
    with pytest.raises(
        CheckpointError, match=r"differ about transformer\.wte\.weight: the file ho"
    ):
        open_language(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match="holds an array twice, in two files of model"):
        open_language(folder)


@pytest.mark.parametrize("kept", [0, 7, 100, 4000, -1])
def test_truncated_files(kept, tmp_path):
    for make, name in (
        (networks.saved, "model.safetensors"),
        (networks.sharded, "model-00002-of-00002.safetensors"),
    ):
        path = make(tmp_path / name) / name
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(
            CheckpointError, match=r"truncated|no safetensors file|damaged"
        ) as caught:
            open_language(path.parent)
        assert str(path) in str(caught.value)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(UsageError, match="is no folder; give one with config"):
        open_language(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        open_language(tmp_path)
    (networks.saved(tmp_path / "a") / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"a holds no model\.safetensors and no pytorch_model"):
        open_language(tmp_path / "a")


class Evil:
    def __reduce__(self):
        return os.system, ("false",)


def test_a_pickle_that_would_run_something(tmp_path):
    folder = networks.saved(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"transformer.wte.weight": Evil()}))
    with pytest.raises(SafetyError, match=r"names (posix|os)\.system"):
        open_language(folder)


@pytest.mark.torch
def test_a_small_file_that_claims_large_arrays(tmp_path):
    torch = pytest.importorskip("torch")
    folder = networks.saved(tmp_path / "a", vocab_size=10**9)
    (folder / "model.safetensors").unlink()
    state = {name: torch.tensor(array) for name, array in WHOLE.items()}
    state[WTE] = torch.zeros(1).expand(10**9, 6)
    torch.save(state, folder / "pytorch_model.bin")
    tracemalloc.start()
    with pytest.raises(SafetyError, match="has arrays of 24,000,006,336 bytes in files of"):
        open_language(folder)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_memory_is_that_of_the_network_and_one_array(tmp_path):
    rng = np.random.default_rng(0)
    large = changed(WTE, rng.normal(size=(100_000, 6)).astype(ml_dtypes.bfloat16))
    folder = networks.saved(tmp_path / "a", large, vocab_size=100_000)
    open_language(networks.saved(tmp_path / "small"))  # what is imported stays
    tracemalloc.start()
    params = open_language(folder).params
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = sum(leaf.nbytes for leaf in tree.paths(params).values())
    assert peak < 2.5 * whole
    np.testing.assert_array_equal(params["embed"]["tokens"]["embedding"], large[WTE])


def test_what_is_not_written(tmp_path):
    opened = open_language(networks.saved(tmp_path / "a"))
    flat = tree.paths(opened.params)
    qkv = "layers.attention.qkv.kernel"
    for change, message in (
        ({qkv: None}, r"qkv\.kernel is absent, but in this gpt2 it is \[3, 6, 18\]"),
        ({qkv: flat[qkv][:2]}, r"qkv\.kernel is \[2, 6, 18\], but in this gpt2"),
        ({"more": flat[qkv]}, r"more is \[3, 6, 18\], but in this gpt2 it is absent"),
        ({qkv: flat[qkv] * np.nan}, r"qkv\.kernel has numbers that are not finite"),
        ({qkv: flat[qkv].astype(np.float16)}, "would hold float16, float32; give one of"),
    ):
        kept = {name: array for name, array in (flat | change).items() if array is not None}
        with pytest.raises(CheckpointError, match=message):
            write_language(tmp_path / "b", opened.config, tree.nested(kept))
    with pytest.raises(CheckpointError, match="is of bert, which jfl does not have"):
        write_language(tmp_path / "b", {"model_type": "bert"}, opened.params)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

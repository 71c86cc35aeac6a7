"""Adapters that are damaged, or that jfl does not apply: one sentence each, and nothing written."""

import json

import ml_dtypes
import numpy as np
import pytest

from interop.inspect import patterns
from jfl import tree
from jfl.errors import CheckpointError, JflError, SafetyError
from jfl.models.files import Lora, open_adapter, write_adapter
from tests import command_line
from tests.damages import DAMAGES
from tests.interop import networks

RNG = np.random.default_rng(3)
BASE = "base_model.model.transformer.h."
SETTINGS = {
    "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["attn.c_proj"],
    "fan_in_fan_out": True,
}  # fmt: skip
STATE = {
    f"{BASE}{layer}.attn.c_proj.lora_{side}.weight": RNG.normal(size=shape).astype(np.float32)
    for layer in range(3)
    for side, shape in (("A", (2, 6)), ("B", (6, 2)))
}
FIRST = f"{BASE}0.attn.c_proj.lora_A.weight"


def saved(folder, arrays=STATE, **settings):
    from safetensors.numpy import save_file

    folder.mkdir(exist_ok=True)
    save_file(dict(arrays), folder / "adapter_model.safetensors")
    content = {key: value for key, value in (SETTINGS | settings).items() if value is not ...}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return folder


def renamed(word, other):
    return {name.replace(word, other): array for name, array in STATE.items()}


ARRAYS = {
    "missing": ({n: a for n, a in STATE.items() if n != FIRST}, r"lacks .*0\.attn\.c_proj\.lora_A"),
    "surplus": (STATE | {f"{BASE}9.attn.c_proj.lora_A.weight": STATE[FIRST]}, "h.9.attn.c_proj.lo"),
    "rank": (STATE | {FIRST: STATE[FIRST][:1]}, r"lora_A\.weight is \[1, 6\], but by adapter_conf"),
    "turned": (STATE | {FIRST: STATE[FIRST].T.copy()}, r"is \[6, 2\], but by adapter_config\.json"),
    "NaN": (STATE | {FIRST: STATE[FIRST] * np.nan}, "lora_A.weight with 12 numbers that are not"),
    "double": (STATE | {FIRST: STATE[FIRST].astype(np.float64)}, "as float64; jfl reads float32"),
    "magnitudes": (
        STATE | {f"{BASE}0.attn.c_proj.lora_magnitude_vector": STATE[FIRST][0]}, "_config.json does"
    ),
    "bias": (STATE | {f"{BASE}0.attn.c_proj.lora_B.bias": STATE[FIRST][0]}, "lora_B.bias, which"),
    "no base": (renamed("base_model.model.", ""), "lacks base_model.model.transformer.h.0"),
    "named": (renamed(".weight", ".default.weight"), r"lacks .*h\.0\.attn\.c_proj\.lora_A\.weight"),
    "nothing": ({"x": STATE[FIRST]}, "lacks base_model.model"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_not_the_adapters(case, tmp_path):
    arrays, message = ARRAYS[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        open_adapter(saved(tmp_path / "a", arrays), networks.CONFIG)
    assert "\n" not in str(caught.value)


REFUSED = {
    "peft_type": "LOHA", "use_dora": True, "lora_bias": True, "bias": "all",
    "init_lora_weights": "pissa_niter_16", "loftq_config": {"a": 4}, "eva_config": {"rho": 2},
    "corda_config": {"x": 1}, "alora_invocation_tokens": [1], "use_qalora": True,
    "layer_replication": [[0, 2]], "megatron_config": {"a": 1}, "target_parameters": ["a.weight"],
    "use_bdlora": {"a": 1}, "arrow_config": {"a": 1}, "kasa_config": {"beta": 1},
    "velora_config": {"a": 1}, "trainable_token_indices": [3], "ensure_weight_tying": True,
    "of_the_future": 1,
}  # fmt: skip


@pytest.mark.parametrize("key", REFUSED)
@pytest.mark.parametrize("command", ["open", "convert"])
def test_other_kinds_are_refused_by_name(key, command, tmp_path):
    folder = saved(tmp_path / "a", **{key: REFUSED[key]})
    named = {"peft_type": "LOHA", "bias": "biases"}.get(key, key)
    if command == "open":
        with pytest.raises(CheckpointError, match=rf"{named}.*jfl does not apply|{key} pissa"):
            open_adapter(folder, networks.CONFIG)
        return
    done = command_line.warm("convert", "a", "b", cwd=tmp_path)
    assert (done.code, named in done.error) == (4, True)
    assert not (tmp_path / "b").exists()


SETTINGS_THAT_ARE_NONE = {
    "r": (0, "has 0 as a r"), "lora_alpha": ("4", "has 4 as a lora_alpha"),
    "rank_pattern": ([2], "has a rank_pattern of"), "target_modules": (3, "a target_modules of 3"),
    "alpha_pattern": ({"(": 3}, "a pattern that is no regular expression"),
    "modules_to_save": ("wte", "a modules_to_save of wte, not a list of words"),
    "use_rslora": ("yes", "a use_rslora that is neither"),
    "lora_dropout": (2, "a lora_dropout of 2, not from 0 to 1"),
    "layers_to_transform": ("0", "layers_to_transform of 0"),
    "exclude_modules": ("(", "a pattern that is no regular expression"),
}  # fmt: skip


@pytest.mark.parametrize("key", SETTINGS_THAT_ARE_NONE)
def test_settings_that_make_no_sense(key, tmp_path):
    value, message = SETTINGS_THAT_ARE_NONE[key]
    with pytest.raises(CheckpointError, match=message):
        open_adapter(saved(tmp_path / "a", **{key: value}), networks.CONFIG)


TARGETS = {
    "none": ({"target_modules": ["q_proj"]}, "names no module that gpt2 has"),
    "absent": ({"target_modules": ...}, "names no module that gpt2 has"),
    "embedding": ({"target_modules": ["wte", "c_proj"]}, r"adapts transformer\.wte, an embedding"),
    "tied head": ({"target_modules": ["lm_head"]}, "adapts lm_head, which is tied to the embedd"),
    "one layer": ({"modules_to_save": ["h.1.ln_1"]}, "but not that of every layer, which"),
    "tied": ({"modules_to_save": ["wte"]}, "trains wte.weight apart from the head that is tied"),
}  # fmt: skip


@pytest.mark.parametrize("case", TARGETS)
def test_modules_that_jfl_does_not_adapt(case, tmp_path):
    settings, message = TARGETS[case]
    with pytest.raises(CheckpointError, match=message):
        open_adapter(saved(tmp_path / "a", **settings), networks.CONFIG)


def test_a_regular_expression_that_never_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(patterns, "_SECONDS", 0.5)
    with pytest.raises(SafetyError, match="take over"):
        open_adapter(saved(tmp_path / "a", target_modules="(.*.*.*)*x"), networks.CONFIG)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_settings(damage, tmp_path):
    path = saved(tmp_path / "a") / "adapter_config.json"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(JflError) as caught:
        open_adapter(tmp_path / "a", networks.CONFIG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_files_that_are_missing(name, tmp_path):
    (saved(tmp_path / "a") / name).unlink()
    with pytest.raises(CheckpointError, match=r"cannot be read|without adapter_model"):
        open_adapter(tmp_path / "a", networks.CONFIG)


def test_what_is_not_written(tmp_path):
    found = open_adapter(saved(tmp_path / "a"), networks.CONFIG)
    flat = tree.paths(found.params)
    a, out = "layers.attention.out.a", "layers.attention.out"
    for change, lora, message in (
        (
            {a: flat[a][:2]},
            found.lora,
            r"out\.a is \[2, 6, 2\], but in this adapter it is \[3, 6, 2",
        ),
        ({a: flat[a] * np.inf}, found.lora, "has numbers that are not finite"),
        ({"norm.scale": flat[a]}, found.lora, "norm.scale is .*, but in this adapter it is absent"),
        ({}, Lora({out: (2, 1, 2)}, {out: (4, 4, 4)}), "numbers beyond its rank 1 in layer 1"),
        ({}, Lora({out: (2, 2)}, {out: (4, 4)}), "needs 3 ranks and alphas"),
        ({}, Lora({"norm": (2,)}, {"norm": (4,)}), "norm is no dense layer and no array of gpt2"),
        ({}, Lora({"head": (2,)}, {"head": (4,)}), "lm_head, which is tied to the embedding"),
        (
            {},
            Lora(found.lora.ranks, found.lora.alphas, whole=("norm.bias",)),
            "norm.scale cannot be",
        ),
    ):
        with pytest.raises(CheckpointError, match=message):
            write_adapter(tmp_path / "b", networks.CONFIG, lora, tree.nested(flat | change))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_into_the_network_by_the_command(tmp_path):
    halves = {name: array.astype(ml_dtypes.bfloat16) for name, array in networks.state().items()}
    networks.saved(tmp_path / "base", halves)
    saved(tmp_path / "a")
    command = ("convert", "a", "b", "--into", "base")
    dry = command_line.warm(*command, "--dry-run", "--json", cwd=tmp_path)
    assert (dry.answer["tensors"], dry.answer["verified"]) == (40, None)
    assert not (tmp_path / "b").exists()
    done = command_line.warm(*command, "--json", cwd=tmp_path)
    assert (done.code, done.answer["kind"]) == (0, "transformers folder")
    shown = command_line.warm("inspect", "b", cwd=tmp_path).out
    assert "a network jfl reads: gpt2 of 3 layers, its head tied to the embedding" in shown
    assert "bfloat16" in shown

    for words, message in (
        (("convert", "base", "c", "--into", "base"), "base is no folder of PEFT"),
        (("convert", "a", "c.npz", "--into", "base"), "--into makes a folder, of .safetensors"),
        (("convert", "a", "c", "--into", "base", "--client", "1"), "--client does not go with"),
        (("convert", "a", "c", "--into", "none"), "none is no folder; give one with config.json"),
        (("convert", "a", "b", "--into", "base"), "b exists already; give another name"),
    ):
        refused = command_line.warm(*words, cwd=tmp_path)
        assert refused.code == 2
        assert message in refused.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "base"]

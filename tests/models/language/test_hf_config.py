"""Every config.json is read as transformers means it, or refused in one sentence."""

import contextlib

import pytest

from jfl.errors import UsageError
from jfl.models.language import base, gpt2, llama

GPT2 = {"model_type": "gpt2"}
LLAMA = {"model_type": "llama"}
QWEN2 = {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8}
# as written before transformers 5; SmolLM 2 and Llama 3.2
OLD = LLAMA | {
    "rope_theta": 5e5, "rope_interleaved": False, "is_llama_config": True, "head_dim": None,
    "rope_scaling": {
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3",
    },
    "torch_dtype": "bfloat16", "pretraining_tp": 1, "num_attention_heads": 8,
}  # fmt: skip


def test_old_files_mean_the_same():
    config = base.from_hf(OLD)
    assert isinstance(config, llama.Config)
    assert (config.kv_heads, config.theta, config.rope_scaling.factor) == (8, 5e5, 32)
    assert base.from_hf(GPT2 | {"n_ctx": 1024, "task_specific_params": {}}) == gpt2.Config()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GPT2 | {"activation_function": "relu"}, 'activation_function="relu" must be "gelu_new"'),
        (GPT2 | {"scale_attn_weights": False}, "scale_attn_weights=false must be true"),
        (GPT2 | {"add_cross_attention": True}, "add_cross_attention=true must be false"),
        (GPT2 | {"n_ctx": 512}, "n_ctx=512 must be 1024"),
        (GPT2 | {"is_decoder": True}, "is_decoder=true must be off"),
        (GPT2 | {"quantization_config": {"a": 1}}, 'quantization_config={"a": 1} is not known'),
        (GPT2 | {"n_embd": 10}, "width=10 must be a multiple of heads=12"),
        (GPT2 | {"n_embd": "many"}, "width"),
        (LLAMA | {"hidden_act": "gelu"}, 'hidden_act="gelu" must be "silu"'),
        (LLAMA | {"sliding_window": 8}, "sliding_window=8 is not known"),
        (LLAMA | {"num_key_value_heads": 5}, "kv_heads=5 must divide heads=32"),
        (
            LLAMA | {"rope_scaling": {"type": "linear"}},
            'rope_type="linear" is not default',
        ),
        (LLAMA | {"rope_parameters": {"beta": 1}}, "rope_parameters: beta=1 is not known"),
        (LLAMA | {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5 must be 1.0"),
        (QWEN2 | {"layer_types": ["full_attention"]}, "layer_types must be those of max_window"),
        ({"model_type": "bert"}, "model_type=bert is not one of gpt2, llama, qwen2, qwen3"),
    ],
)
def test_what_cannot_be_honoured_is_one_sentence(content, message):
    with pytest.raises(UsageError, match=message) as caught:
        base.from_hf(content)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("config.json")


@pytest.mark.parametrize("content", [GPT2, OLD, QWEN2, QWEN2 | {"model_type": "qwen3"}])
def test_whatever_stands_in_it_is_read_or_refused(content):
    others = {"n_embd", "layer_types", "max_window_layers", "rope_parameters", "initializer_range"}
    for key in content.keys() | others:
        for value in (None, True, -1, 10**9, 1e300, "", "x", [], ["x"], {}, {"x": 1}):
            with contextlib.suppress(UsageError):
                base.from_hf(content | {key: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"qk_norm": True, "attention_bias": "qkv"}, "attention_bias=qkv with qk_norm"),
        ({"qk_norm": True, "mlp_bias": True}, "mlp_bias beside qk_norm"),
        ({"window": 8}, "window without qk_norm"),
    ],
)
def test_networks_that_transformers_does_not_have_are_not_written(settings, message):
    with pytest.raises(UsageError, match=message):
        llama.to_hf(llama.Config(**settings))


@pytest.mark.torch
def test_what_is_written_is_read_by_transformers_and_here():
    pytest.importorskip("transformers")
    from tests.models.language import oracles

    for name, (_, config, _) in oracles.MODELS.items():
        ours = oracles.settings(name)
        plugin = gpt2 if ours.name == "gpt2" else llama
        written = plugin.to_hf(ours)
        assert base.from_hf(written) == ours, name
        special = {"bos_token_id": None, "eos_token_id": None}
        read = config.from_dict(written | special)
        assert base.from_hf(read.to_dict()) == ours, name
        theirs = oracles.theirs(name).config.to_dict()
        differing = {key for key in theirs if theirs[key] != read.to_dict()[key]}
        # the last one says nothing where there is no window
        assert differing <= {"architectures", "dtype", "use_cache", "max_window_layers"}, name

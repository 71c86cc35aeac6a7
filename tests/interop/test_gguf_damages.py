"""Damaged and foreign GGUF files, each refused in one sentence that says why."""

import struct
import tracemalloc

import numpy as np
import pytest

from interop.inspect import inspect
from jfl.errors import CheckpointError, JflError, UsageError
from jfl.models.files import open_language, tokenizer_content
from tests.damages import DAMAGES
from tests.interop import gguf_files

pytest.importorskip("gguf")
RNG = np.random.default_rng(0)
ABOUT = {
    "context_length": 16, "embedding_length": 32, "block_count": 1, "feed_forward_length": 12,
    "attention.head_count": 2, "attention.head_count_kv": 1,
    "attention.layer_norm_rms_epsilon": 1e-5,
}  # fmt: skip
SHAPES = {
    "token_embd.weight": (5, 32), "output_norm.weight": (32,), "blk.0.attn_norm.weight": (32,),
    "blk.0.attn_q.weight": (32, 32), "blk.0.attn_k.weight": (16, 32),
    "blk.0.attn_v.weight": (16, 32), "blk.0.attn_output.weight": (32, 32),
    "blk.0.ffn_norm.weight": (32,), "blk.0.ffn_gate.weight": (12, 32),
    "blk.0.ffn_up.weight": (12, 32), "blk.0.ffn_down.weight": (32, 12),
}  # fmt: skip
ARRAYS = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
Q, V = "blk.0.attn_q.weight", "blk.0.attn_v.weight"


def written(path, arrays=None, kind="llama", **changes):
    about = {f"{kind}.{key}": value for key, value in ABOUT.items()}
    about |= {key.replace("__", "."): value for key, value in changes.items()}
    about = {key: value for key, value in about.items() if value is not ...}
    return gguf_files.write(path, kind, about, ARRAYS if arrays is None else arrays)


def test_undamaged_it_is_read(tmp_path):
    path = written(tmp_path / "a.gguf")
    np.testing.assert_array_equal(
        open_language(path).params["embed"]["tokens"]["embedding"], ARRAYS["token_embd.weight"]
    )


def test_queries_and_keys_are_in_order(tmp_path):
    """Rows of a head: the file turns neighbours, jfl the first half with the second."""
    params = open_language(written(tmp_path / "a.gguf")).params["layers"]["attention"]
    for word, name, heads in (("q", Q, 2), ("k", "blk.0.attn_k.weight", 1)):
        kernel = params[word]["kernel"][0].T
        for head in range(heads):
            for pair in range(8):
                row = ARRAYS[name][16 * head + 2 * pair :][:2]
                np.testing.assert_array_equal(kernel[16 * head + pair], row[0])
                np.testing.assert_array_equal(kernel[16 * head + pair + 8], row[1])


def spoiled(value):
    array = ARRAYS[V].copy()
    array[1, 2] = value
    return ARRAYS | {V: array}


def blocks(kind, size, scale=b"\0\x3c"):
    rows = np.zeros((16, size), np.uint8)
    rows[:, :2] = np.frombuffer(scale, np.uint8)
    return ARRAYS | {V: (kind, rows)}


WRONG_ARRAYS = {
    "missing": ({k: v for k, v in ARRAYS.items() if k != Q}, rf"lacks {Q} of llama"),
    "no embedding": (
        {k: v for k, v in ARRAYS.items() if k[:3] != "tok"}, r"holds no token_embd\.weight"
    ),
    "surplus": (ARRAYS | {"blk.1.x.weight": ARRAYS[Q]}, "blk.1.x.weight, which is none of this ll"),
    "a bias alone": (ARRAYS | {"blk.0.attn_v.bias": ARRAYS[V][:, 0]}, r"attn_v\.bias, which is n"),
    "misshaped": (ARRAYS | {Q: ARRAYS[Q][:30]}, r"attn_q\.weight is \[30, 32\], but by its sett"),
    "flat": (ARRAYS | {Q: ARRAYS[Q].reshape(-1)}, r"attn_q\.weight is \[1024\], but by its sett"),
    "NaN": (spoiled(np.nan), "with 1 numbers that are not finite"),
    "whole numbers": (ARRAYS | {V: ARRAYS[V].astype(np.int8)}, "attn_v.weight as int8; jfl reads"),
    "double": (ARRAYS | {V: ARRAYS[V].astype(float)}, "attn_v.weight as float64; jfl reads F32,"),
    "other blocks": (blocks("Q5_0", 22), "attn_v.weight as Q5_0; jfl reads F32, .* llama-quantize"),
    "infinite blocks": (blocks("Q8_0", 34, b"\0\x7c"), "numbers that are not finite"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_arrays_that_are_not_the_networks(case, tmp_path):
    arrays, message = WRONG_ARRAYS[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        open_language(written(tmp_path / "a.gguf", arrays))
    assert "\n" not in str(caught.value)


SETTINGS = {
    "another": ({"kind": "gemma"}, "is of gemma, which jfl does not have; there are gpt2, llama"),
    "missing": ({"llama__block_count": ...}, "llama.block_count=None; it must be a whole number"),
    "zero": ({"llama__block_count": 0}, "llama.block_count=0; it must be a whole number above 0"),
    "a word": ({"llama__block_count": "many"}, "llama.block_count=many; it must be a whole"),
    "too many layers": ({"llama__block_count": 3}, r"lacks blk\.1\.attn_norm\.weight"),
    "absurd": ({"llama__block_count": 2**32 - 1}, "it must be a whole number above 0|lacks blk"),
    "heads of each layer": ({"llama__attention__head_count_kv": [1]}, "head_count_kv=a list; it m"),
    "heads": ({"llama__attention__head_count_kv": 2}, "contradicts itself"),
    "odd heads": ({"llama__attention__head_count": 5}, "contradicts itself|attn_q"),
    "NaN": ({"llama__rope__freq_base": float("nan")}, "freq_base=nan; it must be a number above 0"),
    "experts": ({"llama__expert_count": 8}, "llama.expert_count=8; it must be 0"),
    "stretched": ({"llama__rope__scaling__type": "yarn"}, "scaling.type=yarn; it must be none"),
    "part of a head": ({"llama__rope__dimension_count": 8}, "dimension_count=8; it must be 16"),
    "window": ({"llama__attention__sliding_window": 9}, "sliding_window=9; it must be absent"),
    "vocabulary": ({"llama__vocab_size": 6}, "has 5 tokens, but llama.vocab_size is 6"),
    "split": ({"split__count": 3}, "is one of 3 parts; merge them"),
}  # fmt: skip


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_do_not_fit(case, tmp_path):
    changes, message = SETTINGS[case]
    path = written(tmp_path / "a.gguf", **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_language(path)
    assert "\n" not in str(caught.value)
    assert inspect.run(path, inspect.Wanted())["network"].startswith("no network jfl reads: ")


def test_settings_of_other_programs_are_their_own(tmp_path):
    open_language(written(tmp_path / "a.gguf", mradermacher__quantized_by="x", general__url="y"))


def changed(content, place, *numbers):
    made = struct.pack(f"<{len(numbers)}Q", *numbers)
    return content[:place] + made + content[place + len(made) :]


BYTES = {
    "magic": (lambda c: b"GGUX" + c[4:], "is no GGUF file"),
    "version": (lambda c: c[:4] + b"\x01" + c[5:], "version 1,"),
    "other byte order": (lambda c: c[:4] + c[7:3:-1] + c[8:], "version 50331648"),
    "arrays": (lambda c: changed(c, 8, 2**60), f"{2**60} arrays"),
    "settings": (lambda c: changed(c, 16, 2**40), f"{2**40} settings"),
    "a long name": (lambda c: changed(c, 24, 2**50), f"a text of {2**50} bytes"),
    "end": (lambda c: c[:-40], r"but the file ends at"),
    "no numbers": (lambda c: c[: len(c) // 3], "but the file ends at|truncated"),
}


@pytest.mark.parametrize("case", BYTES)
def test_bytes_that_are_damaged(case, tmp_path):
    change, message = BYTES[case]
    path = written(tmp_path / "a.gguf")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        open_language(path)


def test_a_setting_twice(tmp_path):
    path = written(tmp_path / "a.gguf", llama__x=1, llama__y=2)
    path.write_bytes(path.read_bytes().replace(b"llama.x", b"llama.y"))
    with pytest.raises(CheckpointError, match=r"llama\.y stands twice"):
        open_language(path)


@pytest.mark.parametrize(
    "name", sorted(DAMAGES.keys() - {"not UTF-8", "twice"})
)  # which spare its header
def test_damaged_in_the_usual_ways(name, tmp_path):
    path = written(tmp_path / "a.gguf")
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    for read in (open_language, tokenizer_content):
        with pytest.raises(JflError) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_one_array_is_in_memory_at_a_time(tmp_path):
    wide = {name: (1024, 1024) if len(shape) > 1 else (1024,) for name, shape in SHAPES.items()}
    arrays = {name: np.ones(shape, np.float32) for name, shape in wide.items()}
    changes = {"embedding_length": 1024, "feed_forward_length": 1024, "attention__head_count": 1}
    path = written(
        tmp_path / "a.gguf", arrays, **{f"llama__{key}": value for key, value in changes.items()}
    )
    open_language(written(tmp_path / "b.gguf"))  # what is imported is not counted
    tracemalloc.start()
    open_language(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 4 * 2**20 + 4 * 4 * 2**20


def test_no_such_file(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        open_language(tmp_path / "a.gguf")

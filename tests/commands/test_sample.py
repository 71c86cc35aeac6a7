"""`jfl sample` through the real command line, on small networks of every kind that it opens."""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl.adapters import base as adapters
from jfl.adapters import foreign, lora
from jfl.cli import main
from jfl.models import files
from jfl.models.language import base, gpt2
from jfl.text import tokenizers

TOKENIZER = tokenizers.open("bytes")
CONFIG = gpt2.Config(
    vocabulary=TOKENIZER.vocabulary, context=64, width=8, layers=2, heads=2,
    attention_dropout=0, embedding_dropout=0, residual_dropout=0,
)  # fmt: skip
MODEL = base.build(CONFIG)
SHAPES = jax.eval_shape(lambda: MODEL.init(jax.random.key(0)))
RNG = np.random.default_rng(3)
PARAMS = jax.tree.map(lambda s: RNG.normal(size=s.shape).astype(np.float32), SHAPES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("network") / "small"
    files.write_language(place, gpt2.to_hf(CONFIG), PARAMS)
    TOKENIZER.save(place)
    return place


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def done(*words: object, code: int = 0, stdin: bytes = b"") -> tuple[str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main(["sample", *map(str, words), "--device", "cpu"])
        out, said = capsys.readouterr()
        assert ended.value.code == code, said
        return out, said

    return done


def greedy(params, prompt: str, count: int) -> str:
    tokens = [*TOKENIZER.prefix, *TOKENIZER.encode(prompt)]
    first = len(tokens)
    forward = partial(jax.jit(lambda p, t: MODEL.logits(p, MODEL.hidden(p, t)[0])), params)
    for _ in range(count):
        padded = np.zeros((1, 64), np.int32)
        padded[0, : len(tokens)] = tokens
        tokens.append(int(np.argmax(forward(jnp.asarray(padded))[0, len(tokens) - 1])))
    return TOKENIZER.decode(tokens[first:])


def test_a_text_goes_on(run: Any, folder: Path) -> None:
    out, said = run(folder, "--prompt", "It is", "--max-tokens", 9, "--json")
    (reply,) = json.loads(out)["replies"]
    assert reply == {"text": greedy(PARAMS, "It is", 9), "tokens": 9, "end": "length"}
    assert "9 tokens after 6 of prompt" in said
    shown, _ = run(folder, "--prompt", "-", "--max-tokens", 9, stdin=b"It is")
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert shown.rstrip("\n").encode("ascii", "replace")  # as much as a terminal can show


def test_several_are_drawn(run: Any, folder: Path) -> None:
    words = (folder, "--prompt", "a", "--max-tokens", 12, "--temperature", 1, "--samples", 3)
    out, _ = run(*words, "--json", "--seed", 4)
    again, _ = run(*words, "--json", "--seed", 4)
    texts = [reply["text"] for reply in json.loads(out)["replies"]]
    assert texts == [reply["text"] for reply in json.loads(again)["replies"]]
    assert len(set(texts)) == 3
    shown, _ = run(*words)
    assert [line for line in shown.split("\n") if line.startswith("--- ")] == [
        "--- 1 of 3", "--- 2 of 3", "--- 3 of 3"
    ]  # fmt: skip


def test_an_adapter_on_its_base(run: Any, folder: Path, tmp_path: Path) -> None:
    settings = lora.Config(rank=2, targets=("attention.qkv",))
    adapted = adapters.build(settings, CONFIG)
    start = adapted.init(jax.random.key(0), PARAMS)
    adapter = jax.tree.map(lambda p: np.asarray(p) + 0.5, start)
    told = foreign.given(settings, adapter)
    files.write_adapter(tmp_path / "own", gpt2.to_hf(CONFIG), *told)
    out, _ = run(tmp_path / "own", "--base", folder, "--prompt", "x", "--max-tokens", 6, "--json")
    (reply,) = json.loads(out)["replies"]
    assert reply["text"] == greedy(adapted.merged(adapter, PARAMS), "x", 6)
    assert reply["text"] != greedy(PARAMS, "x", 6)
    _, said = run(tmp_path / "own", "--prompt", "x", code=2)
    assert "is an adapter, and its base is not here; give --base DIR" in said


def test_what_is_refused(run: Any, folder: Path, tmp_path: Path) -> None:
    lone = tmp_path / "lone"
    files.write_language(lone, gpt2.to_hf(CONFIG), PARAMS)
    other = tmp_path / "other"
    small = CONFIG.model_copy(update={"vocabulary": 7})
    rows = PARAMS["embed"]["tokens"]["embedding"][:7]
    embed = PARAMS["embed"] | {"tokens": {"embedding": rows}}
    files.write_language(other, gpt2.to_hf(small), PARAMS | {"embed": embed})
    TOKENIZER.save(other)
    for words, code, sentence in (
        ((folder, "--prompt", ""), 2, "the prompt is empty; give some text"),
        ((folder, "--prompt", "a" * 64), 2, "the prompt has 65 tokens, but texts of small have 64"),
        ((folder, "--prompt", "-"), 2, "the prompt is empty"),
        ((folder, "--prompt", "a", "--system", "b"), 2, "--system and --template are for --chat"),
        ((folder, "--prompt", "a", "--chat"), 2, "has no chat template; name one: chatml"),
        ((folder, "--prompt", "a", "--base", folder), 2, "is no adapter; leave --base out"),
        ((tmp_path / "none", "--prompt", "a"), 2, "is not there; give a folder"),
        ((lone, "--prompt", "a"), 3, "put the tokenizer's files beside the weights"),
        ((other, "--prompt", "a"), 3, "tokens, but the network's embedding only 7 rows"),
    ):
        _, said = run(*words, code=code)
        assert sentence in said
        assert "Traceback" not in said
    _, said = run(folder, "--prompt", "-", code=3, stdin=b"\xff\xfe a")
    assert "half a character" in said


@pytest.mark.slow
def test_a_real_network_answers(run: Any, smollm2: Path) -> None:
    words = (smollm2, "--chat", "--max-tokens", 20)
    shown, said = run(*words, "--prompt", "What is the capital of France?")
    assert shown == "The capital of France is Paris.\n"
    assert "7 tokens after 37 of prompt" in said

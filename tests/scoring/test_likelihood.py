"""Likelihoods are those a plain forward pass of one text after the other gives."""

import json
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jfl.errors import UsageError
from jfl.generate.rows import Generator
from jfl.models.language import base, gpt2
from jfl.scoring import choices, likelihood, texts
from jfl.scoring.choices import Question
from jfl.scoring.likelihood import Scorer
from jfl.text import tokenizers

TOKENIZER = tokenizers.open("bytes")
CONFIG = gpt2.Config(
    vocabulary=TOKENIZER.vocabulary, context=48, width=8, layers=2, heads=2,
    attention_dropout=0, embedding_dropout=0, residual_dropout=0,
)  # fmt: skip
MODEL = base.build(CONFIG)
SHAPES = jax.eval_shape(lambda: MODEL.init(jax.random.key(0)))
RNG = np.random.default_rng(0)
PARAMS = jax.tree.map(lambda s: jnp.asarray(0.5 * RNG.normal(size=s.shape), jnp.float32), SHAPES)


def scorer(**settings) -> Scorer:
    return Scorer(MODEL, PARAMS, TOKENIZER, **settings)


@jax.jit
def forward(tokens):
    return MODEL.logits(PARAMS, MODEL.hidden(PARAMS, tokens)[0])


def alone(pair, length=48):
    """One text by itself: padded to one shape, which a causal network does not see."""
    tokens = [*pair[0], *pair[1]][-length - 1 :]
    padded = np.zeros((1, 48), np.int32)
    padded[0, : len(tokens) - 1] = tokens[:-1]
    shares = log_softmax(np.asarray(forward(jnp.asarray(padded))[0], np.float64), axis=-1)
    places = range(len(tokens) - 1 - len(pair[1]), len(tokens) - 1)
    nats = sum(shares[at, token] for at, token in zip(places, pair[1], strict=True))
    greedy = all(shares[at].argmax() == t for at, t in zip(places, pair[1], strict=True))
    return nats, greedy


def drawn(count=30):
    sizes = RNG.integers(1, 30, (count, 2))
    return [
        tuple(RNG.integers(0, 256, size).tolist() for size in pair) for pair in sizes
    ]  # some are longer than the context


@pytest.mark.parametrize("settings", [{}, {"batch_tokens": 1}, {"length": 32}])
def test_each_is_what_it_is_alone(settings, monkeypatch):
    monkeypatch.setattr(likelihood, "LOGITS", 3 * CONFIG.vocabulary)
    pairs = drawn(6 if settings else 30)
    likeliest = int(np.argmax(np.asarray(forward(jnp.zeros((1, 48), jnp.int32)))[0, 0]))
    pairs += [([0], [likeliest]), ([0], [(likeliest + 1) % 256]), ([0], [likeliest])]
    found = scorer(**settings).score(pairs)
    for pair, own in zip(pairs, found, strict=True):
        nats, greedy = alone(pair, settings.get("length", 48))
        assert own.nats == pytest.approx(nats, rel=1e-5)
        assert own.greedy == greedy
    assert found[-1].greedy
    assert not found[-2].greedy


def test_choices_that_begin_alike_are_computed_once():
    counted = scorer()
    rows = counted._rows([([1, 2, 3], [letter]) for letter in range(4)])
    assert len(rows) == 1
    assert [token for _, token, _ in rows[0].asked] == [0, 1, 2, 3]


def test_few_programs_for_many_lengths():
    counted = scorer(batch_tokens=256)
    counted.score([([1] * n, [2]) for n in range(1, 40)])
    assert counted._compiled._cache_size() <= 8


def test_a_text_is_measured_in_windows():
    text = "It was a dark and stormy night; the rain fell in torrents, but not always so. " * 2
    (found,) = texts.measure(scorer(length=20), [text])
    tokens = [*TOKENIZER.prefix, *text.encode()]
    expected, done = 0.0, 1
    while done < len(tokens):  # as lm-eval has it: the last window is moved back to be full
        end = min(done + 20, len(tokens))
        expected -= alone((tokens[max(0, end - 21) : done], tokens[done:end]), 20)[0]
        done = end
    assert found.nats == pytest.approx(expected, rel=1e-5)
    assert (found.tokens, found.bytes) == (len(text), len(text))
    assert found.bits_per_byte == pytest.approx(found.nats / len(text) / math.log(2))
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    both = texts.total([found, replace(found, bytes=3)])
    assert (both.nats, both.bytes) == (2 * found.nats, len(text) + 3)


def test_a_question_by_hand():
    asked = Question("Paris is in", (" Spain", " France", " a"), 1)
    found = choices.answer(scorer(), [asked, replace(asked, answer=0)])
    nats = [alone(scorer().pair(asked.context, choice))[0] for choice in asked.choices]
    best = int(np.argmax(nats))
    fair = int(np.argmax([n / len(c) for n, c in zip(nats, asked.choices, strict=True)]))
    assert found.chosen == (best, best)
    assert found.chosen_by_length == (fair, fair)
    assert found.accuracy == ((best == 1) + (best == 0)) / 2


def test_blanks_between_the_texts_belong_to_the_second():
    (begin,) = TOKENIZER.prefix
    first, second = scorer().pair("a b ", "c")
    assert (first, second) == ([begin, *b"a b"], [*b" c"])
    first, second = scorer().pair("", "c")
    assert (first, second) == ([begin], [*b"c"])


REFUSED = [
    (lambda: scorer(length=49), "length=49 is not from 1 to the network's context, 48"),
    (lambda: scorer().score([([1], [])]), "request 1 has 1 tokens given and 0 to score"),
    (lambda: scorer().score([([1], [2]), ([], [2])]), "request 2 has 0 tokens given"),
    (lambda: scorer().score([([1], [2] * 49)]), "at most 48 to score"),
    (lambda: texts.measure(scorer(), [""]), "text 1 is empty"),
    (lambda: choices.answer(scorer(), []), "there are no questions"),
    (lambda: choices.answer(scorer(), [Question("a", ("b", ""), 0)]), "question 1 has 2 choices"),
    (lambda: choices.answer(scorer(), [Question("a", ("b", "c"), 2)]), "and answer 2"),
]


@pytest.mark.parametrize(("do", "said"), REFUSED)
def test_what_is_refused(do, said):
    with pytest.raises(UsageError, match=said):
        do()


@pytest.mark.slow
def test_lm_eval_scores_the_same(tmp_path, monkeypatch):
    lm_eval = pytest.importorskip("lm_eval")
    from jfl.scoring.harness import harness

    questions = [
        Question(f"Question {n}:", tuple(f" {RNG.integers(100)} b" for _ in range(3)), n % 3)
        for n in range(40)
    ]
    rows = [{"q": q.context, "c": list(q.choices), "a": q.answer} for q in questions]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    generates = {
        "task": "writes", "dataset_path": "json", "output_type": "generate_until",
        "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test",
        "doc_to_text": "{{q}}", "doc_to_target": "{{a}}",
        "generation_kwargs": {"until": ["a"], "max_gen_toks": 5, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    task = {
        "task": "own", "dataset_path": "json", "output_type": "multiple_choice",
        "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test",
        "doc_to_text": "{{q}}", "doc_to_choice": "{{c}}", "doc_to_target": "{{a}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }  # fmt: skip
    generator = Generator(MODEL, PARAMS, slots=4, length=48, decode=TOKENIZER.decode_bytes)
    model = harness(scorer(), generator)
    found = lm_eval.simple_evaluate(model=model, tasks=[task, generates], bootstrap_iters=0)
    ours = choices.answer(scorer(), questions)
    assert found["results"]["own"]["acc,none"] == pytest.approx(ours.accuracy)
    assert found["results"]["own"]["acc_norm,none"] == pytest.approx(ours.accuracy_by_length)

    for number in (0, 39):
        prompt = [*TOKENIZER.prefix, *TOKENIZER.encode(questions[number].context)]
        for _ in range(5):
            padded = np.zeros((1, 48), np.int32)
            padded[0, : len(prompt)] = prompt
            logits = np.asarray(forward(jnp.asarray(padded)))[0, len(prompt) - 1]
            prompt.append(int(logits.argmax()))
        whole = TOKENIZER.decode_bytes(prompt[-5:]).decode("utf-8", "replace")
        (reply,) = found["samples"]["writes"][number]["resps"][0]
        assert reply == whole.partition("a")[0]

"""Training, special tokens, conversations and others' forms of the tokenizer of jfl.lm."""

import functools
import json
import pickle  # noqa: TID251 - what others wrote is made here

import numpy as np
import pytest

pytest.importorskip("rustbpe")

from jfl.errors import DataError, SafetyError, UsageError
from jfl.lm.tokenizer import hf, render, saved, special, training
from jfl.text import tokenizers
from jfl.text.chat import Format
from jfl.text.patterns import PATTERNS
from tests.reference import bpe

TEXTS = [
    "It's 1234567 o'clock; they'LL come, she said. Café au lait, naïve!\r\n\r\n  déjà vu",
    "  the theatre thereof: then they thought that the other thing\tthrough\n\n\n and 42 or 007",
    "你好世界, 你好 🌍🌍! x = foo(bar[1:23]) # the the the\n    return None\n",
] * 2
VOCABULARY = 340


@functools.cache
def tokenizer():
    return training.train(iter(TEXTS), VOCABULARY)


def test_it_is_the_slow_trainers():
    slow = bpe.train(TEXTS, PATTERNS["nanochat"], VOCABULARY - 256 - 9)
    assert special.ranks(tokenizer()) == slow
    for text in [*TEXTS, "thesaurus 99999 \u2019tis\u00a0so", "\x00\ufffd"]:
        ids = tokenizer().encode(text)
        assert ids == bpe.encode(text, PATTERNS["nanochat"], slow)
        assert tokenizer().decode(ids) == text


def test_digits_go_in_ones_and_twos():
    pieces = [tokenizer().piece(n) for n in tokenizer().encode("1234567")]
    assert max(map(len, pieces)) <= 2
    assert b"12" in pieces


def test_special_tokens_stand_behind_and_are_never_text():
    numbers = [tokenizer().special[word] for word in special.SPECIAL]
    assert numbers == list(range(VOCABULARY - 9, VOCABULARY))
    assert tokenizer().prefix == (numbers[0],)
    assert tokenizer().stops == (tokenizer().special["<|assistant_end|>"],)
    assert not set(numbers) & set(tokenizer().encode("".join(special.SPECIAL)))


def test_bytes_of_tokens_are_those_they_have_inside_of_characters_too():
    lengths = special.token_bytes(tokenizer())
    assert lengths.dtype == np.int32
    np.testing.assert_array_equal(lengths[:256], 1)
    np.testing.assert_array_equal(lengths[-9:], 0)
    for text in TEXTS:
        assert lengths[tokenizer().encode(text)].sum() == len(text.encode())


@pytest.mark.parametrize(
    ("texts", "vocabulary", "kind", "message"),
    [
        (TEXTS, 264, UsageError, r"^vocab_size=264 must be from 265 .* to 1,048,576$"),
        (["a b"], 300, DataError, r"no more than 266 tokens; take vocab_size=266, or more text$"),
        ([], 300, DataError, r"^there is no text to train a tokenizer on$"),
        (["a\ud800"], 300, DataError, r"half a character"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(texts, vocabulary, kind, message):
    with pytest.raises(kind, match=message):
        training.train(texts, vocabulary)


def test_without_rustbpe_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rustbpe", None)
    with pytest.raises(DataError, match=r"needs rustbpe; install jfl's extra `lm`"):
        training.train(TEXTS, 300)


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How much is 6*7? <|assistant_end|>"},
    {"role": "assistant", "content": [
        {"type": "text", "text": "Let me see: "},
        {"type": "python", "text": "6*7"},
        {"type": "python_output", "text": "42"},
        {"type": "text", "text": "It is 42."},
    ]},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "Bye"},
]  # fmt: skip
TABLE = [
    ("<|bos|>", 0), ("<|user_start|>", 0),
    ("Be brief.\n\nHow much is 6*7? <|assistant_end|>", 0), ("<|user_end|>", 0),
    ("<|assistant_start|>", 0), ("Let me see: ", 1), ("<|python_start|>", 1), ("6*7", 1),
    ("<|python_end|>", 1), ("<|output_start|>", 0), ("42", 0), ("<|output_end|>", 0),
    ("It is 42.", 1), ("<|assistant_end|>", 1), ("<|user_start|>", 0), ("Thanks", 0),
    ("<|user_end|>", 0), ("<|assistant_start|>", 0), ("Bye", 1), ("<|assistant_end|>", 1),
]  # fmt: skip


def test_what_is_learned_of_a_conversation():
    made = render.render(tokenizer(), TALK)
    ids, trained = [], []
    for word, learned in TABLE:
        known = word.startswith("<|")
        more = [tokenizer().special[word]] if known else tokenizer().encode(word)
        ids += more
        trained += [bool(learned)] * len(more)
    assert made == (ids, trained)
    short = render.render(tokenizer(), TALK, 7)
    assert short == (ids[:7], trained[:7])
    asked = render.prompt(tokenizer(), TALK)
    end = len(tokenizer().encode("Bye")) + 1
    assert asked == ids[:-end]


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        ([], r"^the conversation is empty"),
        (TALK[2:], r"^message 1 is of 'assistant', not of 'user'; the two take turns$"),
        ([*TALK[1:2], *TALK[1:]], r"^message 2 is of 'user', not of 'assistant'"),
        ([TALK[0]], r"^message 2 must be the user's"),
        ([{"role": "user", "content": 3}], r"^message 1 must be text, not 3$"),
        ([TALK[3], {"role": "assistant", "content": [{"type": "x"}]}], r"^message 2 holds .*'x'"),
        ([TALK[3], {"role": "assistant"}], r"^message 2 holds .*None"),
    ],
)
def test_what_is_no_conversation_is_one_sentence(talk, message):
    with pytest.raises(DataError, match=message):
        render.render(tokenizer(), talk)
    with pytest.raises(DataError, match="does not end with a reply"):
        render.prompt(tokenizer(), TALK[:2])


def test_its_template_writes_the_same():
    pytest.importorskip("jinja2")
    plain = [TALK[0], TALK[1], TALK[4], TALK[3], TALK[4]]
    form = Format(tokenizer())
    chat = form.tokens(plain)
    assert (chat.ids, chat.trained) == render.render(tokenizer(), plain)
    assert form.tokens(plain[:-1], prompt=True).ids == render.prompt(tokenizer(), plain)


def test_it_is_kept_as_text_and_found_again(tmp_path):
    tokenizer().save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"nanochat.tiktoken", "tiktoken.json"}
    again = saved.open(tmp_path)
    assert again == tokenizer()


def test_hugging_face_reads_the_same_tokenizer(tmp_path):
    pytest.importorskip("tokenizers")
    hf.export(tokenizer(), tmp_path)
    theirs = tokenizers.open(tmp_path)
    for text in TEXTS:
        assert theirs.encode(text) == tokenizer().encode(text)
    assert theirs.special == tokenizer().special
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["bos_token"] == "<|bos|>"


def pickled(**other):
    import tiktoken

    known = {
        "pat_str": PATTERNS["nanochat"],
        "mergeable_ranks": special.ranks(tokenizer()),
        "special_tokens": tokenizer().special,
    }
    return pickle.dumps(tiktoken.Encoding("rustbpe", **known | other))


def test_a_pickled_tokenizer_is_read_as_data(tmp_path):
    (tmp_path / "tokenizer.pkl").write_bytes(pickled())
    assert saved.open(tmp_path) == tokenizer()
    (tmp_path / "tokenizer.pkl").write_bytes(pickled(special_tokens={"<|endoftext|>": 331}))
    with pytest.raises(DataError, match=r"is no tokenizer of nanochat: its special tokens"):
        saved.open(tmp_path)
    for cut in (20, 700, -1):
        (tmp_path / "tokenizer.pkl").write_bytes(pickled()[:cut])
        with pytest.raises(DataError, match="is a damaged pickle"):
            saved.open(tmp_path)
    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(SafetyError, match=r"names builtins\.print at byte"):
        saved.open(tmp_path)

"""Tokenizers in GGUF files, beside slow ones and transformers' own reading of the same files."""

import json

import numpy as np
import pytest

from interop import convert
from interop.to_run import Wanted
from jfl.errors import CheckpointError
from jfl.models.files import tokenizer_content
from jfl.text.tokenizers import hf
from tests.interop import gguf_files
from tests.interop.test_gguf_damages import ABOUT, ARRAYS
from tests.reference import gguf_tokens

pytest.importorskip("gguf")
tokenizers = pytest.importorskip("tokenizers")
READ = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife. In 1813 she'd 12,345 pounds!  Она сказала: «да»... 这是真的。 ñandú"
)
ODD = [
    "", " ", "zzq zzq", "  two  spaces ", "\n\n a\r\n\tb", "It's I'LL we'Ve they'd",
    "3.14159 1234567 ½ ٣٤",
    "é e\u0301 ﬁ", "🙂🏽 a🙂", "<|end|>", "a<|end|>b <tool> c", "x_y-z…!?",
    "\u00a0\u3000", "\ua731 Ǆ \u0627 ب",
]  # fmt: skip


def texts():
    """Odd ones, and random rows of letters and signs of all scripts."""
    rng = np.random.default_rng(0)
    letters = list(READ) + list(" \n\t0123456789'.,é中文ЖдاबकŁ🙂\u0301½")
    drawn = rng.choice(letters, (120, 30))
    return ODD + ["".join(row[: rng.integers(1, 30)]) for row in drawn]


@pytest.fixture(scope="module")
def byte_level():
    """Tokens, types and merges of a BPE trained on a few lines."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=sorted(gguf_tokens.alphabet().values()),
        special_tokens=["<|start|>", "<|end|>"],
    )  # fmt: skip
    made.train_from_iterator([READ] * 3, trainer)
    model = json.loads(made.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = [" ".join(merge) for merge in model["merges"]]
    kinds = [3, 3] + [1] * (len(tokens) - 1)
    return [*tokens, "zzq", "<tool>"], [*kinds, 4], merges  # no merge makes zzq


def written(path, about, tokens, kind="llama"):
    settings = {f"{kind}.{key}": value for key, value in ABOUT.items()}
    settings |= {f"tokenizer.{key}": value for key, value in about.items() if value is not ...}
    embedding = {"token_embd.weight": np.ones((len(tokens), 32), np.float32)}
    return gguf_files.write(path, kind, settings, ARRAYS | embedding)


def words(byte_level, name, **changes):
    tokens, kinds, merges = byte_level
    return {
        "ggml.model": "gpt2", "ggml.pre": name, "ggml.tokens": tokens, "ggml.token_type": kinds,
        "ggml.merges": merges, "ggml.bos_token_id": 0, "ggml.eos_token_id": 1,
    } | {key.replace("__", "."): value for key, value in changes.items()}  # fmt: skip


def apart(text):
    """A text without the tokens that are written in it, as llama.cpp takes them out first."""
    import re

    return re.split(r"(<\|start\|>|<\|end\|>|<tool>)", text)


@pytest.mark.parametrize("name", gguf_tokens.CUTS)
def test_byte_level(byte_level, name, tmp_path):
    import unicodedata

    tokens, _, merges = byte_level
    path = written(tmp_path / "a.gguf", words(byte_level, name), tokens)
    whole, about = tokenizer_content(path)
    made = tokenizers.Tokenizer.from_str(whole)
    begins = [0] if name == "llama-bpe" else []
    assert about["add_bos_token"] == bool(begins)
    for text in texts():
        given = unicodedata.normalize("NFC", text) if name == "qwen2" else text
        expected = []
        for part in apart(given):
            known = part in ("<|start|>", "<|end|>", "<tool>")
            plain = [] if known else gguf_tokens.byte_level(part, tokens, merges, name)
            expected += [tokens.index(part)] if known else plain
        found = made.encode(text).ids
        assert found == begins + expected, text
        assert made.decode(found[len(begins) :], skip_special_tokens=False) == given
    assert (about["bos_token"], about["eos_token"]) == ("<|start|>", "<|end|>")


@pytest.mark.torch
@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "qwen2"])
def test_transformers_reads_the_same_tokens(byte_level, name, tmp_path):
    transformers = pytest.importorskip("transformers")
    path = written(tmp_path / "a.gguf", words(byte_level, name), byte_level[0])
    whole, _ = tokenizer_content(path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="a.gguf")
    made = tokenizers.Tokenizer.from_str(whole)
    for text in texts():
        if (name == "qwen2" and not text.isascii()) or "zzq" in text:
            continue  # it reads Qwen's files without its normal form, and Llama's without
            # the rule that a part which is a token is not cut further
        ours = made.encode(text, add_special_tokens=False).ids
        assert ours == theirs.encode(text, add_special_tokens=False), text


@pytest.fixture(scope="module")
def sentence_pieces():
    """Pieces with scores as SentencePiece gives them: the earlier merged, the higher."""
    made = tokenizers.SentencePieceBPETokenizer()
    made.train_from_iterator([READ] * 3, vocab_size=300, show_progress=False)
    model = json.loads(made.to_str())["model"]
    merged = ["".join(merge) for merge in model["merges"]]
    single = sorted({letter for token in model["vocab"] for letter in token})
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(merged) + len(single))]
    distinct = [*dict.fromkeys(merged), *(letter for letter in single if letter not in merged)]
    tokens += distinct
    kinds = kinds[: len(tokens)]
    ranks = np.random.default_rng(1).permutation(len(distinct))  # numbers do not follow scores
    tokens[259:] = [distinct[rank] for rank in ranks]
    scores = [0.0] * 259 + [-float(rank) for rank in ranks]
    return tokens, kinds, scores


def pieces(sentence_pieces, **changes):
    tokens, kinds, scores = sentence_pieces
    return {
        "ggml.model": "llama", "ggml.tokens": tokens, "ggml.token_type": kinds,
        "ggml.scores": scores, "ggml.bos_token_id": 1, "ggml.eos_token_id": 2,
        "ggml.unknown_token_id": 0,
    } | {key.replace("__", "."): value for key, value in changes.items()}  # fmt: skip


def test_sentence_pieces(sentence_pieces, tmp_path):
    tokens, _, scores = sentence_pieces
    whole, about = tokenizer_content(written(tmp_path / "a.gguf", pieces(sentence_pieces), tokens))
    made = tokenizers.Tokenizer.from_str(whole)
    assert about["add_bos_token"]
    for text in texts():
        found = made.encode(text).ids
        assert found == [1, *gguf_tokens.pieces(text, tokens, scores)], text
        assert made.decode(found) == text


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_jfl_encodes_with_it(kind, byte_level, sentence_pieces, tmp_path):
    held = sentence_pieces if kind == "llama" else byte_level
    template = "{{ messages[0].content }}"
    about = pieces(held, chat_template=template) if kind == "llama" else (
        words(held, "smollm", chat_template=template)
    )  # fmt: skip
    whole, known = tokenizer_content(written(tmp_path / "a.gguf", about, held[0]))
    ours, theirs = hf.from_content(whole, known), tokenizers.Tokenizer.from_str(whole)
    assert (ours.vocabulary, ours.template) == (len(held[0]), template)
    assert ours.eos == about["ggml.eos_token_id"]
    assert ours.prefix == ((1,) if kind == "llama" else ())
    for text in texts():
        if "<" not in text:
            expected = theirs.encode(text, add_special_tokens=False).ids
            assert list(ours.encode(text)) == expected, text
            assert ours.decode(expected) == text


def test_what_frames_a_text(sentence_pieces, tmp_path):
    changes = {"ggml__add_bos_token": False, "ggml__add_eos_token": True}
    changes["ggml__add_space_prefix"] = False
    tokens = sentence_pieces[0]
    whole, about = tokenizer_content(
        written(tmp_path / "a.gguf", pieces(sentence_pieces, **changes), tokens)
    )
    made = tokenizers.Tokenizer.from_str(whole)
    assert made.encode("a").tokens == ["a", "</s>"]
    assert made.encode("a", "a").tokens == ["a", "</s>", "a", "</s>"]
    assert (about["add_bos_token"], about["add_eos_token"]) == (False, True)
    assert made.decode(made.encode(" a").ids) == " a"


@pytest.mark.torch
def test_a_folder_has_tokenizer_and_template(byte_level, tmp_path):
    transformers = pytest.importorskip("transformers")
    template = "{% for m in messages %}<|start|>{{ m.content }}<|end|>{% endfor %}"
    about = words(byte_level, "smollm", chat_template=template, ggml__padding_token_id=1)
    path = written(tmp_path / "a.gguf", about, byte_level[0])
    convert.run(
        path, tmp_path / "b", Wanted(), client=None, which="last", scheme=None, suffix=None,
        dry=False,
    )  # fmt: skip
    made = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
    assert (made.bos_token, made.eos_token, made.pad_token) == ("<|start|>", "<|end|>", "<|end|>")
    assert made.model_max_length == ABOUT["context_length"]
    talk = [{"role": "user", "content": "It is a truth"}]
    assert made.apply_chat_template(talk, tokenize=False) == "<|start|>It is a truth<|end|>"
    whole, _ = tokenizer_content(path)
    for text in texts():
        assert made(text).input_ids == tokenizers.Tokenizer.from_str(whole).encode(text).ids


WRONG = {
    "none": ({"ggml__model": ...}, "has no tokenizer; jfl reads gpt2 and llama"),
    "another": ({"ggml__model": "t5"}, "has a tokenizer of the kind t5; jfl reads gpt2 and llama"),
    "no cut": ({"ggml__pre": ...}, "does not say how its tokenizer cuts texts; jfl has gpt-2"),
    "another cut": ({"ggml__pre": "tekken"}, r"by tokenizer\.ggml\.pre=tekken; jfl has gpt-2"),
    "no tokens": ({"ggml__tokens": ...}, "has a tokenizer without tokens"),
    "tokens of numbers": ({"ggml__tokens": [1, 2]}, "has a tokenizer without tokens"),
    "one token": ({"ggml__tokens": "a"}, r"tokenizer\.ggml\.tokens that is no list"),
    "few tokens": ({"ggml__tokens": ["a", "b"], "ggml__token_type": ...}, "has 2 tokens, but its"),
    "types": ({"ggml__token_type": [1, 1]}, "tokens, but types of 2"),
    "no merges": ({"ggml__merges": ...}, "has a byte-level tokenizer without merges"),
    "strange merge": ({"ggml__merges": ["a zzz"]}, "has the merge 'a zzz', which is not of its"),
    "no such token": ({"ggml__eos_token_id": 9999}, "eos_token_id=9999, but"),
    "flag": ({"ggml__add_bos_token": "yes"}, "tokenizer.ggml.add_bos_token=yes"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_tokenizers_that_are_not_read(byte_level, case, tmp_path):
    changes, message = WRONG[case]
    path = written(tmp_path / "a.gguf", words(byte_level, "gpt-2", **changes), byte_level[0])
    with pytest.raises(CheckpointError, match=message) as caught:
        tokenizer_content(path)
    assert "\n" not in str(caught.value)


def test_a_token_twice(byte_level, tmp_path):
    tokens = [*byte_level[0]]
    tokens[7] = tokens[6]
    about = words(byte_level, "gpt-2", ggml__tokens=tokens)
    with pytest.raises(CheckpointError, match=r"has the token .* twice"):
        tokenizer_content(written(tmp_path / "a.gguf", about, tokens))


WRONG_PIECES = {
    "scores": ({"ggml__scores": [1.0]}, "without a score for each token"),
    "spaces": ({"ggml__remove_extra_whitespaces": True}, "a tokenizer that removes spaces"),
    "charsmap": ({"ggml__precompiled_charsmap": "x"}, "a tokenizer with a charsmap"),
}


@pytest.mark.parametrize("case", WRONG_PIECES)
def test_pieces_that_are_not_read(sentence_pieces, case, tmp_path):
    changes, message = WRONG_PIECES[case]
    about = pieces(sentence_pieces, **changes)
    with pytest.raises(CheckpointError, match=message):
        tokenizer_content(written(tmp_path / "a.gguf", about, sentence_pieces[0]))

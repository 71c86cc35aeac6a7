"""Every kind of tokenizer beside the library that its files come from, on 1,000 texts."""

import json
from pathlib import Path

import pytest
import tiktoken
import tokenizers as library
from transformers import PreTrainedTokenizerFast

from jfl.errors import DataError, UsageError
from jfl.sources import text as words_of
from jfl.text import base, tokenizers
from jfl.text.tokenizers import gpt2, hf, words
from jfl.text.tokenizers import tiktoken as ranked
from tests.text import made

SPECIAL = {"<|endoftext|>": 1000, "<|im_start|>": 1001, "<|im_end|>": 1002, "<|user|>": 1003}
KINDS = {
    "byte level": made.byte_level,
    "llama 2": made.llama2,
    "metaspace": lambda: made.llama2(metaspace=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_json_is_what_transformers_makes_of_it(kind: str) -> None:
    content = KINDS[kind]()
    ours = hf.from_content(content, {})
    theirs = PreTrainedTokenizerFast(tokenizer_object=library.Tokenizer.from_str(content))
    plain = library.Tokenizer.from_str(content)
    plain.encode_special_tokens = True
    for number, text in enumerate(made.texts()):
        ids = ours.encode(text, special=True)
        assert ids == theirs.encode(text, add_special_tokens=False), text
        assert ours.encode(text) == plain.encode(text, add_special_tokens=False).ids, text
        if number > 250:
            continue
        assert ours.spans(text, special=True)[0] == ids
        # the library replaces each byte of a run that is no text; jfl keeps what is text
        decoded = theirs.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert ours.decode(ids) == decoded, text
        whole = theirs.encode(text, add_special_tokens=True)
        assert [*ours.prefix, *ids] == whole


def test_ranks_are_what_tiktoken_makes_of_them() -> None:
    about = {"pattern": "cl100k", "special": SPECIAL, "eos": "<|endoftext|>"}
    ours = ranked.from_ranks(made.ranks(), about, "mine")
    theirs = tiktoken.Encoding(
        "mine", pat_str=_openai("cl100k_base"), mergeable_ranks=made.ranks(), special_tokens=SPECIAL
    )
    for text in made.texts():
        ids = theirs.encode(text, allowed_special="all")
        assert ours.encode(text, special=True) == ids, text
        assert ours.encode(text) == theirs.encode_ordinary(text), text
        if len(ids) > 60:
            continue
        assert ours.decode_bytes(ids) == theirs.decode_bytes(ids) == text.encode()
        starts = theirs.decode_with_offsets(ids)[1]
        assert [start for start, _ in ours.spans(text, special=True)[1]] == starts


@pytest.mark.parametrize(
    ("ours", "theirs"), [("gpt2", "gpt2"), ("cl100k", "cl100k_base"), ("o200k", "o200k_base")]
)
def test_named_patterns_cut_as_openais_do(ours: str, theirs: str) -> None:
    import regex

    from jfl.text.patterns import PATTERNS

    for text in made.texts():
        assert regex.findall(PATTERNS[ours], text) == regex.findall(_openai(theirs), text), text


def _openai(name: str) -> str:
    from tiktoken_ext import openai_public

    with pytest.MonkeyPatch.context() as patch:  # only the expression; the ranks are on the web
        patch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})
        patch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", lambda **_: {})
        return getattr(openai_public, name)()["pat_str"]


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
def test_gpt2s_two_files(tmp_path: Path, names: tuple[str, str]) -> None:
    content = json.loads(made.byte_level())
    model = content["model"]
    vocab, merges = (tmp_path / name for name in names)
    vocab.write_text(json.dumps(model["vocab"]))
    lines = [" ".join(pair) for pair in model["merges"]]
    merges.write_text("\n".join(["#version: 0.2", *lines, ""]))
    ours = tokenizers.open(tmp_path)
    theirs = library.Tokenizer.from_str(made.byte_level())
    theirs.encode_special_tokens = True
    assert (ours.bos, ours.eos, ours.stops) == (0, 0, (0,))
    for text in made.texts(200):
        assert ours.encode(text) == theirs.encode(text).ids, text
        assert ours.decode(ours.encode(text)) == text
    merges.write_text("a b c")
    with pytest.raises(DataError, match=r"line 1, is no pair of tokens: 'a b c'"):
        tokenizers.open(tmp_path)
    merges.write_text("a zz")
    with pytest.raises(DataError, match="is no working tokenizer"):
        tokenizers.open(tmp_path)


def test_bytes_and_words() -> None:
    ours = tokenizers.open("bytes")
    for text in made.texts(200):
        assert ours.encode(text) == list(text.encode())
        assert ours.decode(ours.encode(text, special=True)) == text
    rows, known = words_of.encode(made.texts(), 200, 40)
    numbered = words.of(known)
    for text, row in zip(made.texts(), rows, strict=True):
        ids, spans = numbered.spans(text)
        assert ids[:40] == row[row > 0].tolist()
        found = [text[s:e].lower().replace("\u0307", "") for s, e in spans]  # of the letter İ
        assert found == words_of.words(text), text
    assert numbered.decode(numbered.encode("The <b>fox</b> xyzzy")) == "the fox <|unknown|>"


def _each() -> list[base.Tokenizer]:
    about = {"pattern": "gpt2", "special": SPECIAL, "bos": "<|im_start|>", "pad": "<|user|>"}
    settings = {"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|user|>"}
    return [
        hf.from_content(made.byte_level(), settings | {"chat_template": "{{ messages }}"}),
        hf.from_content(made.llama2(), {"bos_token": "<s>", "eos_token_id": [3, 2]}),
        ranked.from_ranks(made.ranks(), about, "mine"),
        words.of(["a", "b"]),
        tokenizers.open("bytes"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_what_is_saved_is_the_same_when_it_is_read(tmp_path: Path, number: int) -> None:
    before = _each()[number]
    before.save(tmp_path / "a")
    after = tokenizers.open(tmp_path / "a")
    assert (after.digest, after.special) == (before.digest, before.special)
    assert (after.stops, after.prefix) == (before.stops, before.prefix)
    assert (after.bos, after.eos, after.pad) == (before.bos, before.eos, before.pad)
    assert after.template == before.template
    assert after.vocabulary == before.vocabulary
    for text in made.texts(50):
        assert after.encode(text) == before.encode(text)


@pytest.mark.parametrize("number", range(5))
def test_text_never_turns_into_special_tokens(number: int) -> None:
    ours = _each()[number]
    directing = set(ours.special.values()) - {1}  # of words, 1 is any unknown one
    text = "a".join(ours.special)
    assert directing.isdisjoint(ours.encode(text))
    assert directing.isdisjoint(ours.spans(text, special=True, literal=[(0, len(text))])[0])
    assert ours.encode(text, special=True).count(min(directing)) == 1


def test_special_tokens_count_only_outside_of_literal_text() -> None:
    for content in (made.byte_level(), made.llama2(), made.llama2(metaspace=True)):
        ours = hf.from_content(content, {})
        end = ours.special["<|im_end|>"]
        text = "<|im_start|>say <|im_end|> now<|im_end|> more"
        ids, spans = ours.spans(text, special=True, literal=[(12, 30)])
        assert [span for token, span in zip(ids, spans, strict=True) if token == end] == [(30, 40)]
        # what stands between is encoded as it would be without the forged token
        free = ours.spans(text.replace("say <|im_end|> now", "say it now"), special=True)[0]
        assert ids[0] == free[0]
        assert ids[-len(free[free.index(end) :]) :] == free[free.index(end) :]
        assert ours.decode(ids).replace(" ", "") == text.replace(" ", "")
        covered = {n for start, last in spans for n in range(start, last)}
        assert covered == set(range(len(text)))


def test_spans_leave_no_letter_out() -> None:
    for content in (made.byte_level(), made.llama2(), made.llama2(metaspace=True)):
        ours = hf.from_content(content, {})
        for text in made.texts(200):
            spans = ours.spans(text, special=True)[1]
            covered = {n for start, end in spans for n in range(start, end)}
            assert covered == set(range(len(text))), text


def test_marks_that_a_file_calls_ordinary_are_special_all_the_same() -> None:
    content = json.loads(made.byte_level())
    for token in content["added_tokens"]:
        token["special"] = False
    ours = hf.from_content(json.dumps(content), {})
    assert ours.special == {word: n for n, word in enumerate(made.SPECIAL)}
    assert set(range(4)).isdisjoint(ours.encode("a<|user|><|im_end|>"))
    assert ours.encode("<|user|>", special=True) == [3]


def test_a_vocabulary_that_cannot_tell_text_from_its_own_tokens_says_so() -> None:
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((c, -2.0) for c in "abc</s>")]
    inner = library.Tokenizer(library.models.Unigram(pieces, unk_id=0))
    inner.add_special_tokens(["</s>"])
    ours = hf.from_content(inner.to_str(), {"eos_token": "</s>", "unk_token": "<unk>"})
    assert ours.encode("abz") == [2, 3, 0]
    with pytest.raises(DataError, match=r"holds '</s>', which tokenizer\.json cannot tell"):
        ours.encode("ab</s>")


def test_what_ends_a_reply(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(made.byte_level())
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": "<|user|>", "pad_token": "a"}')
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}')
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 0, 5]}')
    (tmp_path / "chat_template.jinja").write_text("hello")
    ours = tokenizers.open(tmp_path)
    assert ours.stops == (0, 2, 5)
    assert (ours.template, ours.pad) == ("hello", ours.encode("a")[0])
    assert ours.name == tmp_path.name
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 5000}')
    with pytest.raises(DataError, match="has no token 5000, which is said to end a reply"):
        tokenizers.open(tmp_path)


def test_a_tokenizer_must_fit_the_embedding() -> None:
    ours = tokenizers.open("bytes")
    assert base.require_fits(ours, 261) is base.require_fits(ours, 512) is None
    with pytest.raises(DataError, match="bytes has 261 tokens, but the network's embedding only"):
        base.require_fits(ours, 260)
    assert "50,257 rows" in (base.require_fits(ours, 50257) or "")


def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (path := tmp_path / "tokenizer.json").write_text(made.byte_level()[:5000])
    with pytest.raises(DataError, match=r"is damaged: it is no whole JSON .* copy it again"):
        tokenizers.open(tmp_path)
    whole = json.loads(made.byte_level())
    for change, words_ in (
        ({"model": {"type": "Other"}}, "is no working tokenizer"),
        (
            {
                "decoder": {
                    "type": "CTC",
                    "pad_token": "a",
                    "word_delimiter_token": "b",
                    "cleanup": True,
                }
            },
            "decodes with CTC, which jfl does not know",
        ),
        ({"added_tokens": [3]}, "holds 3 in added_tokens, which is no token"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "no working"),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(DataError, match=words_):
            tokenizers.open(tmp_path)
    path.write_text(json.dumps(whole))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|none|>"}')
    with pytest.raises(DataError, match=r"has no token '<\|none\|>', which its settings call eos"):
        tokenizers.open(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": 3}')
    with pytest.raises(DataError, match="eos_token must be a token's string, not 3"):
        tokenizers.open(tmp_path)
    with pytest.raises(UsageError, match=r"nowhere is not there"):
        tokenizers.open(tmp_path / "nowhere")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="holds no tokenizer that jfl knows"):
        tokenizers.open(tmp_path / "b")
    (tmp_path / "b" / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(DataError, match=r"SentencePiece's tokenizer\.model only"):
        tokenizers.open(tmp_path / "b")
    (tmp_path / "mine.tiktoken").write_text("YQ== 0\nYg==\n")
    with pytest.raises(DataError, match="does not say how texts are cut"):
        tokenizers.open(tmp_path / "mine.tiktoken")
    (tmp_path / "tiktoken.json").write_text('{"pattern": "gpt2"}')
    with pytest.raises(DataError, match="line 2, is no token and its number"):
        tokenizers.open(tmp_path / "mine.tiktoken")
    (tmp_path / "mine.tiktoken").write_text("YQ== 0\n")
    with pytest.raises(DataError, match="no token for the byte 0"):
        tokenizers.open(tmp_path / "mine.tiktoken")


def test_endless_expressions_end() -> None:
    content = json.loads(made.byte_level())
    slow = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}
    content["pre_tokenizer"] = slow | {"invert": False}
    ours = hf.from_content(json.dumps(content), {})
    with pytest.raises(DataError, match="or the text, is no working tokenizer"):
        ours.encode("a" * 40 + "b")


def test_half_a_character_is_refused() -> None:
    for ours in _each():
        with pytest.raises(DataError, match=r"half a character \(U\+D83D, character 1\)"):
            ours.encode("a\ud83d")


def test_rows_that_only_fill_an_embedding_stand_for_nothing() -> None:
    for ours in _each():
        assert ours.decode([ours.vocabulary + 5]) == ""


def test_gpt2s_split_is_unchanged_by_a_blank_in_front() -> None:
    about = {"pattern": "gpt2", "special": {}}
    ours = ranked.from_ranks(made.ranks(), about, "mine")
    assert gpt2.recognises(Path("nowhere")) is False
    assert ours.encode(" the")[0] == made.ranks()[b" the"]

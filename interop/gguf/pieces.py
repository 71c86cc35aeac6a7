"""SentencePiece's BPE as Llama 2 has it: a file has scores of pieces, tokenizer.json has merges.

Source: ggml-org/llama.cpp, src/llama-vocab.cpp, class llm_tokenizer_spm; Kudo and Richardson,
"SentencePiece", 2018.
"""

import math
from typing import Any

from interop.gguf.header import Header
from interop.gguf.words import Words
from jfl.errors import CheckpointError
from jfl.sources.pickles import budget

_SPACE = "\u2581"
_USUAL, _BYTE = 1, 6
_LONGEST = 512  # letters of a piece


def model(header: Header, words: Words) -> tuple[dict[str, Any], bool]:
    """Returns the parts of tokenizer.json, and that texts begin with a token of their own.

    Raises:
        CheckpointError: the file changes texts as jfl does not, or lacks scores.
    """
    if words.flag("remove_extra_whitespaces", usual=False):
        raise CheckpointError(
            f"{header.where} has a tokenizer that removes spaces, which jfl does not have"
        )
    if "tokenizer.ggml.precompiled_charsmap" in header.settings:
        raise CheckpointError(
            f"{header.where} has a tokenizer with a charsmap, which jfl does not have"
        )
    prefix = words.flag("add_space_prefix", usual=True)
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    before = [{"type": "Prepend", "prepend": _SPACE}] if prefix else []
    back = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    parts = {
        "normalizer": {"type": "Sequence", "normalizers": [*before, replaced]},
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
        },
        "model": {
            "type": "BPE", "dropout": None, "unk_token": words.special("unk"),
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
            "byte_fallback": any(kind == _BYTE for kind in words.kinds), "ignore_merges": False,
            "vocab": words.numbers, "merges": _merges(header, words),
        },
    }  # fmt: skip
    return parts, True


def _merges(header: Header, words: Words) -> list[list[str]]:
    """Returns every pair of pieces that makes a piece, the one with the best score first."""
    scores = header.values("tokenizer.ggml.scores")
    if scores is None or len(scores) != len(words.tokens):
        raise CheckpointError(f"{header.where} has a tokenizer without a score for each token")
    usual = {
        token: float(score)
        for token, kind, score in zip(words.tokens, words.kinds, scores, strict=True)
        if kind == _USUAL
    }
    found = []
    for token, score in usual.items():
        if len(token) > _LONGEST or math.isnan(score):
            raise CheckpointError(f"{header.where} has a piece that is far too long, or unscored")
        budget.spend(len(token) * (1 + len(token) // 16))
        for place in range(1, len(token)):
            left, right = token[:place], token[place:]
            if left in usual and right in usual:
                found.append((-score, words.numbers[left], words.numbers[right], left, right))
    found.sort()
    return [[left, right] for *_, left, right in found]

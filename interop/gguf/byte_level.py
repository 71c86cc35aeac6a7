"""Byte-level BPE as GPT-2 has it, and how texts are cut before it.

Source: ggml-org/llama.cpp, src/llama-vocab.cpp, for the names of the cuts; the tokenizer.json of
GPT-2, SmolLM 2, Llama 3 and Qwen 2 for what they are.
"""

from typing import Any, NamedTuple

from interop.gguf.header import Header
from interop.gguf.words import Words
from jfl.errors import CheckpointError
from jfl.sources.pickles import budget

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_GPT2 = [_BYTES | {"use_regex": True}]


class _Cut(NamedTuple):
    steps: list[dict[str, Any]]
    normalizer: dict[str, Any] | None = None
    whole: bool = False
    """Whether a piece that is a token is not cut further."""
    begins: bool = False
    """Whether a text begins with a token of its own, where the file does not say."""


def _split(digits: str) -> list[dict[str, Any]]:
    pattern = {"Regex": f"{_WORDS}{digits}{_REST}"}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return [split, _BYTES | {"use_regex": False}]


_LLAMA3 = _Cut(_split(r"\p{N}{1,3}"), whole=True, begins=True)
_QWEN2 = _Cut(_split(r"\p{N}"), normalizer={"type": "NFC"})
CUTS = {
    "gpt-2": _Cut(_GPT2),
    "smollm": _Cut([{"type": "Digits", "individual_digits": True}, *_GPT2]),
    "llama-bpe": _LLAMA3, "llama3": _LLAMA3, "llama-v3": _LLAMA3,
    "qwen2": _QWEN2, "deepseek-r1-qwen": _QWEN2,
}  # fmt: skip
"""By what a file calls them."""


def model(header: Header, words: Words) -> tuple[dict[str, Any], bool]:
    """Returns the parts of tokenizer.json, and whether texts begin with a token of their own.

    Raises:
        CheckpointError: the file cuts texts as jfl does not, or its merges are not of its tokens.
    """
    usual = "gpt-2" if header.settings.get("general.architecture") == "gpt2" else None
    name = header.settings.get("tokenizer.ggml.pre", usual)
    if name not in CUTS:
        said = "does not say how its tokenizer cuts texts" if name is None else (
            f"cuts texts by tokenizer.ggml.pre={str(name)[:40]}"
        )  # fmt: skip
        raise CheckpointError(f"{header.where} {said}; jfl has {', '.join(CUTS)}")
    cut = CUTS[name]
    parts = {
        "normalizer": cut.normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cut.steps},
        "decoder": _BYTES | {"use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": cut.whole, "vocab": words.numbers, "merges": _merges(header, words),
        },
    }  # fmt: skip
    return parts, cut.begins


def _merges(header: Header, words: Words) -> list[list[str]]:
    given = header.values("tokenizer.ggml.merges")
    if given is None or not all(isinstance(merge, str) for merge in given):
        raise CheckpointError(f"{header.where} has a byte-level tokenizer without merges")
    budget.spend(4 * len(given))
    pairs = []
    for merge in given:
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= words.numbers.keys():
            raise CheckpointError(
                f"{header.where} has the merge {merge[:60]!r}, which is not of its tokens"
            )
        pairs.append([left, right])
    return pairs

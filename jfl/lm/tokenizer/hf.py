"""The same tokenizer as HuggingFace's tokenizer.json, for transformers and others."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from jfl.files import documents
from jfl.files.strict_json import dumps
from jfl.lm.tokenizer import special
from jfl.text.base import Tokenizer
from jfl.text.patterns import PATTERNS

_PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
_LETTERS = {byte: chr(byte) for byte in _PRINTED} | {
    byte: chr(256 + n) for n, byte in enumerate(b for b in range(256) if b not in set(_PRINTED))
}
"""How GPT-2 prints bytes."""


def export(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files(tokenizer).items():
        documents.write_text(folder / name, content)


def files(tokenizer: Tokenizer) -> dict[str, str]:
    """Returns what `export` writes."""
    ranks = special.ranks(tokenizer)
    added = [
        {"id": number, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for word, number in tokenizer.special.items()
    ]  # fmt: skip
    whole: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERNS[special.NAME]},
             "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": False},
        ]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {_printed(word): rank for word, rank in ranks.items()},
                  "merges": [[_printed(a), _printed(b)] for a, b in merges(ranks)]},
    }  # fmt: skip
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special.BOS,
        "eos_token": special.ASSISTANT_END, "pad_token": special.ASSISTANT_END,
        "chat_template": special.TEMPLATE, "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    return {
        "tokenizer.json": dumps(whole, indent=1) + "\n",
        "tokenizer_config.json": dumps(config, indent=1) + "\n",
    }


def _printed(word: bytes) -> str:
    return "".join(_LETTERS[byte] for byte in word)


def merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Returns the two tokens that each longer one was merged of, in their order."""
    found = []
    for word, rank in sorted(ranks.items(), key=lambda pair: pair[1]):
        if len(word) == 1:
            continue
        parts = [bytes([byte]) for byte in word]
        while len(parts) > 2:
            pairs = [ranks.get(a + b, rank) for a, b in pairwise(parts)]
            best = min(range(len(pairs)), key=pairs.__getitem__)
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        found.append((parts[0], parts[1]))
    return found

"""Small tokenizers of each kind, trained here, and texts of all scripts."""

import json
import random
from functools import cache
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = [
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife. However little known the feelings or views of such a man may be. ",
    "the quick brown fox jumps over the lazy dog 1234567890 times; don't, it's what we'll do!\n\n",
    "def f(x):\n    return x ** 2  # naïve café — 日本語のテキスト, 한국어 문장, русский, 😀👩‍👧\n",
    "العربية עברית हिन्दी ไทย ελληνικά <|user|>\nassistant system user\n",
]
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|user|>")
SCRIPTS = (
    (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF),
    (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF),
    (0x2000, 0x206F), (0x2600, 0x27BF), (0x3040, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xACFF),
    (0xFE00, 0xFE0F), (0xFF00, 0xFFEF), (0x1F300, 0x1F64F), (0x1D400, 0x1D4FF), (0x20000, 0x200FF),
)  # fmt: skip
PIECES = (
    *SPECIAL, " ", "  ", "\n", "\n\n", "\r\n", "\t", "\u3000", "\u00a0", "\u200d", "\ufeff", "\0",
    "don't", "it'll", "123456", "...", "e\u0301", "👩‍👧", "🇫🇷", "<s>", "</s>", "▁", "Ġ", "İ",
    "\u017f",
)  # fmt: skip


@cache
def texts(count: int = 1000, seed: int = 0) -> tuple[str, ...]:
    """Texts of all scripts, with blanks, marks and the strings of special tokens in them."""
    draw = random.Random(seed)
    words = " ".join(CORPUS).split(" ")

    def piece() -> str:
        kind = draw.random()
        if kind < 0.45:
            return draw.choice(words) + " " * draw.randrange(2)
        if kind < 0.7:
            return draw.choice(PIECES)
        first, last = draw.choice(SCRIPTS)
        letters = (chr(draw.randint(first, last)) for _ in range(draw.randint(1, 6)))
        return "".join(letters)

    made = ("".join(piece() for _ in range(draw.randint(0, 14))) for _ in range(count - 2))
    return ("", " ", *made)


def _trained(tokenizer: Tokenizer, **settings: Any) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(SPECIAL), show_progress=False, **settings
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return tokenizer


@cache
def byte_level() -> str:
    """The tokenizer.json of a network of GPT-2's kind."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    return _trained(made, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()).to_str()


@cache
def llama2(*, metaspace: bool = False) -> str:
    """The tokenizer.json of one of Llama 2's kind: blanks are letters, rare letters are bytes.

    Both ways of writing the blank in front of a text are in use.
    """
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    before = normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")
    made.normalizer = normalizers.Sequence(list(before))
    _trained(made)
    content = json.loads(made.to_str())
    size = len(content["model"]["vocab"])
    more = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    content["model"]["vocab"] |= {word: size + n for n, word in enumerate(more)}
    content["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]}  # fmt: skip
    if metaspace:
        content["normalizer"] = None
        content["pre_tokenizer"] = {
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False,
        }  # fmt: skip
    made = Tokenizer.from_str(json.dumps(content))
    made.add_special_tokens([AddedToken(w, normalized=False) for w in ("<unk>", "<s>", "</s>")])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    return made.to_str()


@cache
def ranks() -> dict[bytes, int]:
    """Ranks of tiktoken's kind: the tokens of `byte_level` without the special ones."""
    from jfl.text.decoders import alphabet

    known = alphabet()
    vocabulary = json.loads(byte_level())["model"]["vocab"]
    order = sorted((token for token in vocabulary if token not in SPECIAL), key=vocabulary.get)
    found = {bytes(known[letter] for letter in word): 0 for word in order}
    singles = sorted(found, key=len)
    return {word: rank for rank, word in enumerate(singles)}

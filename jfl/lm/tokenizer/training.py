"""Training of a tokenizer: pairs of bytes that stand together most often are merged, one by one.

Source: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units",
ACL 2016; of pairs that are equally frequent the one with the smaller numbers goes first.
"""

import importlib
from collections.abc import Iterable, Iterator

from jfl.errors import DataError, UsageError
from jfl.lm.tokenizer.special import NAME, SPECIAL, of_ranks
from jfl.text.base import Tokenizer, require_whole
from jfl.text.patterns import PATTERNS

SMALLEST = 256 + len(SPECIAL)
LARGEST = 1 << 20
SAMPLE = "Hello world! It's 2025: 12,345 people're here.\n\n\tnaïve café \u2014 你好世界 🌍"


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Returns the tokenizer of some texts.

    Args:
        texts: as many as are there; they are counted, not kept.
        vocabulary: tokens, the 256 bytes and the special ones included.

    Raises:
        UsageError: so many tokens cannot be.
        DataError: the texts do not give so many, or there are none.
    """
    if not SMALLEST <= vocabulary <= LARGEST:
        raise UsageError(
            f"vocab_size={vocabulary} must be from {SMALLEST} (256 bytes and {len(SPECIAL)} "
            f"special tokens) to {LARGEST:,}"
        )
    try:
        library = importlib.import_module("rustbpe")
    except ImportError as error:
        raise DataError(
            "training a tokenizer needs rustbpe; install jfl's extra `lm`, as in JFL_EXTRAS=lm"
        ) from error
    made, counted = library.Tokenizer(), _Counted(texts)
    made.train_from_iterator(counted, vocabulary - len(SPECIAL), pattern=PATTERNS[NAME])
    if not counted.letters:
        raise DataError("there is no text to train a tokenizer on")
    tokenizer = of_ranks(dict(made.get_mergeable_ranks()))
    if tokenizer.vocabulary < vocabulary:
        raise DataError(
            f"the texts have {counted.letters:,} letters, which give no more than "
            f"{tokenizer.vocabulary} tokens; take vocab_size={tokenizer.vocabulary}, or more text"
        )
    if tokenizer.decode(tokenizer.encode(SAMPLE)) != SAMPLE:
        raise DataError("the tokenizer does not give back what it was given; report this")
    return tokenizer


class _Counted:
    """An iterator of texts that are whole, and how many letters they had."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts, self.letters = iter(texts), 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = next(self._texts)
        require_whole(text)
        self.letters += len(text)
        return text

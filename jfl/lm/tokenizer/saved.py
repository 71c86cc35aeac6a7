"""Tokenizers as they were kept: jfl's own, any other that jfl.text knows, or nanochat's pickle.

tokenizer.pkl is a pickled tiktoken.Encoding. It is read as data; nothing is imported or called.
"""

from pathlib import Path
from typing import Any

from jfl.errors import CheckpointError, DataError, SafetyError
from jfl.lm.tokenizer.special import NAME, SPECIAL, of_ranks
from jfl.sources.pickles import budget
from jfl.sources.pickles.budget import Budget
from jfl.sources.pickles.machine import Machine, Vocabulary
from jfl.sources.pickles.regions import Memory, Region, Text
from jfl.sources.pickles.tokens import Tape
from jfl.sources.pickles.values import Name, Record
from jfl.text import tokenizers
from jfl.text.base import Tokenizer
from jfl.text.patterns import PATTERNS

PICKLE = "tokenizer.pkl"
_LARGEST = 64 << 20  # bytes
_ENCODING = "tiktoken.core.Encoding"


def open(place: str | Path) -> Tokenizer:
    """Returns the tokenizer of a file or folder.

    Raises:
        UsageError: there is no such file.
        DataError: it holds no tokenizer, or a damaged one.
        SafetyError: it is made to do harm.
    """
    path = Path(place).expanduser()
    pickle = path if path.name == PICKLE else path / PICKLE
    if pickle.is_file():
        return _pickled(pickle)
    return tokenizers.open(place)


def _pickled(path: Path) -> Tokenizer:
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise SafetyError(f"{path} has {size:,} bytes; no tokenizer has more than {_LARGEST:,}")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    with budget.using(Budget(str(path), len(content))) as work:
        try:
            value = Machine(Tape(Memory(content, str(path)).whole()), _Encoding(), work).read()
            state = value.state if isinstance(value, Record) else {}
            ranks = _numbers(state.get("mergeable_ranks"))
            special = _numbers(state.get("special_tokens"))
            pattern = _plain(state.get("pat_str"))
        except (CheckpointError, ValueError) as error:
            reason = str(error).removeprefix(f"{path} is ").split("\n", maxsplit=1)[0]
            raise DataError(f"{path} is a damaged pickle ({reason}); copy it again") from error
    wanted = {word: number for number, word in enumerate(SPECIAL, len(ranks))}
    if special != wanted or not isinstance(pattern, str):
        raise DataError(f"{path} is no tokenizer of nanochat: its special tokens are others")
    named = NAME if pattern == PATTERNS[NAME] else pattern
    words = {word if isinstance(word, bytes) else b"": rank for word, rank in ranks.items()}
    return of_ranks(words, named)


def _numbers(table: Any) -> dict[Any, int]:
    if not isinstance(table, dict) or not all(type(number) is int for number in table.values()):
        raise ValueError("no table of tokens")
    return {_plain(word): number for word, number in table.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Region):
        return value.read().decode() if isinstance(value, Text) else value.read()
    return value


class _Encoding(Vocabulary):
    def check(self, name: str, where: str, position: int) -> None:
        """See `Vocabulary`."""
        if name not in (_ENCODING, "copyreg.__newobj__"):
            raise SafetyError(
                f"{where} names {name[:200]} at byte {position:,}, which reading it as a pickle "
                "would import; only the tables of a tiktoken.Encoding are read, so it is refused"
            )

    def make(self, name: Name, arguments: tuple[Any, ...]) -> Any:
        """See `Vocabulary`."""
        return Record(str(name), arguments)

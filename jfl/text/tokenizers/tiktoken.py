"""Files of ranks as OpenAI's tiktoken has them: each line a token's bytes in base64 and its number.

How texts are cut, and which tokens are special, stands in a tiktoken.json beside the ranks, or
follows from the name of a file that OpenAI publishes.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jfl.errors import DataError
from jfl.files.strict_json import dumps
from jfl.text import content, pieces, settings
from jfl.text.base import Span, Tokenizer
from jfl.text.hf_core import guarded
from jfl.text.patterns import PATTERNS, RANKS

FILE = "tiktoken.json"
_ENDING = ".tiktoken"


def recognises(place: Path) -> bool:
    """Tells whether this is a file of ranks, or a folder with one."""
    return place.suffix == _ENDING or any(place.glob(f"*{_ENDING}"))


def open(place: Path) -> Tokenizer:
    """Reads ranks, and what stands beside them.

    tiktoken.json is an object with `pattern` (a name of `patterns.PATTERNS` or an expression),
    `special` (numbers by strings) and, where wanted, `bos`, `eos`, `pad` (strings),
    `chat_template`.

    Raises:
        DataError: a file is damaged, or nothing says how to use the ranks.
    """
    found = [place] if place.suffix == _ENDING else sorted(place.glob(f"*{_ENDING}"))
    if len(found) > 1:
        raise DataError(f"{place} holds {len(found)} files of ranks; name one of them")
    path = found[0]
    about = content.read(path.parent / FILE, needed=False)
    if not about:
        if path.stem not in RANKS:
            raise DataError(
                f"{path} does not say how texts are cut; put {FILE} beside it, such as "
                '{"pattern": "cl100k", "special": {"<|endoftext|>": 100257}}'
            )
        pattern, special = RANKS[path.stem]
        about = {"pattern": pattern, "special": special, "eos": "<|endoftext|>"}
    return from_ranks(_ranks(path), about, path.stem)


def _ranks(path: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            word, rank = line.split()
            ranks[base64.b64decode(word, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise DataError(f"{path}, line {number}, is no token and its number") from error
    return ranks


def from_ranks(ranks: Mapping[bytes, int], about: dict[str, Any], name: str) -> Tokenizer:
    """Returns the tokenizer of ranks.

    Args:
        ranks: numbers of tokens by their bytes; every single byte must be one.
        about: what tiktoken.json says; see `open`.
        name: for people.

    Raises:
        DataError: they do not fit together.
    """
    special, pattern = about.get("special", {}), about.get("pattern")
    numbers = [*ranks.values()]
    if isinstance(special, dict):
        numbers += special.values()
    if not isinstance(special, dict) or "" in special or not all(map(_is_number, numbers)):
        raise DataError(f"{name}: ranks and special tokens must be numbers from 0 on, by strings")
    if len(set(numbers)) < len(numbers):
        raise DataError(f"{name}: two tokens have the same number")
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise DataError(f"{name}: there is no token for the byte {missing[0]}; copy it again")
    if not isinstance(pattern, str) or not pattern:
        raise DataError(f"{name}: pattern must be one of {', '.join(PATTERNS)}, or an expression")
    core = _Ranks(dict(ranks), about, name)
    named = {kind: _named(about.get(kind), special, kind, name) for kind in ("bos", "eos", "pad")}
    template = about.get("chat_template")
    return Tokenizer(
        name=name,
        vocabulary=max(numbers) + 1,
        special=dict(special),
        **named,
        stops=settings.ends({}, special, named["eos"]),
        prefix=() if named["bos"] is None else (named["bos"],),
        template=template if isinstance(template, str) else None,
        digest=content.digest("tiktoken", *core.files().values()),
        core=core,
    )


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 24


def _named(word: Any, special: dict[str, int], kind: str, name: str) -> int | None:
    if word is not None and word not in special:
        raise DataError(f"{name}: {kind}={word!r:.60} is none of its special tokens")
    return None if word is None else special[word]


class _Ranks:
    """The core."""

    def __init__(self, ranks: dict[bytes, int], about: dict[str, Any], name: str) -> None:
        pattern = PATTERNS.get(about["pattern"], about["pattern"])
        library = content.library("tiktoken", name)
        with guarded(name):
            self._made = library.Encoding(
                name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={}
            )
        special = about.get("special", {})
        self._name, self._about, self._ranks = name, about, ranks
        self._cutter = pieces.Cutter(special)
        self._bytes = {rank: word for word, rank in ranks.items()}
        self._bytes |= {token: word.encode() for word, token in special.items()}

    def encode(self, text: str, special: bool) -> list[int]:
        """See `base.Core`."""
        if special:
            return self.spans(text, special, ())[0]
        with guarded(f"{self._name}, or the text,"):
            return self._made.encode_ordinary(text)

    def spans(
        self, text: str, special: bool, literal: Sequence[Span]
    ) -> tuple[list[int], list[Span]]:
        """See `base.Core`."""
        return self._cutter.spans(text, literal, self._plain) if special else self._plain(text)

    def _plain(self, text: str) -> tuple[list[int], list[Span]]:
        ids = self.encode(text, special=False)
        return ids, pieces.of_bytes(text, [len(self._bytes[token]) for token in ids])

    def piece(self, token: int, first: bool) -> bytes:  # noqa: ARG002 - alike everywhere
        """See `base.Core`."""
        return self._bytes[token]

    def files(self) -> dict[str, str]:
        """See `base.Core`."""
        lines = sorted(
            (rank, base64.b64encode(word).decode()) for word, rank in self._ranks.items()
        )
        ranks = "".join(f"{word} {rank}\n" for rank, word in lines)
        return {f"{self._name}{_ENDING}": ranks, FILE: dumps(self._about, indent=1) + "\n"}

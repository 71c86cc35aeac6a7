"""A tokenizer.json at work, through the library `tokenizers`."""

import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from jfl.errors import DataError
from jfl.files.strict_json import dumps
from jfl.text import content, decoders, settings
from jfl.text.base import Span


@contextmanager
def guarded(where: str) -> Iterator[None]:
    """Turns what the library raises, its panics too, into one sentence.

    Raises:
        DataError: with the library's words.
    """
    try:
        yield
    except DataError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        raise DataError(f"{where} is no working tokenizer ({reason}); copy it again") from error


class HfCore:
    """The core; see `base.Core`."""

    def __init__(
        self, text: str, parsed: dict[str, Any], special: dict[str, int], where: str
    ) -> None:
        self._text, self._where, self._special = text, where, special
        self.settings: dict[str, Any] = {}
        self._lock = threading.Lock()
        for token in parsed.get("added_tokens") or ():
            if token["content"] in special and not token.get("special"):
                token["special"] = True  # only then the library can pass over it
                text = ""
        self._content = text or dumps(parsed)
        self._made = self._make()
        self.prefix = self._find_prefix()
        self._made = self._bare(self._made)
        self._decode = decoders.of(parsed.get("decoder"), where)
        self._added = {token["id"] for token in parsed.get("added_tokens") or ()}
        self._forbidden: set[int] = set()
        self._pieces: dict[int, bytes] = {}

    def _make(self) -> Any:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # texts come one by one
        library = content.library("tokenizers", self._where)
        with guarded(self._where):
            made = library.Tokenizer.from_str(self._content)
            made.no_truncation()
            made.no_padding()
            return made

    def _find_prefix(self) -> tuple[int, ...]:
        with guarded(self._where):
            inner = self._made.encode("a", add_special_tokens=False).ids
            whole = self._made.encode("a", add_special_tokens=True).ids
        spare = len(whole) - len(inner)
        starts = (n for n in range(spare + 1) if whole[n : n + len(inner)] == inner)
        return tuple(whole[: next(starts, 0)])

    def _bare(self, made: Any) -> Any:
        """Leaves out what is done after the tokens are found: it may cut blanks off the spans."""
        nothing = content.library("tokenizers", self._where).processors.Sequence([])
        made.post_processor = nothing
        return made

    def forbid(self, tokens: set[Any]) -> None:
        """Names the tokens that no text may turn into."""
        self._forbidden = tokens

    def numbers(self) -> dict[str, int]:
        """Returns all tokens by their strings."""
        return self._made.get_vocab(with_added_tokens=True)

    def string(self, token: int) -> str:
        """Returns the string of a token.

        Raises:
            KeyError: there is none.
        """
        word = self._made.id_to_token(token) if token >= 0 else None
        if word is None:
            raise KeyError(token)
        return word

    def piece(self, token: int, first: bool) -> bytes:
        """See `base.Core`."""
        if first:
            return self._piece(token, first)
        if token not in self._pieces:
            self._pieces[token] = self._piece(token, first)
        return self._pieces[token]

    def _piece(self, token: int, first: bool) -> bytes:
        word = self.string(token)
        if token in self._added and not self._spaced:
            return word.encode()
        return self._decode(word, first)

    @cached_property
    def _spaced(self) -> bool:
        """Whether tokens are joined with blanks, special ones too."""
        return self._decode("a", False) != b"a"

    def encode(self, text: str, special: bool) -> list[int]:
        """See `base.Core`."""
        return self._encoded(self._made, text, special, fast=True).ids

    def _encoded(self, made: Any, text: str, special: bool, fast: bool = False) -> Any:
        """Returns what the library finds; `fast` takes half the time and finds no spans."""
        with self._lock, guarded(f"{self._where}, or the text,"):
            made.encode_special_tokens = not special
            if fast:
                found = made.encode_batch_fast([text], add_special_tokens=False)[0]
            else:
                found = made.encode(text, add_special_tokens=False)
        if not special and not self._forbidden.isdisjoint(found.ids):
            token = next(token for token in found.ids if token in self._forbidden)
            raise DataError(
                f"the text holds {self.string(token)!r}, which {self._where} cannot tell from its "
                "own special token; leave it out of the text"
            )
        return found

    def spans(
        self, text: str, special: bool, literal: Sequence[Span]
    ) -> tuple[list[int], list[Span]]:
        """See `base.Core`."""
        found = self._encoded(self._made, text, special)
        ids, spans = found.ids, found.offsets
        if not special or not literal:
            return ids, spans
        true, forged = [], False
        for token, (start, end) in zip(ids, spans, strict=True):
            if token in self._forbidden:
                if any(s < end and start < e for s, e in literal):
                    forged = True
                else:
                    true.append((start, end, token))
        return self._cut(text, true) if forged else (ids, spans)

    def _cut(self, text: str, true: list[tuple[int, int, int]]) -> tuple[list[int], list[Span]]:
        """Encodes a text in which only some special tokens are ones."""
        ids: list[int] = []
        spans: list[Span] = []
        place = 0
        for start, end, token in [*true, (len(text), len(text), None)]:
            if place < start:
                inner = self._inside(text[place:start], first=place == 0)
                ids += inner[0]
                spans += [(place + s, place + e) for s, e in inner[1]]
            if token is not None:
                ids.append(token)
                spans.append((start, end))
            place = end
        return ids, spans

    def _inside(self, text: str, first: bool) -> tuple[list[int], list[Span]]:
        """Encodes what follows a special token: some tokenizers treat a beginning otherwise."""
        if first:
            found = self._encoded(self._made, text, special=False)
            return found.ids, found.offsets
        mark, made = self._marked
        found = self._encoded(made, mark + text, special=False)
        size = len(mark)
        return found.ids[1:], [(max(0, s - size), max(0, e - size)) for s, e in found.offsets[1:]]

    @cached_property
    def _marked(self) -> tuple[str, Any]:
        """A token that nobody can write, and the tokenizer that takes it as no special one."""
        library = content.library("tokenizers", self._where)
        mark = f"\ue000{secrets.token_hex(16)}\ue000"
        made = self._bare(self._make())
        made.add_tokens([library.AddedToken(mark, normalized=False)])
        return mark, made

    def files(self) -> dict[str, str]:
        """See `base.Core`."""
        about = dict(self.settings)
        ends = about.pop("eos_token_id", None)
        found = {"tokenizer.json": self._text, settings.CONFIG: dumps(about, indent=1) + "\n"}
        if ends is not None:
            found[settings.GENERATION] = dumps({"eos_token_id": ends}, indent=1) + "\n"
        return found

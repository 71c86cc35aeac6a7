"""HuggingFace's tokenizer.json, with the settings that transformers keeps beside it."""

from pathlib import Path
from typing import Any

from jfl.errors import DataError
from jfl.files.strict_json import dumps
from jfl.text import content, settings
from jfl.text.base import Tokenizer
from jfl.text.hf_core import HfCore

FILE = "tokenizer.json"


def recognises(place: Path) -> bool:
    """Tells whether a file is, or a folder holds, a tokenizer.json."""
    return place.name == FILE or (place / FILE).is_file()


def open(place: Path) -> Tokenizer:
    """Reads a tokenizer.json and, in its folder, what transformers knows about its tokens.

    Raises:
        DataError: a file is damaged.
    """
    path = place if place.is_file() else place / FILE
    name = path.resolve().parent.name if path.name == FILE else path.stem
    return from_content(content.text(path), settings.beside(path), name, str(path))


def from_content(
    tokenizer_json: str, known: dict[str, Any], name: str = "tokenizer", where: str = FILE
) -> Tokenizer:
    """Returns the tokenizer of the content of a tokenizer.json.

    Args:
        tokenizer_json: the content.
        known: what tokenizer_config.json says: bos_token, eos_token, pad_token, unk_token,
            additional_special_tokens, chat_template, add_bos_token; and as `eos_token_id` one
            number or several that end a reply, which generation_config.json says.
        name: for people.
        where: names the content in errors.

    Raises:
        DataError: it is damaged, or its settings name tokens that it has not.
    """
    about = settings.normal(known, where)
    parsed = content.parsed(tokenizer_json, where)
    special = settings.special(parsed.get("added_tokens"), about, where)
    core = HfCore(tokenizer_json, parsed, special, where)
    numbers = core.numbers()
    largest = max(numbers.values(), default=-1)
    if not 0 <= largest < 1 << 24:
        raise DataError(f"{where} numbers its tokens up to {largest:,}; it must hold 1 to 2^24")
    named = {kind: _number(about.get(f"{kind}_token"), numbers, kind, where) for kind in _KINDS}
    ends = settings.ends(about, special, named["eos"])
    if wrong := [token for token in ends if token > largest]:
        raise DataError(f"{where} has no token {wrong[0]}, which is said to end a reply")
    prefix = core.prefix
    if "add_bos_token" in about:
        prefix = (named["bos"],) if about["add_bos_token"] and named["bos"] is not None else ()
    core.forbid({*special.values(), *ends} - {numbers.get(about.get("unk_token", ""))})
    core.settings = about
    return Tokenizer(
        name=name,
        vocabulary=largest + 1,
        special=special | {core.string(token): token for token in ends},
        **named,
        stops=ends,
        prefix=prefix,
        template=about.get("chat_template"),
        digest=content.digest("hf", tokenizer_json, dumps(dict(sorted(about.items())))),
        core=core,
    )


_KINDS = ("bos", "eos", "pad")


def _number(word: str | None, numbers: dict[str, int], kind: str, where: str) -> int | None:
    if word is None:
        return None
    if word not in numbers:
        raise DataError(f"{where} has no token {word[:60]!r}, which its settings call {kind}_token")
    return numbers[word]

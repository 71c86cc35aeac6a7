"""What transformers keeps beside a tokenizer.json, in one form: strings, and lists of them."""

import re
from pathlib import Path
from typing import Any

from jfl.errors import DataError
from jfl.text import content

CONFIG, GENERATION, TEMPLATE = (
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
)
_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_BARS = re.compile(r"<[|\uff5c].*[|\uff5c]>", re.DOTALL)
_ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_turn|>", "<end_of_turn>", "<|end|>",
    "<|endoftext|>", "<|end_of_text|>", "<|assistant_end|>", "<|return|>",
)  # fmt: skip
"""Tokens that end a reply wherever they are special, though the settings may not say so."""


def beside(path: Path) -> dict[str, Any]:
    """Returns what the files beside a tokenizer.json say, the more recent kinds last.

    Raises:
        DataError: one of them is damaged.
    """
    folder = path.parent
    known = content.read(folder / "special_tokens_map.json", needed=False)
    known = known | content.read(folder / CONFIG, needed=False)
    generation = content.read(folder / GENERATION, needed=False)
    if generation.get("eos_token_id") is not None:
        known["eos_token_id"] = generation["eos_token_id"]
    if (folder / TEMPLATE).is_file():
        known["chat_template"] = content.text(folder / TEMPLATE)
    return known


def normal(known: dict[str, Any], where: str) -> dict[str, Any]:
    """Returns settings with tokens as their strings, and without all that jfl does not use.

    Raises:
        DataError: one of them is of another kind.
    """
    found: dict[str, Any] = {}
    for key in _TOKENS:
        if known.get(key) is not None:
            found[key] = _string(known[key], key, where)
    more = [word for key in _LISTS for word in _words(known.get(key), key, where)]
    if more:
        found[_LISTS[0]] = list(dict.fromkeys(more))
    if known.get("chat_template") is not None:
        found["chat_template"] = _template(known["chat_template"], where)
    if known.get("add_bos_token") is not None:
        found["add_bos_token"] = bool(known["add_bos_token"])
    if known.get("eos_token_id") is not None:
        ends = known["eos_token_id"]
        ends = ends if isinstance(ends, list) else [ends]
        if not all(type(token) is int and token >= 0 for token in ends):
            raise DataError(
                f"{where}: eos_token_id must be the numbers of tokens, not {ends!r:.60}"
            )
        found["eos_token_id"] = ends
    return found


def _string(value: Any, key: str, where: str) -> str:
    word = value.get("content") if isinstance(value, dict) else value
    if not isinstance(word, str) or not word:
        raise DataError(f"{where}: {key} must be a token's string, not {value!r:.60}")
    return word


def _words(value: Any, key: str, where: str) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if value is not None and not isinstance(value, list):
        raise DataError(f"{where}: {key} must be a list of tokens, not {value!r:.60}")
    return [_string(word, key, where) for word in value or ()]


def _template(value: Any, where: str) -> str | None:
    if isinstance(value, list):  # several, each with a name
        named = {t.get("name"): t.get("template") for t in value if isinstance(t, dict)}
        value = named.get("default") or next(iter(named.values()), None)
    if not isinstance(value, str):
        raise DataError(f"{where}: chat_template must be text, not {value!r:.60}")
    return value


def special(added: Any, about: dict[str, Any], where: str) -> dict[str, int]:
    """Returns the tokens that direct a network, of the `added_tokens` of a tokenizer.json.

    Those are what the file calls special, what settings name, what ends replies, and all that
    look like <|this|>: some files call the marks of turns ordinary.

    Raises:
        DataError: the list is no list of tokens.
    """
    named = {about.get(key) for key in _TOKENS} | set(about.get(_LISTS[0], ()))
    ends = set(about.get("eos_token_id", ()))
    found = {}
    for token in added or ():
        match token:
            case {"id": int(number), "content": str(word)} if word:
                known = token.get("special") or word in named or number in ends
                if known or word in _ENDS or _BARS.fullmatch(word):
                    found[word] = number
            case _:
                raise DataError(f"{where} holds {token!r:.60} in added_tokens, which is no token")
    return found


def ends(about: dict[str, Any], special: dict[str, int], eos: int | None) -> tuple[int, ...]:
    """Returns the tokens that end a reply."""
    usual = [special[word] for word in _ENDS if word in special]
    first = [] if eos is None else [eos]
    return tuple(dict.fromkeys([*first, *about.get("eos_token_id", ()), *usual]))

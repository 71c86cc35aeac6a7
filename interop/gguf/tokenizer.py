"""The tokenizer in a GGUF file, as tokenizer.json and tokenizer_config.json of Hugging Face.

Source: ggml-org/llama.cpp, gguf-py/gguf/constants.py for the settings, src/llama-vocab.cpp for what
they mean; huggingface/tokenizers for the form of tokenizer.json.
"""

from pathlib import Path
from typing import Any

from interop.gguf import byte_level, pieces
from interop.gguf import header as headers
from interop.gguf.header import Header
from interop.gguf.words import ROLES, Words
from jfl.errors import CheckpointError
from jfl.files.strict_json import dumps

_UNKNOWN, _CONTROL, _USER = 2, 3, 4
_KINDS = {"gpt2": byte_level.model, "llama": pieces.model}


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Returns the content of the tokenizer in a file; see `content`."""
    return content(headers.read(path))


def content(header: Header) -> tuple[str, dict[str, Any]]:
    """Returns what tokenizer.json and tokenizer_config.json are to hold.

    Raises:
        CheckpointError: there is no tokenizer, it is of a kind jfl does not have, or damaged.
    """
    kind = header.settings.get("tokenizer.ggml.model")
    if kind not in _KINDS:
        said = "no tokenizer" if kind is None else f"a tokenizer of the kind {str(kind)[:40]}"
        raise CheckpointError(f"{header.where} has {said}; jfl reads {' and '.join(_KINDS)}")
    words = _words(header)
    model, begins = _KINDS[kind](header, words)
    begins = words.flag("add_bos_token", usual=begins)
    added = [
        {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": of != _USER}
        for number, (token, of) in enumerate(zip(words.tokens, words.kinds, strict=True))
        if of in (_UNKNOWN, _CONTROL, _USER)
    ]  # fmt: skip
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, **model,
        "post_processor": _framed(words, begins=begins),
    }  # fmt: skip
    return dumps(whole), _about(words, begins=begins)


def _words(header: Header) -> Words:
    tokens = header.values("tokenizer.ggml.tokens")
    if not tokens or not isinstance(tokens[0], str):
        raise CheckpointError(f"{header.where} has a tokenizer without tokens")
    kinds = header.values("tokenizer.ggml.token_type") or [1] * len(tokens)
    if len(kinds) != len(tokens):
        raise CheckpointError(
            f"{header.where} contradicts itself: {len(tokens):,} tokens, but types of "
            f"{len(kinds):,}"
        )
    spans = {span.name: span.shape for span in header.spans}
    rows = (spans.get("token_embd.weight") or (len(tokens),))[0]
    if rows != len(tokens):
        raise CheckpointError(
            f"{header.where} contradicts itself: its tokenizer has {len(tokens):,} tokens, but its "
            f"embedding {rows:,}"
        )
    if len(set(tokens)) != len(tokens):
        seen: set[str] = set()
        twice = next(token for token in tokens if token in seen or seen.add(token))
        raise CheckpointError(f"{header.where} has the token {twice[:60]!r} twice")
    return Words(header.where, header.settings, tokens, kinds)


def _framed(words: Words, *, begins: bool) -> dict[str, Any] | None:
    """Returns what puts the tokens before and after a text that begin and end it."""
    first = words.special("bos") if begins else None
    last = words.special("eos") if words.flag("add_eos_token", usual=False) else None
    if first is None and last is None:
        return None

    def one(name: str, number: int) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"Sequence": {"id": name, "type_id": number}}]
        parts[:0] = [{"SpecialToken": {"id": t, "type_id": number}} for t in (first,) if t]
        return parts + [{"SpecialToken": {"id": t, "type_id": number}} for t in (last,) if t]

    known = {
        token: {"id": token, "ids": [words.numbers[token]], "tokens": [token]}
        for token in (first, last)
        if token is not None
    }
    return {
        "type": "TemplateProcessing", "single": one("A", 0), "pair": one("A", 0) + one("B", 1),
        "special_tokens": known,
    }  # fmt: skip


def _about(words: Words, *, begins: bool) -> dict[str, Any]:
    about: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    for name in ROLES:
        if (token := words.special(name)) is not None:
            about[f"{name}_token"] = token
    about |= {
        "add_bos_token": begins, "add_eos_token": words.flag("add_eos_token", usual=False),
        "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    name = words.settings.get("general.architecture")
    context = words.settings.get(f"{name}.context_length")
    if type(context) is int and context > 0:
        about["model_max_length"] = context
    template = words.settings.get("tokenizer.chat_template")
    if isinstance(template, str) and template:
        about["chat_template"] = template
    return about

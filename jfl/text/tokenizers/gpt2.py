"""GPT-2's two files: vocab.json with merges.txt, or OpenAI's encoder.json with vocab.bpe."""

from pathlib import Path

from jfl.errors import DataError
from jfl.files.strict_json import dumps
from jfl.text import content, settings
from jfl.text.base import Tokenizer
from jfl.text.tokenizers import hf

_PAIRS = {"vocab.json": "merges.txt", "encoder.json": "vocab.bpe"}
_END = "<|endoftext|>"


def recognises(place: Path) -> bool:
    """Tells whether a folder holds the two files, or this is one of them."""
    return _find(place) is not None


def _find(place: Path) -> tuple[Path, Path] | None:
    for first, second in _PAIRS.items():
        folder = place.parent if place.name in (first, second) else place
        if (folder / first).is_file() and (folder / second).is_file():
            return folder / first, folder / second
    return None


def open(place: Path) -> Tokenizer:
    """Reads them, as the tokenizer.json that they stand for.

    Raises:
        DataError: one is damaged, or they do not fit.
    """
    found = _find(place)
    assert found is not None
    path, merges = found
    numbers = content.read(path)
    if not all(type(number) is int and 0 <= number < 1 << 24 for number in numbers.values()):
        raise DataError(f"{path} must hold a number for each token; copy it again")
    known = settings.beside(path)
    if _END in numbers and known.get("eos_token") is None:
        known |= {"bos_token": _END, "eos_token": _END}
    made = from_pieces(numbers, content.text(merges).split("\n"), [_END], str(merges))
    return hf.from_content(made, known, path.resolve().parent.name, str(path))


def from_pieces(numbers: dict[str, int], merges: list[str], special: list[str], where: str) -> str:
    """Returns the tokenizer.json of a vocabulary of GPT-2's kind.

    Args:
        numbers: of tokens, which are written in GPT-2's letters for bytes.
        merges: pairs of tokens with a blank between, the first to be merged first.
        special: strings of special tokens, those that there are.
        where: names the merges in errors.

    Raises:
        DataError: a merge is none.
    """
    pairs = []
    for line, pair in enumerate(merges, 1):
        if not pair.strip() or (line == 1 and pair.startswith("#version")):
            continue
        if len(parts := pair.rstrip("\r").split(" ")) != 2:
            raise DataError(f"{where}, line {line}, is no pair of tokens: {pair[:60]!r}")
        pairs.append(parts)
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    byte_level["use_regex"] = True
    return dumps({
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": numbers[word], "content": word, **plain, "special": True}
            for word in special
            if word in numbers
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "vocab": numbers, "merges": pairs,
        },
    })  # fmt: skip

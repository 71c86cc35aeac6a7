"""Tokenizers as llama.cpp has them, slow and obvious.

Source: ggml-org/llama.cpp, src/llama-vocab.cpp: the regular expressions of
LLAMA_VOCAB_PRE_TYPE_GPT2, _SMOLLM, _LLAMA3 and _QWEN2, llm_tokenizer_bpe and llm_tokenizer_spm.
"""

import itertools

import regex

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LATER = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{}|"
    r" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CUTS = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [LATER.format(r"\p{N}{1,3}")],
    "qwen2": [LATER.format(r"\p{N}")],
}
"""By name, one after the other: each cuts what the one before has left."""


def alphabet() -> dict[int, str]:
    """The letter of each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {b: chr(256 + n) for n, b in enumerate(others)}


def cut(text: str, name: str) -> list[str]:
    """The parts of a text that are encoded alone."""
    parts = [text]
    for pattern in CUTS[name]:
        made = []
        for part in parts:
            place = 0
            for match in regex.finditer(pattern, part):
                made += [part[place : match.start()], match[0]]
                place = match.end()
            made.append(part[place:])
        parts = [part for part in made if part]
    return parts


def byte_level(text: str, tokens: list[str], merges: list[str], name: str) -> list[int]:
    """Merges the pair with the lowest rank, again and again."""
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    numbers = {token: number for number, token in enumerate(tokens)}
    letters = alphabet()
    found = []
    for part in cut(text, name):
        pieces = [letters[byte] for byte in part.encode()]
        if name == "llama-bpe" and "".join(pieces) in numbers:
            pieces = ["".join(pieces)]
        while True:
            found_ranks = [ranks.get(pair, len(ranks)) for pair in itertools.pairwise(pieces)]
            rank = min(found_ranks, default=len(ranks))
            if rank == len(ranks):
                break
            place = found_ranks.index(rank)
            pieces[place : place + 2] = ["".join(pieces[place : place + 2])]
        found += [numbers[piece] for piece in pieces]
    return found


def pieces(text: str, tokens: list[str], scores: list[float]) -> list[int]:
    """Merges the neighbours that make the piece with the highest score, the first of equal ones."""
    parts = list("\u2581" + text.replace(" ", "\u2581")) if text else []
    while True:
        pairs = ["".join(pair) for pair in itertools.pairwise(parts)]
        known = [(-scores[tokens.index(pair)], n) for n, pair in enumerate(pairs) if pair in tokens]
        if not known:
            break
        place = min(known)[1]
        parts[place : place + 2] = [pairs[place]]
    found = []
    for part in parts:
        if part in tokens:
            found.append(tokens.index(part))
        else:
            found += [tokens.index(f"<0x{byte:02X}>") for byte in part.encode()]
    return found

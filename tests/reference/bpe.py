"""Byte pair encoding, slowly: all pairs are counted anew for each merge."""

from collections import Counter
from itertools import pairwise

import regex


def train(texts: list[str], pattern: str, merges: int) -> dict[bytes, int]:
    """Returns the ranks: the bytes, then one for each merge, as long as pairs are left."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    words = [list(piece.encode()) for text in texts for piece in regex.findall(pattern, text)]
    bytes_of = dict(enumerate(ranks))
    for number in range(256, 256 + merges):
        counts = Counter(pair for word in words for pair in pairwise(word))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        bytes_of[number] = bytes_of[best[0]] + bytes_of[best[1]]
        ranks[bytes_of[number]] = number
        words = [merged(word, best, number) for word in words]
    return ranks


def merged(word: list[int], pair: tuple[int, int], number: int) -> list[int]:
    """Replaces a pair, from left to right."""
    found, place = [], 0
    while place < len(word):
        if tuple(word[place : place + 2]) == pair:
            found.append(number)
            place += 2
        else:
            found.append(word[place])
            place += 1
    return found


def encode(text: str, pattern: str, ranks: dict[bytes, int]) -> list[int]:
    """Merges the pair with the smallest rank, again and again."""
    ids = []
    for piece in regex.findall(pattern, text):
        parts = [bytes([byte]) for byte in piece.encode()]
        while True:
            pairs = [a + b for a, b in pairwise(parts)]
            known = [(ranks[pair], n) for n, pair in enumerate(pairs) if pair in ranks]
            if not known:
                break
            _, n = min(known)
            parts[n : n + 2] = [parts[n] + parts[n + 1]]
        ids += [ranks[part] for part in parts]
    return ids

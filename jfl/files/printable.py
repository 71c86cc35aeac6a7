"""What may be printed: text from files has signs that move cursors, hide words or turn their order.

Names and settings come with files of anybody. Whatever shows text passes it through here: the
console, the sentences of errors, tables, pages and pictures. JSON stays exact: it has escapes of
its own.
"""

import re

WORD = 256
"""Longer words are cut on a terminal; parts of a path are words, and never as long."""
LINE = 8192
"""Longer lines are cut on a terminal."""
SENTENCE = 1500
"""Longer errors are."""
_GAP = " [...] "
# letters by their class, but nothing is seen of them
_EMPTY = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\uffa0\U000e0100-\U000e01ef"
_UNSEEN = re.compile(f"[{_EMPTY}]")


def printable(text: object) -> str:
    r"""Returns text on one line: `\x1b`, `\n` and `\u202e` for signs that are none to be seen.

    Those are control characters, breaks of lines, marks that turn the direction of words, letters
    without width, halves of surrogates and what has no letter.
    """
    words = str(text)
    if words.isascii() and words.isprintable():
        return words
    return "".join(_code(c) if not c.isprintable() or _UNSEEN.match(c) else c for c in words)


def printable_lines(text: str) -> str:
    """Returns a text of several lines, each of them `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def short(line: str, most: int = LINE) -> str:
    """Returns a printable line in which long words, and then the line, are cut in their middle."""
    if len(line) <= WORD:
        return line
    return _cut(re.sub(rf"[^\s/]{{{WORD + 1},}}", lambda word: _cut(word[0], WORD), line), most)


def _code(sign: str) -> str:
    # not with ascii(), which leaves a backslash of its own in front of quotes
    return sign.encode("unicode_escape", "surrogatepass").decode("ascii")


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = (most - len(_GAP)) // 2
    return text[:half] + _GAP + text[-half:]

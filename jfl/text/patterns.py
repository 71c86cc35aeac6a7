"""How texts are cut before pairs of bytes are merged, by the names that ranks go with."""

_CASES = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"


def _cl100k(digits: str, end: str = "") -> str:
    word = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+"
    marks = r" ?[^\s\p{L}\p{N}]++[\r\n]*"
    return rf"{word}|\p{{N}}{digits}|{marks}|{end}\s*[\r\n]|\s+(?!\S)|\s+"


PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": _cl100k("{1,3}", r"\s++$|"),
    "nanochat": _cl100k("{1,2}"),
    "llama3": rf"{_WORD}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": rf"{_WORD}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?[{_CASES[0]}]*[{_CASES[1]}]+{_WORD}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{_CASES[0]}]+[{_CASES[1]}]*{_WORD}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""Regular expressions: of OpenAI's r50k_base and GPT-2, cl100k_base and o200k_base, of nanochat
(cl100k's with digits in ones and twos), of Llama 3 and of Qwen 2."""

_END, _FIM = "<|endoftext|>", ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
_GPT4 = {_END: 100257, _FIM[0]: 100258, _FIM[1]: 100259, _FIM[2]: 100260}
_CHATS = {"<|im_start|>": 100264, "<|im_end|>": 100265}
RANKS: dict[str, tuple[str, dict[str, int]]] = {
    "gpt2": ("gpt2", {_END: 50256}),
    "r50k_base": ("gpt2", {_END: 50256}),
    "p50k_base": ("gpt2", {_END: 50256}),
    "cl100k_base": ("cl100k", _GPT4 | _CHATS | {"<|endofprompt|>": 100276}),
    "o200k_base": ("o200k", {_END: 199999, "<|endofprompt|>": 200018}),
}
"""Files of ranks whose name says how to use them: their pattern, and their special tokens."""

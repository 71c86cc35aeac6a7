"""The nine special tokens, and tokenizers that have them.

Source: Karpathy, "nanochat", 2025.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int32

from jfl.text.base import Tokenizer
from jfl.text.tokenizers import tiktoken

NAME = "nanochat"
BOS = "<|bos|>"
USER, USER_END = "<|user_start|>", "<|user_end|>"
ASSISTANT, ASSISTANT_END = "<|assistant_start|>", "<|assistant_end|>"
PYTHON, PYTHON_END = "<|python_start|>", "<|python_end|>"
OUTPUT, OUTPUT_END = "<|output_start|>", "<|output_end|>"
SPECIAL = (
    BOS, USER, USER_END, ASSISTANT, ASSISTANT_END, PYTHON, PYTHON_END, OUTPUT, OUTPUT_END,
)  # fmt: skip
"""In the order of their numbers, which follow those of all other tokens."""
TEMPLATE = (
    "{{ bos_token }}{% set start = namespace(said='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set start.said = message['content'] + '\\n\\n' %}"
    "{% elif message['role'] == 'user' %}"
    f"{USER}{{{{ start.said + message['content'] }}}}{USER_END}{{% set start.said = '' %}}"
    f"{{% else %}}{ASSISTANT}{{% generation %}}{{{{ message['content'] }}}}{ASSISTANT_END}"
    "{% endgeneration %}{% endif %}{% endfor %}"
    f"{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
)
"""How conversations without parts are written, for others' programs; see render.py."""


def of_ranks(ranks: Mapping[bytes, int], pattern: str = NAME) -> Tokenizer:
    """Returns the tokenizer of ranks from 0 on, with the special tokens behind them.

    Args:
        ranks: numbers of tokens by their bytes.
        pattern: a name of jfl.text.patterns, or an expression.

    Raises:
        DataError: they do not fit together.
    """
    special = {word: number for number, word in enumerate(SPECIAL, len(ranks))}
    about = {"pattern": pattern, "special": special, "bos": BOS, "chat_template": TEMPLATE}
    return tiktoken.from_ranks(ranks, about, NAME)


def ranks(tokenizer: Tokenizer) -> dict[bytes, int]:
    """Returns the numbers of all tokens that are not special, by their bytes."""
    special = set(tokenizer.special.values())
    numbers = (number for number in range(tokenizer.vocabulary) if number not in special)
    return {piece: number for number in numbers if (piece := tokenizer.piece(number))}


def token_bytes(tokenizer: Tokenizer) -> Int32[np.ndarray, " V"]:
    """Returns how many bytes each token stands for; special ones for none."""
    lengths = np.zeros(tokenizer.vocabulary, np.int32)
    for piece, number in ranks(tokenizer).items():
        lengths[number] = len(piece)
    return lengths

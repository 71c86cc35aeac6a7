"""Llama 3: the role between <|start_header_id|> and <|end_header_id|>, the message, <|eot_id|>.

Source: Meta, the `llama3` repository's `ChatFormat`, 2024.
Departs from it: no line about dates, which Llama 3.1 and later put into the system message.
"""

from jfl.text.templates.base import Messages, Part, word


def parts(messages: Messages, words: dict[str, str], prompt: bool) -> list[Part]:
    """Returns the parts of a conversation."""
    made = [Part(word(words, "bos_token"))]
    for message in messages:
        text = f"{message['content'].strip()}<|eot_id|>"
        made += [Part(_head(message["role"])), Part(text, message["role"] == "assistant")]
    return [*made, Part(_head("assistant"))] if prompt else made


def _head(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"

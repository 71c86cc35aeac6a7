"""Tulu: <|user|>, <|assistant|> and <|system|> on lines of their own; replies end with eos.

Source: AI2's open-instruct, 2023; LESS writes its training data in the same way.
"""

from jfl.text.templates.base import Messages, Part, require_roles, word


def parts(messages: Messages, words: dict[str, str], prompt: bool) -> list[Part]:
    """Returns the parts of a conversation."""
    require_roles(messages, "system", "user", "assistant")
    made = []
    for number, message in enumerate(messages, 1):
        made.append(Part(f"<|{message['role']}|>\n"))
        if message["role"] == "assistant":
            made.append(Part(message["content"] + word(words, "eos_token"), reply=True))
            made.append(Part("\n" if number < len(messages) else ""))
        else:
            made.append(Part(f"{message['content']}\n"))
    return [*made, Part("<|assistant|>\n")] if prompt else made

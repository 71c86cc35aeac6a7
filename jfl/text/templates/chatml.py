"""ChatML: <|im_start|>role, the message, <|im_end|>; of many models, such as Qwen and SmolLM.

Source: OpenAI, "Chat Markup Language", 2023.
"""

from jfl.text.templates.base import Messages, Part

_START, _END = "<|im_start|>", "<|im_end|>"


def parts(messages: Messages, words: dict[str, str], prompt: bool) -> list[Part]:  # noqa: ARG001
    """Returns the parts of a conversation."""
    made = []
    for message in messages:
        reply = message["role"] == "assistant"
        made += [
            Part(f"{_START}{message['role']}\n"),
            Part(f"{message['content']}{_END}", reply),
            Part("\n"),
        ]
    return [*made, Part(f"{_START}assistant\n")] if prompt else made

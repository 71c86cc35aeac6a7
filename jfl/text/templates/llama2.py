"""Llama 2: [INST] a question [/INST], the reply, </s>; a system message in the first question.

Source: Meta, the `llama` repository's `chat_completion`, 2023.
"""

from jfl.errors import DataError
from jfl.text.templates.base import Messages, Part, require_roles, word


def parts(messages: Messages, words: dict[str, str], prompt: bool) -> list[Part]:  # noqa: ARG001
    """Returns the parts of a conversation.

    Raises:
        DataError: questions and replies do not take turns.
    """
    require_roles(messages, "system", "user", "assistant")
    before = ""
    if messages and messages[0]["role"] == "system":
        before = f"<<SYS>>\n{messages[0]['content']}\n<</SYS>>\n\n"
        messages = messages[1:]
    made = []
    for number, message in enumerate(messages):
        if message["role"] != ("user", "assistant")[number % 2]:
            raise DataError("in Llama 2's chat template user and assistant must take turns")
        if number % 2:
            reply = f" {message['content'].strip()} {word(words, 'eos_token')}"
            made.append(Part(reply, reply=True))
        else:
            text = f"{before if number == 0 else ''}{message['content']}".strip()
            made.append(Part(f"{word(words, 'bos_token')}[INST] {text} [/INST]"))
    return made

"""Ways to write a conversation that have a name: one file each.

Each defines `parts(messages, words, prompt)`. `words` holds bos_token and eos_token, as far as the
tokenizer has them; `prompt` says that a reply is to follow.
"""

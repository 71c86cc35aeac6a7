"""GGUF files as language networks: numbers, settings, tokenizer and template."""

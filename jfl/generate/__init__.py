"""Texts that a network of language goes on with: prompts in, tokens out."""

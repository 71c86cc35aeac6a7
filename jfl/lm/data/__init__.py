"""Texts to train on: where they are, and rows of their tokens with an exact position."""

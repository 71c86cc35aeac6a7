"""Tokenizers of one's own: trained, kept as text, and conversations written with them."""

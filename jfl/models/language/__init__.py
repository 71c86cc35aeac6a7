"""Decoder networks of language, as plain functions on nested dicts of arrays."""

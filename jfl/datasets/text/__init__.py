"""Texts: one file per set, in the order of a library rather than of arrays."""

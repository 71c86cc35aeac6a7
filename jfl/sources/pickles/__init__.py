"""Pickles read as data: nothing is imported or called, and no file makes more work than its size.

`read` gives data sets their values; interop builds its reader of torch's files on the same machine.
"""

from jfl.sources.pickles.data import named, read

__all__ = ["named", "read"]

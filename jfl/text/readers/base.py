"""What readers share: what a row is, and how large one may be."""

from typing import Any

Row = dict[str, Any]

LARGEST = 16 << 20
"""Bytes or letters of one row; the longest books have 6 million."""

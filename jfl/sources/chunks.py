"""Arrays in chunks, as zarr and Orbax keep them: what a description asks for, and what is there.

A description of a few bytes may ask for any amount of numbers: chunks that are not there are read
as zeros, and one chunk is read whole even where one number of it is asked for.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from jfl.errors import SafetyError
from jfl.sources.expansion import Expansion
from jfl.sources.npy import numbers

_MOST = 1_000_000  # chunks of an array


class Held:
    """What the files below a folder may hold."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()

    @cached_property
    def _expansion(self) -> Expansion:
        sizes = (
            os.path.getsize(Path(above, name))
            for above, _, names in os.walk(self._folder)
            for name in names
            if os.path.isfile(Path(above, name))
        )
        return Expansion(str(self._folder), sum(sizes))

    def require(
        self, name: str, shape: Sequence[int], chunks: Sequence[Sequence[int]], dtype: np.dtype
    ) -> int:
        """Refuses an array which, with those before it, is far larger than the files.

        Chunks of it that are so, or too many, are refused as well.

        Args:
            name: of the array, for the message.
            shape: the sizes of its axes.
            chunks: those of its chunks, and of the chunks in these where they are in parts.
            dtype: the type of its numbers.

        Returns:
            Its bytes.

        Raises:
            SafetyError: it is one.
            ValueError: they are no sizes.
        """
        whole = shape
        for chunk in chunks:
            if len(chunk) != len(shape) or not all(chunk):
                raise ValueError(f"chunks of {str(list(chunk))[:60]}")
            self._expansion.require(numbers(chunk) * dtype.itemsize)
            count = numbers([-(-size // part) for size, part in zip(whole, chunk, strict=True)])
            if count > _MOST:
                raise SafetyError(
                    f"{self._folder} holds {name[:80]} in {count:,} chunks, more than the "
                    f"{_MOST:,} that are read; save it again in fewer"
                )
            whole = chunk
        nbytes = numbers(shape) * dtype.itemsize
        if name not in self._seen:
            self._expansion.spend(nbytes)
            self._seen.add(name)
        return nbytes

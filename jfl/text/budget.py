"""What a chat template may do while it is run once: steps, letters, the size of values, seconds."""

from time import monotonic
from typing import Any

from jinja2.exceptions import SecurityError

from jfl.files import extent

_STEPS, _LETTERS, _SECONDS = 50_000, 1 << 22, 5.0
_MORE_STEPS, _MORE_LETTERS = 2_000, 8  # for each message, and for each of its letters
_VALUES, _BITS = 1 << 18, 256


class Budget:
    """Counts down; each method raises a SecurityError, in words for the user, at the end."""

    def __init__(self, messages: int, letters: int) -> None:
        self._until = monotonic() + _SECONDS
        self._steps = _STEPS + _MORE_STEPS * messages
        self._letters = self._most = _LETTERS + _MORE_LETTERS * letters

    def step(self) -> bool:
        """Counts one step; true, so that it can stand in a condition."""
        self._steps -= 1
        if self._steps < 0 or monotonic() > self._until:
            raise SecurityError("it loops without end")
        return True

    def write(self, count: int) -> str:
        """Counts letters that are written, to wherever; returns no text."""
        self.step()
        self._letters -= count
        if self._letters < 0:
            raise SecurityError("it writes without end")
        return ""

    def small(self, value: Any) -> Any:
        """Returns a value, if it is not too large.

        A list that holds a list twice, and so on, is small where it lies in memory, but endless
        where it is written out or compared; it counts as that.
        """
        self.step()
        match value:
            case str():
                self.room(len(value))
            case list() | tuple() | dict():
                self.room(extent.of_content(value, {}) * (_LETTERS // _VALUES))
            case int() if value.bit_length() > _BITS:
                self.room(self._most + 1)
        return value

    def room(self, count: int) -> None:
        """Refuses to make so many letters or values at once."""
        if count > self._most:
            raise SecurityError("it makes values without end")

"""Text as the log keeps it: valid Unicode without U+0000, addressed by code points (protocol §1)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

_REPLACEMENT = "\ufffd"
_BLOCK = 16_384
_CONTROLS = bytes(range(32))
_WHOLE = 2**53
VALUE_LIMIT = 100_000
"""Code points of one string within a value."""


def clean(text: str) -> str:
    """The same text with every U+0000 and lone surrogate replaced by U+FFFD; surrogate pairs are joined.

    A high surrogate at the very end counts as lone: `SurrogateJoiner` keeps it for the next delta.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", _REPLACEMENT) if "\0" in text else text


class SurrogateJoiner:
    """Cleans the deltas of one channel; a surrogate pair split over two of them becomes its code point."""

    __slots__ = ("_high",)

    def __init__(self, half: str = "") -> None:
        """`half`: what an earlier one kept back."""
        self._high = half

    @property
    def half(self) -> str:
        """The half of a pair that is kept back, if one is."""
        return self._high

    def feed(self, delta: str) -> str:
        """The clean part of what has come so far."""
        if self._high:
            delta, self._high = self._high + delta, ""
        if delta and "\ud800" <= delta[-1] <= "\udbff":
            delta, self._high = delta[:-1], delta[-1]
        return clean(delta)

    def finish(self) -> str:
        """What was kept back: U+FFFD for a high surrogate that stayed alone, else nothing."""
        high, self._high = self._high, ""
        return _REPLACEMENT if high else ""


class TextBuffer:
    """A growing text. Appending is cheap whatever its length; slices read only the blocks that they touch, and what a
    block weighs is looked for once, however many readers catch up with it.
    """

    __slots__ = ("_blocks", "_length", "_starts", "_tail", "_tail_length", "_weights")

    def __init__(self, text: str = "") -> None:
        self._blocks: list[str] = []
        self._starts: list[int] = []
        self._weights: list[int] = []
        self._tail: list[str] = []
        self._tail_length = 0
        self._length = 0
        for start in range(0, len(text), _BLOCK):
            self.append(text[start : start + _BLOCK])

    def __len__(self) -> int:
        return self._length

    def append(self, delta: str) -> None:
        """Add at the end."""
        n = len(delta)
        self._tail.append(delta)
        self._tail_length += n
        self._length += n
        if self._tail_length >= _BLOCK:
            self._compact()

    def slice(self, start: int = 0, stop: int | None = None) -> str:
        """The code points from `start` up to `stop` (exclusive; None: the end)."""
        stop = self._length if stop is None else min(stop, self._length)
        if start >= stop:
            return ""
        tail = self._length - self._tail_length
        if start >= tail:
            return self._tail_text()[start - tail : stop - tail]
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, stop - 1) - 1
        parts = self._blocks[first : last + 1]
        if stop > tail:
            parts.append(self._tail_text()[: stop - tail])
        else:
            parts[-1] = parts[-1][: stop - self._starts[last]]
        parts[0] = parts[0][start - self._starts[first] :]
        return "".join(parts)

    def fit(self, start: int, budget: int) -> tuple[int, int]:
        """Where a piece that begins at `start` surely ends within `budget` bytes of JSON, with at least one code
        point if there is one; and what it weighs.
        """
        stop, left = start, budget
        for index in range(max(0, bisect_right(self._starts, start) - 1), len(self._blocks)):
            block, base = self._blocks[index], self._starts[index]
            if stop >= base + len(block):
                continue
            whole = stop == base
            taken = self._weight(index) if whole else weight(block[stop - base :])
            if taken > left:
                return self._cut(block[stop - base :], start, stop, left, budget)
            stop, left = base + len(block), left - taken
        rest = self._tail_text()[stop - (self._length - self._tail_length) :]
        if weight(rest) > left:
            return self._cut(rest, start, stop, left, budget)
        return stop + len(rest), budget - left + weight(rest)

    def _cut(self, text: str, start: int, stop: int, left: int, budget: int) -> tuple[int, int]:
        count = fit(text, left) if left > 0 else 0
        taken = weight(text[:count])
        if taken > left and stop > start:  # its first code point is too much already
            count = taken = 0
        return stop + count, budget - left + taken

    def _weight(self, index: int) -> int:
        if not self._weights[index]:
            self._weights[index] = weight(self._blocks[index])
        return self._weights[index]

    def _tail_text(self) -> str:
        if len(self._tail) > 1:
            self._tail = ["".join(self._tail)]
        return self._tail[0] if self._tail else ""

    def _compact(self) -> None:
        self._starts.append(self._length - self._tail_length)
        self._blocks.append(self._tail_text())
        self._weights.append(0)
        self._tail, self._tail_length = [], 0


def weight(text: str) -> int:
    """At most how many bytes the text takes as the inside of a JSON string in UTF-8."""
    data = text.encode("utf-8", "surrogatepass")
    size = len(data) + data.count(b'"') + data.count(b"\\")
    if not text.isprintable():  # no loop over characters: half a megabyte is looked at for each reader that catches up
        size += 5 * (len(data) - len(data.translate(None, _CONTROLS))) - 4 * data.count(b"\n")
    return size


def fit(text: str, budget: int) -> int:
    """How many code points of the beginning of `text` surely fit in `budget` bytes of JSON; at least one."""
    count = min(len(text), budget)
    size = weight(text[:count])
    if size <= budget:
        return count
    fits, guess = 1, max(1, count * budget // size)
    for _ in range(8):  # each look costs; a text of one kind takes one
        size = weight(text[:guess])
        if size <= budget:
            fits = guess
            if size * 8 >= budget * 7:
                break
        else:
            count = guess
        guess = (fits + count) // 2
    return fits


def bounded(value: Any, depth: int = 0) -> Any:
    """A stranger's value as JSON can say it: texts clean and cut, what is too deep left out, the rest as text.

    Whole numbers that not every client holds exactly become text; numbers that are not finite become None.
    """
    if isinstance(value, str):
        value = clean(value)
        return value if len(value) <= VALUE_LIMIT else value[:VALUE_LIMIT] + "…"
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -_WHOLE < value < _WHOLE else hex(value)[:VALUE_LIMIT]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > 32:
        return None
    if isinstance(value, Mapping):
        return {clean(str(key))[:VALUE_LIMIT]: bounded(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [bounded(item, depth + 1) for item in value]
    return bounded(str(value))

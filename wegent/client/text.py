"""An append-only text of one channel, measured in code points."""

from __future__ import annotations


class Channel:
    """Text that grows at its end, cheap to append to also when it is megabytes long.

    `expected` is the offset at which this connection owes the next delta: set by an ack or by the attempt's start,
    moved by each delta; None while nothing is owed.
    """

    __slots__ = ("_length", "_parts", "expected")

    def __init__(self, text: str = "") -> None:
        self._parts = [text] if text else []
        self._length = len(text)
        self.expected: int | None = None

    def __len__(self) -> int:
        return self._length

    @property
    def value(self) -> str:
        """The whole text."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    def since(self, offset: int) -> str:
        """The text from `offset` on."""
        return self._tail(self._length - offset)

    def append(self, delta: str) -> None:
        """Add to the end."""
        if delta:
            self._parts.append(delta)
            self._length += len(delta)

    def set(self, text: str) -> None:
        """Be this text from now on."""
        self._parts, self._length = ([text] if text else []), len(text)

    def cut(self, length: int) -> None:
        """Drop what lies past `length`."""
        if length < self._length:
            self.set(self.value[:length])

    def agrees(self, offset: int, delta: str) -> bool:
        """Whether `delta` at `offset` says the same as this text where both have something to say."""
        overlap = min(self._length - offset, len(delta))
        return overlap <= 0 or self._tail(self._length - offset)[:overlap] == delta[:overlap]

    def _tail(self, count: int) -> str:
        """The last `count` code points, without joining the whole text where a few parts will do."""
        parts: list[str] = []
        for part in reversed(self._parts):
            if count <= 0:
                break
            parts.append(part[-count:])
            count -= len(parts[-1])
        return "".join(reversed(parts))

"""The frames in which Docker carries a container's output where there is no terminal, without I/O.

Each has a head of 8 bytes, a stream's number, three zeros, the length in big endian, and as many bytes of that stream.
"""

from __future__ import annotations

from collections.abc import Iterator

STDOUT, STDERR, SYSTEM = 1, 2, 3
"""Streams: `SYSTEM` carries errors of the engine's own."""
_HEAD = 8


class FrameError(ValueError):
    """What came is no head of a frame."""


class FrameReader:
    """Tells whose what arrives is, wherever it was split on its way; keeps nothing but a head under way."""

    __slots__ = ("_head", "_left", "_stream")

    def __init__(self) -> None:
        self._head = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
        """The pieces in `data` with their streams' numbers, none empty; to be taken to the end.

        Raises:
            FrameError: after the pieces before it.
        """
        view = memoryview(bytes(data))
        while view:
            if self._left:
                piece = view[: self._left]
                self._left -= len(piece)
                yield self._stream, bytes(piece)
                view = view[len(piece) :]
            else:
                view = self._take_head(view)

    def _take_head(self, view: memoryview) -> memoryview:
        missing = _HEAD - len(self._head)
        self._head += bytes(view[:missing])
        if len(self._head) == _HEAD:
            head, self._head = self._head, b""
            self._stream, self._left = head[0], int.from_bytes(head[4:], "big")
            if self._stream > SYSTEM or any(head[1:4]):
                message = f"this is no head of a frame: {head.hex()}"
                raise FrameError(message)
        return view[missing:]

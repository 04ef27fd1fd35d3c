"""Lines of a byte stream, without I/O."""

from __future__ import annotations

from collections.abc import Iterator

from wegent.protocol.limits import MAX_RUNNER_LINE


class LineTooLong(ValueError):
    """More bytes than a line may have, and still no end of it."""


class LineReader:
    """Cuts what arrives into lines, wherever it was split on its way. Holds at most `limit` bytes."""

    __slots__ = ("_limit", "_parts", "_size")

    def __init__(self, limit: int = MAX_RUNNER_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes | bytearray) -> Iterator[bytes]:
        """The lines that `data` completes, without their ends (LF or CR LF); to be taken to the end.

        Raises:
            LineTooLong: after the lines before it.
        """
        *complete, rest = bytes(data).split(b"\n")
        for piece in complete:
            self._keep(piece)
            yield self.finish()
        self._keep(rest)

    def finish(self) -> bytes:
        """What has come of the line under way; at the end of a stream, its last line."""
        line = b"".join(self._parts)
        self._parts, self._size = [], 0
        return line.removesuffix(b"\r")

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._parts = []
            message = f"a line may have {self._limit:,} bytes"
            raise LineTooLong(message)
        if piece:
            self._parts.append(piece)

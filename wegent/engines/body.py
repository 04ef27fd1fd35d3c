"""The body of an HTTP/1.1 reply, without I/O: where it ends, and what of the bytes is content (RFC 9112, 6 and 7.1)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping

_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
MOST_LINE = 4_096
"""Bytes of the line before a chunk: its size and extensions."""
MOST_TRAILERS = 16_384
"""Bytes of what follows the last chunk."""


class Body(ABC):
    """Takes bytes, split anywhere, and gives their content.

    Attributes:
        done: nothing more belongs to the body.
        broken: why it is not whole although it is done.
        extra: something came behind it.
    """

    __slots__ = ("broken", "done", "extra")

    def __init__(self) -> None:
        self.done = False
        self.broken = ""
        self.extra = False

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """What of the bytes is content, up to where the body ends or breaks."""

    def end(self) -> None:
        """The connection has ended: a body that is not done is broken."""
        self._break("the connection ended within the body")

    def _break(self, why: str) -> None:
        if not self.done:
            self.done, self.broken = True, why


class ChunkedBody(Body):
    """The chunked coding. Extensions and trailers are passed over, and bounded."""

    __slots__ = ("_held", "_left", "_trailers")

    def __init__(self) -> None:
        super().__init__()
        self._held = b""
        self._left = 0  # of a chunk that has begun, with the line end behind it
        self._trailers: int | None = None

    def feed(self, data: bytes) -> bytes:
        """The content of the chunks, joined."""
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at = 0
        while self._trailers is None:
            if not self._left:
                size = _SIZE.match(data, at)
                if size is None:
                    self._hold(data[at:])
                    break
                at = size.end()
                self._left = self._begin(int(size[1], 16))
                continue
            stop = at + self._left
            if stop > len(data):
                pieces.append(data[at : stop - 2])
                self._left -= len(pieces[-1])
                self._held = data[at + len(pieces[-1]) :]
                break
            if not data.startswith(b"\r\n", stop - 2):
                self._break("a chunk is longer than it said")
                break
            pieces.append(data[at : stop - 2])
            at, self._left = stop, 0
        else:
            self._end(data, at)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begin(self, length: int) -> int:
        """What is left of a chunk of that length; the last one has none, and what follows is no chunk."""
        if not length:
            self._trailers = MOST_TRAILERS
            return 0
        return length + 2

    def _hold(self, rest: bytes) -> None:
        if len(rest) > MOST_LINE or b"\n" in rest:
            self._break("a chunk's size can't be read")
        self._held = rest

    def _end(self, data: bytes, at: int) -> None:
        assert self._trailers is not None
        while not self.done:
            stop = data.find(b"\r\n", at)
            if (len(data) if stop < 0 else stop) - at > self._trailers:
                self._break("there is no end of trailers")
            elif stop < 0:
                self._held = data[at:]
                return
            else:
                self._trailers -= stop - at
                self.done = stop == at
                at = stop + 2
        self.extra = at < len(data)


class SizedBody(Body):
    """A body whose length was told."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self._left = length
        self.done = not length

    def feed(self, data: bytes) -> bytes:
        """The bytes up to the length."""
        content = data[: self._left]
        self._left -= len(content)
        self.done = not self._left
        self.extra = len(content) < len(data)
        return content


class OpenBody(Body):
    """A body that ends with its connection."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        """All of it."""
        return data

    def end(self) -> None:
        """That is its end."""
        self.done = True


def body_of(status: int, headers: Mapping[bytes, bytes]) -> Body:
    """The body that follows a reply's head (RFC 9112, 6.3); the head has been checked, its names are in lower case."""
    if status in (204, 304):
        return SizedBody(0)
    if b"transfer-encoding" in headers:
        return ChunkedBody()
    length = headers.get(b"content-length")
    return OpenBody() if length is None else SizedBody(int(length))

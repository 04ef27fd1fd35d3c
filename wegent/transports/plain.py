"""A plain TCP connection: read by its own task, written by the flusher, closed in order."""

from __future__ import annotations

import socket
from collections.abc import Awaitable
from contextlib import suppress

import trio

from wegent.core.outbox import Outbox
from wegent.core.reader import READ, Reader, Take
from wegent.transports.flusher import Flusher, SocketWriter

LINGER = 1.0
"""Seconds that an orderly end waits for the peer to end too."""
NOT_SENT = 16_384
"""Bytes that the kernel takes ahead of what it sends: what waits must wait with us, where it can be joined."""


class PlainSocket:
    """One accepted socket. Only the task that serves it reads and closes it."""

    __slots__ = ("_reader", "_stopped", "_stream", "_writer", "head_rest", "peer", "sock")

    def __init__(self, sock: socket.socket, peer: str, reader: Reader) -> None:
        sock.setblocking(False)
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT)
        self._reader = reader
        self.sock = sock
        self.peer = peer
        self.head_rest = b""
        self._stream: trio.SocketStream | None = None
        self._stopped = False
        self._writer: SocketWriter | None = None

    @property
    def stream(self) -> trio.SocketStream:
        """The same socket for those who need a stream; made at the first look, for most connections never do."""
        if self._stream is None:
            self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(self.sock))
        return self._stream

    async def receive(self) -> bytes:
        """The next bytes, b"" at the end; a broken connection has ended too."""
        if self.head_rest:
            data, self.head_rest = self.head_rest, b""
            return data
        while True:
            await trio.lowlevel.wait_readable(self.sock)
            try:
                return self.sock.recv(READ)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:
                return b""

    def feed(self, take: Take) -> Awaitable[bool]:
        """Give what arrives to `take`, see `Reader.feed`; the task sleeps meanwhile. After `stop`: False."""
        if self.head_rest:
            data, self.head_rest = self.head_rest, b""
            if not take(data):
                return _at_once(True)
        return _at_once(False) if self._stopped else self._reader.feed(self.sock, take)

    def stop(self) -> None:
        """Read no more: `feed` returns. Plain."""
        self._stopped = True
        self._reader.stop(self.sock)

    def send_now(self, data: bytes) -> None:
        """Send what is small, before `attach`; where the peer has gone, reading tells."""
        with suppress(OSError):
            self.sock.send(data)

    def attach(self, flusher: Flusher, outbox: Outbox) -> None:
        """From now on the flusher writes what is in the outbox. Where it can't, it stops the reading."""
        self._writer = SocketWriter(flusher, self.sock, outbox, self.stop)
        outbox.attach(self._writer)

    async def finish(self, timeout: float) -> None:
        """Write what waits, say that no more comes, read until the peer ends too. Closing with unread input would
        destroy what is still on its way.
        """
        with trio.move_on_after(timeout):
            if self._writer is not None:
                await self._writer.drained()
            with trio.move_on_after(LINGER):
                try:
                    self.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    return
                while await self.receive():
                    pass

    def close(self) -> None:
        """Close the socket; whoever waits for it wakes."""
        if self._stream is not None:
            self._stream.socket.close()
        elif self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()


async def _at_once(answer: bool) -> bool:
    return answer

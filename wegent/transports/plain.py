"""A plain TCP connection: read by its own task, written by the flusher, closed in order."""

from __future__ import annotations

import socket
from contextlib import suppress

import trio

from wegent.core.outbox import Outbox
from wegent.core.reader import READ, Reader, Take
from wegent.transports.flusher import Flusher, SocketWriter

LINGER = 1.0
"""Seconds that an orderly end waits for the peer to end too."""


class PlainSocket:
    """One accepted socket. Only the task that serves it reads and closes it; cancelling `scope` ends that task."""

    __slots__ = ("_reader", "_writer", "head_rest", "peer", "scope", "sock", "stream")

    def __init__(self, sock: socket.socket, peer: str, reader: Reader | None = None) -> None:
        sock.setblocking(False)
        self._reader = reader
        self.sock = sock
        self.peer = peer
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))  # sets TCP_NODELAY and TCP_NOTSENT_LOWAT
        self.scope = trio.CancelScope()
        self.head_rest = b""
        self._writer: SocketWriter | None = None

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

    async def feed(self, take: Take) -> bool:
        """Give what arrives to `take`, see `Reader.feed`; the task sleeps meanwhile."""
        if self.head_rest:
            data, self.head_rest = self.head_rest, b""
            if not take(data):
                return True
        if self._reader is not None:
            return await self._reader.feed(self.sock, take)
        while data := await self.receive():
            if not take(data):
                return True
        return False

    def send_now(self, data: bytes) -> None:
        """Send what is small, before `attach`; where the peer has gone, reading tells."""
        with suppress(OSError):
            self.sock.send(data)

    def attach(self, flusher: Flusher, outbox: Outbox) -> None:
        """From now on the flusher writes what is in the outbox."""
        self._writer = SocketWriter(flusher, self.sock, outbox, self.scope.cancel)
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
        self.stream.socket.close()

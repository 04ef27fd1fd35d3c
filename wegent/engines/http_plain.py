"""HTTP/1.1 connections of our own to endpoints that speak it in the clear, as local inference servers and gateways do.

A head is h11's affair. A body is fed as it arrives, by the one task that reads for all connections of the pool: no
task wakes for a token. What goes wrong is raised as httpcore would raise it.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import h11
import httpcore
import trio

from wegent.core.reader import READ, Reader, Take
from wegent.engines.body import Body, body_of

MOST_HEAD = 65_536
"""Bytes of a reply's head."""

Origin = tuple[str, int]
Headers = Iterable[tuple[str, str]]


class Connection:
    """One connection, for one exchange after another; only the task that it was given to touches it."""

    __slots__ = ("_first", "_reader", "_sock", "_stream", "body", "expires", "origin", "response")

    def __init__(self, origin: Origin, stream: trio.SocketStream, reader: Reader) -> None:
        self._sock = socket.socket(fileno=stream.socket.detach())
        self._sock.setblocking(False)
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(self._sock))
        self._reader = reader
        self._first = b""
        self.origin = origin
        self.body: Body | None = None
        self.response: h11.Response
        self.expires = math.inf

    async def exchange(self, target: str, headers: Headers, content: bytes) -> None:
        """Send a POST and read the reply's head; its body is left to `read` and `feed`.

        Raises:
            httpcore.RemoteProtocolError: no reply came that can be understood.
        """
        self.body = None
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)
        head = http.send(h11.Request(method="POST", target=target, headers=list(headers))) or b""
        with suppress(trio.BrokenResourceError):  # who refuses a request may close before reading it: the reply tells
            await self._stream.send_all(head + content)
        http.send(h11.Data(data=content))
        http.send(h11.EndOfMessage())
        self.response = await self._head(http)
        self._first, _ = http.trailing_data
        self.body = body_of(self.response.status_code, dict(self.response.headers))

    async def _head(self, http: h11.Connection) -> h11.Response:
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError as error:
                raise httpcore.RemoteProtocolError(str(error)) from error
            if isinstance(event, h11.Response):
                return event
            if event is h11.NEED_DATA:
                http.receive_data(await self._receive())
            elif not isinstance(event, h11.InformationalResponse):
                raise httpcore.RemoteProtocolError("the connection ended before a reply")

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(READ))
        except trio.BrokenResourceError as error:
            raise httpcore.RemoteProtocolError("the connection broke") from error

    async def read(self) -> bytes:
        """More of the body's content; empty at its end.

        Raises:
            httpcore.RemoteProtocolError: the body is broken, or the connection ended before it did.
        """
        body = self._body()
        while not body.done:
            data, self._first = self._first or await self._receive(), b""
            if not data:
                body.end()
            elif content := body.feed(data):
                return content
        self._check(body)
        return b""

    async def feed(self, take: Take) -> bool:
        """Give the body's content to `take`, see `Reader.feed`; True when that has said False, False at the body's end.

        Raises:
            httpcore.RemoteProtocolError: the body is broken, or the connection ended before it did.
        """
        body = self._body()

        def fed(data: bytes) -> bool:
            content = body.feed(data)
            return (not content or take(content)) and not body.done

        data, self._first = self._first, b""
        wanted = not body.done and (not data or fed(data))
        if wanted and not await self._reader.feed(self._sock, fed):
            body.end()
        self._check(body)
        return not body.done

    def _check(self, body: Body) -> None:
        if body.broken:
            raise httpcore.RemoteProtocolError(body.broken)

    def _body(self) -> Body:
        assert self.body is not None
        return self.body

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: the reply was whole, nothing is behind it, and no close was told."""
        body = self.body
        if body is None or not body.done or body.broken or body.extra or self._first:
            return False
        told = b",".join(value for name, value in self.response.headers if name == b"connection")
        close = b"close" in [token.strip() for token in told.lower().split(b",")]
        return self.response.http_version == b"1.1" and not close

    @property
    def quiet(self) -> bool:
        """Whether it is open and, as it should be while idle, says nothing."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        """Close at once."""
        self._stream.socket.close()


class PlainPool:
    """Connections in use, at most `max_connections`, and idle ones, at most `max_idle` and for `idle_s` seconds."""

    def __init__(self, reader: Reader, *, max_connections: int, max_idle: int, idle_s: float) -> None:
        self._reader = reader
        self._max_connections = max_connections
        self._max_idle = max_idle
        self._idle_s = idle_s
        self._slots = trio.Semaphore(max_connections)
        self._idle: deque[Connection] = deque()
        self.connections: set[Connection] = set()

    @asynccontextmanager
    async def post(
        self, origin: Origin, target: str, headers: Headers, content: bytes, timeout: float
    ) -> AsyncIterator[Connection]:
        """Send a POST and read the reply's head; the body is read within, the connection closed or kept on leaving.

        `timeout`: seconds for a free place in the pool, and again for the connection.

        Raises:
            httpcore.PoolTimeout: no place was free in time.
            httpcore.ConnectTimeout, httpcore.ConnectError: the endpoint can't be reached.
            httpcore.RemoteProtocolError: no reply came that can be understood.
        """
        await self._acquire(timeout)
        try:
            connection = self._kept(origin) or await self._connect(origin, timeout)
            try:
                await connection.exchange(target, headers, content)
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._slots.release()

    async def _acquire(self, timeout: float) -> None:
        with trio.move_on_after(timeout) as scope:
            await self._slots.acquire()
        if scope.cancelled_caught:
            raise httpcore.PoolTimeout

    async def _connect(self, origin: Origin, timeout: float) -> Connection:
        while self._idle and len(self.connections) >= self._max_connections:
            self._drop(self._idle.popleft())
        try:
            with trio.fail_after(timeout):
                stream = await trio.open_tcp_stream(*origin)
        except trio.TooSlowError as error:
            raise httpcore.ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError from error
        connection = Connection(origin, stream, self._reader)
        self.connections.add(connection)
        return connection

    def _kept(self, origin: Origin) -> Connection | None:
        """The idle connection to there that was used last; those that have expired or ended are dropped."""
        now = trio.current_time()
        for connection in [*reversed(self._idle)]:
            if connection.expires > now and connection.origin != origin:
                continue
            self._idle.remove(connection)
            if connection.expires > now and connection.quiet:
                return connection
            self._drop(connection)
        return None

    def _give_back(self, connection: Connection) -> None:
        if not connection.reusable:
            self._drop(connection)
            return
        connection.expires = trio.current_time() + self._idle_s
        self._idle.append(connection)
        while len(self._idle) > self._max_idle:
            self._drop(self._idle.popleft())

    def _drop(self, connection: Connection) -> None:
        self.connections.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close every connection."""
        self._idle.clear()
        for connection in list(self.connections):
            self._drop(connection)

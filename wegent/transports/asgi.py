"""Everything on the port that is no claimed upgrade: Hypercorn serves ASGI applications, for a connection's life.

`hypercorn.trio.tcp_server.TCPServer` is no promised interface: its minor version is pinned, and tests hold it to what
is needed here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any, cast

import trio
from attrs import frozen
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from wegent.server.ports.routes import AsgiApp
from wegent.transports.plain import PlainSocket

SETTLE = 5.0
"""Seconds that a connection's end may take."""
_REASON = b"Open a connection of its own for a WebSocket.\n"
_REFUSED = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_REASON)),
    (b"connection", b"close"),
]


@frozen
class HttpConfig:
    """Seconds that one write may take, and that a connection is kept for its next request.

    `origins` are web pages of other hosts that may call the API; `max_body` is in bytes.
    """

    write_timeout: float = 30.0
    keep_alive: float = 75.0
    origins: tuple[str, ...] = ()
    max_body: int = 1_000_000


class HttpServer:
    """Serves connections that the front door hands over."""

    def __init__(self, app: AsgiApp, mounts: Mapping[str, AsgiApp], config: HttpConfig | None = None) -> None:
        self._config = config or HttpConfig()
        self._hypercorn = Config()
        self._hypercorn.errorlog = None
        self._hypercorn.accesslog = None
        self._hypercorn.alpn_protocols = ["http/1.1"]
        self._hypercorn.keep_alive_timeout = self._config.keep_alive
        self._hypercorn.read_timeout = None
        self._hypercorn.include_server_header = False
        self._app = ASGIWrapper(cast("Any", _Mux(app, mounts)))
        self._context = WorkerContext(None)
        self._state: dict[str, Any] = {}
        self._connections: set[PlainSocket] = set()
        self._ended = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """The application's start and end."""
        lifespan = Lifespan(self._app, self._hypercorn, cast("Any", self._state))
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            try:
                yield
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(2.0), suppress(trio.ClosedResourceError):
                    await lifespan.wait_for_shutdown()
                nursery.cancel_scope.cancel()

    async def serve(self, plain: PlainSocket) -> None:
        """One connection's life, from the bytes already read on."""
        stream = _HandedStream(plain, self._config.write_timeout)
        self._connections.add(plain)
        try:
            server = _Http1Server(
                self._app, self._hypercorn, self._context, cast("Any", dict(self._state)), cast("Any", stream)
            )
            await server.run()
        except BaseExceptionGroup as group:
            rest = group.split((OSError, trio.BrokenResourceError, trio.ClosedResourceError))[1]
            if rest is not None:
                raise rest from None
        finally:
            self._connections.discard(plain)
            self._ended.unpark_all()

    async def drain(self, deadline: float) -> None:
        """Let answers under way finish, then close what is left. Idle connections end at once."""
        await self._context.terminated.set()
        with trio.move_on_at(deadline):
            while self._connections:
                await self._ended.park()
        for plain in list(self._connections):
            plain.close()  # Hypercorn shields its writes: only the socket's end reaches them


class _Http1Server(TCPServer):
    """Hypercorn without HTTP/2, whose limits would be others than those of everything here."""

    _read_out = False

    async def run(self) -> None:
        sock = cast("_HandedStream", self.stream).socket
        state = ConnectionState(self.state)
        try:
            client, server = sock.getpeername()[:2], sock.getsockname()[:2]
            async with TaskGroup() as group:
                self._task_group = group
                protocol = _Http1(
                    self.app, self.config, self.context, group, state, False, client, server, self.protocol_send
                )
                self.protocol = cast("Any", protocol)
                await self.idle_task.restart(group, self._idle_timeout)
                await self._read_data()
        except OSError:
            pass
        finally:
            await self._close()

    async def _read_data(self) -> None:
        # Hypercorn would keep the connection for a next request that its client, gone by now, can't send any more.
        await super()._read_data()
        self._read_out = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        if self._read_out and isinstance(event, Updated):
            return
        # quart-trio cancels what sent an answer as soon as the answer is whole. Unshielded, the connection would then
        # neither be closed nor given its time to be idle, and be kept for ever.
        with trio.CancelScope(shield=True), trio.move_on_after(SETTLE if isinstance(event, Closed) else inf):
            await super().protocol_send(event)


class _Http1(H11Protocol):
    async def _check_protocol(self, event: Any) -> None:
        """An offer to speak something else is not taken (RFC 9110 §7.8)."""


class _HandedStream:
    """What Hypercorn needs of a stream. A write has a deadline of its own, inside Hypercorn's shield."""

    def __init__(self, plain: PlainSocket, write_timeout: float) -> None:
        self._plain = plain
        self._stream = plain.stream
        self._write_timeout = write_timeout
        self.socket = plain.stream.socket
        self.send_eof = plain.stream.send_eof
        self.aclose = plain.stream.aclose

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._plain.head_rest:
            data, self._plain.head_rest = self._plain.head_rest, b""
            return data
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes) -> None:
        try:
            with trio.fail_after(self._write_timeout):
                await self._stream.send_all(data)
        except trio.TooSlowError as error:
            message = "the client stopped reading"
            raise trio.BrokenResourceError(message) from error


class _Mux:
    """Chooses the application by path. Upgrades that come later on a kept-alive connection are refused: a client
    then opens a new one, which the front door sees.
    """

    def __init__(self, app: AsgiApp, mounts: Mapping[str, AsgiApp]) -> None:
        self._app = app
        self._mounts = mounts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.http.response.start", "status": 503, "headers": _REFUSED})
            await send({"type": "websocket.http.response.body", "body": _REASON})
            return
        app = self._mounts.get(scope.get("path", ""), self._app)
        await app(scope, receive, send)

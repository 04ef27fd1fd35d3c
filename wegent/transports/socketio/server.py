"""A Socket.IO server by itself: namespaces, handlers, rooms and acks, without the rest of Wegent."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from typing import Any

import trio

from wegent.core.clock import SystemClock
from wegent.core.closing import SHUTTING_DOWN
from wegent.core.instruments import Registry
from wegent.core.namespaces import Namespace
from wegent.core.outbox import OutboxLimits
from wegent.core.rooms import Rooms
from wegent.core.sessions import Session, Sessions
from wegent.core.timers import Timers
from wegent.transports.asgi import HttpServer
from wegent.transports.frontdoor import FrontDoor, listen
from wegent.transports.socketio.engineio import SocketIOConfig, SocketIOServices
from wegent.transports.socketio.polling import Polling
from wegent.transports.socketio.transport import SocketIOTransport

log = logging.getLogger(__name__)


class SocketIOServer:
    """Serves namespaces on a port of its own.

    server = SocketIOServer([echo])
    await server.serve("127.0.0.1", 8000)
    """

    def __init__(
        self,
        namespaces: Iterable[Namespace],
        config: SocketIOConfig | None = None,
        *,
        limits: OutboxLimits | None = None,
    ) -> None:
        self._registry = Registry()
        self._timers = Timers()
        self._rooms = Rooms(self._registry)
        self._sessions = Sessions(self._rooms, self._timers, SystemClock(), self._registry)
        self._door = FrontDoor(self._registry)
        self._config = config or SocketIOConfig()
        services = SocketIOServices(
            sessions=self._sessions,
            timers=self._timers,
            flusher=self._door.flusher,
            limits=limits or OutboxLimits(),
            config=self._config,
            worker=secrets.token_hex(4),
        )
        self._transport = SocketIOTransport(services, {each.path: each for each in namespaces})

    def emit(self, event: str, payload: Any, *, room: str, namespace: str = "/", skip: Session | None = None) -> None:
        """Tell a room of something; plain. `Args((a, b))` as payload stands for several arguments."""
        self._rooms.emit(namespace, room, event, payload, skip=skip)

    def enter(self, session: Session, room: str) -> None:
        """Make a session a member of a room of its namespace."""
        self._rooms.enter(session, room)

    def leave(self, session: Session, room: str) -> None:
        """Put a session out of a room."""
        self._rooms.leave(session, room)

    async def serve(
        self, host: str, port: int, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; tells the address it listens on. Clients are told to come back in the end."""
        http = HttpServer(_not_found, {self._config.path: Polling(self._transport)})
        sockets = listen(host, port)
        async with trio.open_nursery() as nursery, http.lifespan():
            nursery.start_soon(self._timers.run)
            await nursery.start(self._door.run)
            await nursery.start(self._transport.run)
            self._door.claim(self._config.path, self._transport.serve)
            self._door.fall_back(http.serve)
            address = sockets[0].getsockname()
            task_status.started((str(address[0]), int(address[1])))
            await self._door.accept(sockets)

    def stop(self) -> None:
        """Accept nothing more and send every client away, to come back later."""
        self._door.stop_accepting()
        self._transport.close_all(SHUTTING_DOWN)


async def _not_found(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})

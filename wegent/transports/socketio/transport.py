"""Socket.IO over the front door: WebSocket upgrades, native, and long-polling, as an ASGI application."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Mapping, Sequence

import trio

from wegent.core.closing import BAD_REQUEST, Close
from wegent.core.namespaces import Namespace
from wegent.core.ports.transport import Transport
from wegent.transports.origins import Origins
from wegent.transports.otherhosts import unknown_session
from wegent.transports.plain import PlainSocket
from wegent.transports.socketio import payload
from wegent.transports.socketio.client import Client
from wegent.transports.socketio.engineio import POLLING, WEBSOCKET, SocketIOServices
from wegent.transports.socketio.values import PacketError
from wegent.transports.ws import (
    BINARY,
    TEXT,
    Connection,
    HandshakeError,
    Request,
    State,
    accept,
    close_frame,
    frame,
    refusal,
)

PROBE = payload.encode_packet(payload.PING, b"probe")
PROBED = payload.encode_packet(payload.PONG, b"probe")
MESSAGE = payload.encode_packet(payload.MESSAGE)
UPGRADE = payload.encode_packet(payload.UPGRADE)


class SocketIOTransport(Transport):
    """All Engine.IO sessions of this worker. `run` must be alive as long as there are any."""

    def __init__(self, services: SocketIOServices, namespaces: Mapping[str, Namespace]) -> None:
        self.services = services
        self.origins = Origins(services.config.origins)
        self._namespaces = namespaces
        self._clients: dict[str, Client] = {}
        self._nursery: trio.Nursery | None = None
        self._ended = trio.lowlevel.ParkingLot()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the tasks of all sessions."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def close_all(self, why: Close) -> None:
        """Close every session."""
        for client in list(self._clients.values()):
            client.close(why)

    async def closed(self) -> None:
        """Return when no session is left."""
        while self._clients:
            await self._ended.park()

    def get(self, sid: str) -> Client | None:
        """The session of that id."""
        return self._clients.get(sid)

    def new_client(self, transport: str) -> Client:
        """A session with an id that can't be guessed."""
        assert self._nursery is not None
        sid = f"{self.services.worker}.{secrets.token_urlsafe(18)}"
        client = self._clients[sid] = Client(
            self.services, sid, self._nursery, self._namespaces, transport=transport, ended=self._forget
        )
        return client

    def _forget(self, sid: str) -> None:
        if self._clients.pop(sid, None) is not None:
            self._ended.unpark_all()

    # WebSocket

    def serve(self, request: Request, plain: PlainSocket) -> Awaitable[None]:
        """One upgrade's life: a new session, or the move of one that polls. Plain up to there: nothing of the request
        stays with the connection.
        """
        try:
            response = accept(request)
            sid = self._check(request)
        except HandshakeError as error:
            plain.send_now(refusal(error.status, error.reason, error.headers))
            return plain.finish(self.services.config.close_timeout)
        if sid is not None:
            return self._serve_upgrade(plain, response, self._clients[sid])
        client = self.new_client(WEBSOCKET)
        client.plain = plain
        client.outbox.put(response)
        client.outbox.put(frame(client.open_text()))
        plain.attach(self.services.flusher, client.outbox)
        return self._serve_new(plain, client)

    def _check(self, request: Request) -> str | None:
        if request.parameter("EIO") != "4" or request.parameter("transport") != WEBSOCKET:
            raise HandshakeError(400, "This address speaks Engine.IO 4: ?EIO=4&transport=websocket")
        if not self.origins.allows(request.headers.get("origin"), request.headers.get("host")):
            raise HandshakeError(403, "This origin may not connect here.")
        sid = request.parameter("sid")
        if sid is None:
            if self.services.sessions.draining:
                raise HandshakeError(503, "Server is shutting down", (("Retry-After", "1"),))
            return None
        client = self._clients.get(sid)
        if client is None:
            raise HandshakeError(400, unknown_session(sid, self.services.worker))
        if client.transport != POLLING or client.closing or client.upgrading:
            raise HandshakeError(400, "Session ID unknown")
        return sid

    async def _serve_new(self, plain: PlainSocket, client: Client) -> None:
        try:
            await Inbox(client, plain, Connection(self.services.config.max_payload)).read()
        finally:
            client.client_left()
        await self._finish(client, plain)

    async def _finish(self, client: Client, plain: PlainSocket) -> None:
        try:
            await plain.finish(self.services.config.close_timeout)
        finally:
            self._forget(client.sid)

    async def _serve_upgrade(self, plain: PlainSocket, response: bytes, client: Client) -> None:
        machine = Connection(self.services.config.max_payload)
        client.upgrading = True
        plain.send_now(response)
        rest: list[tuple[int, bytes]] = []
        try:
            with trio.move_on_after(self.services.config.upgrade_timeout):
                rest = await _probe(client, plain, machine)
        finally:
            client.upgrading = client.probed = False
        if client.transport != WEBSOCKET:
            return
        try:
            await Inbox(client, plain, machine, rest).read()
        finally:
            client.client_left()
        await self._finish(client, plain)


async def _probe(client: Client, plain: PlainSocket, machine: Connection) -> list[tuple[int, bytes]]:
    """Answer the probe, let the poll return, and move over when the client says so; messages that came with that."""
    while data := await plain.receive():
        events = machine.receive(data)
        for index, (opcode, message) in enumerate(events):
            if opcode == TEXT and message == PROBE:
                plain.send_now(frame(PROBED))
                client.release_poll()
            elif opcode == TEXT and message == UPGRADE and not client.closing:
                client.upgrade(plain)
                return events[index + 1 :]
            elif opcode in (TEXT, BINARY):
                plain.send_now(close_frame(1002, "This is no Engine.IO upgrade."))
                return []
        plain.send_now(machine.outgoing())
        if machine.state is not State.OPEN:
            return []
    return []


class Inbox:
    """What has arrived on a WebSocket and waits to be handled."""

    __slots__ = ("_client", "_machine", "_plain", "_waiting")

    def __init__(
        self, client: Client, plain: PlainSocket, machine: Connection, messages: Sequence[tuple[int, bytes]] = ()
    ) -> None:
        """`messages` were read already."""
        self._client = client
        self._plain = plain
        self._machine = machine
        self._waiting = messages

    async def read(self) -> None:
        """Handle what waits, then what arrives, until either side ends."""
        go_on = self._work(self._waiting)
        while True:
            while self._client.refusing:
                await self._client.make_room()
                go_on = self._work(self._waiting)
            if not go_on or not await self._plain.feed(self._take):
                return
            go_on = False

    def _take(self, data: bytes) -> bool:
        return self._work(self._machine.receive(data))

    def _work(self, messages: Sequence[tuple[int, bytes]]) -> bool:
        """Handle messages in order; False: there is no room for one now, or no more to come."""
        client, self._waiting = self._client, ()
        for index, (opcode, message) in enumerate(messages):
            if client.closing:
                return False
            if not _handle(client, opcode, message):
                self._waiting = messages[index + 1 :]
                return False
        if client.closing:
            return False
        if out := self._machine.outgoing():
            client.outbox.put(out)
        return self._machine.state is not State.CLOSED


def _handle(client: Client, opcode: int, message: bytes) -> bool:
    """Handle one message; False: there is no room for it now."""
    try:
        if opcode == TEXT:
            if message[:1] == MESSAGE:
                return client.receive_text(message[1:])
            return client.receive_engine(*payload.decode_packet(message))
        return opcode != BINARY or client.receive_binary(message)
    except PacketError as error:
        client.close(Close(BAD_REQUEST.code, error.reason[:100], come_back=True))
        return False

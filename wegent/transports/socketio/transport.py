"""Socket.IO over the front door: WebSocket upgrades, native, and long-polling, as an ASGI application."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable, Mapping

import trio

from wegent.core.closing import BAD_REQUEST, Close
from wegent.core.namespaces import Namespace
from wegent.core.ports.transport import Transport
from wegent.transports.origins import Origins
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
UPGRADE = payload.encode_packet(payload.UPGRADE)


class SocketIOTransport(Transport):
    """All Engine.IO sessions of this worker. `run` must be alive for clients that poll."""

    def __init__(self, services: SocketIOServices, namespaces: Mapping[str, Namespace]) -> None:
        self.services = services
        self.origins = Origins(services.config.origins)
        self._namespaces = namespaces
        self._clients: dict[str, Client] = {}
        self._nursery: trio.Nursery | None = None
        self._ended = trio.lowlevel.ParkingLot()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the tasks of sessions that began with long-polling."""
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
        sid = f"{self.services.worker}.{secrets.token_urlsafe(18)}"
        client = self._clients[sid] = Client(
            self.services, sid, self._namespaces, transport=transport, ended=lambda: self._forget(sid)
        )
        return client

    def open_polling(self) -> Client:
        """A session that begins with long-polling; its tasks live here, for its requests come and go."""
        assert self._nursery is not None
        client = self.new_client(POLLING)
        self._nursery.start_soon(self._hold, client)
        return client

    def _forget(self, sid: str) -> None:
        if self._clients.pop(sid, None) is not None:
            self._ended.unpark_all()

    async def _hold(self, client: Client) -> None:
        with client.scope:
            async with trio.open_nursery() as client.nursery:
                await trio.sleep_forever()

    # WebSocket

    async def serve(self, request: Request, plain: PlainSocket) -> None:
        """One upgrade's life: a new session, or the move of one that polls."""
        try:
            response = accept(request)
            sid = self._check(request)
        except HandshakeError as error:
            plain.send_now(refusal(error.status, error.reason, error.headers))
            await plain.finish(self.services.config.close_timeout)
            return
        machine = Connection(self.services.config.max_payload)
        if sid is None:
            serving = self._serve_new(plain, machine, response)
        else:
            serving = self._serve_upgrade(plain, machine, response, self._clients[sid])
        del request, response
        await serving

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
        if client is None or client.transport != POLLING or client.closing or client.upgrading:
            raise HandshakeError(400, "Session ID unknown")
        return sid

    async def _serve_new(self, plain: PlainSocket, machine: Connection, response: bytes) -> None:
        client = self.new_client(WEBSOCKET)
        client.plain = plain
        client.outbox.put(response)
        client.outbox.put(frame(client.open_text()))
        plain.attach(self.services.flusher, client.outbox)
        try:
            with client.scope:
                async with trio.open_nursery() as client.nursery:
                    await _read(client, plain, machine)
                    client.client_left()  # now: a lane may be at work for longer
        finally:
            client.client_left()
        await self._finish(client, plain)

    async def _finish(self, client: Client, plain: PlainSocket) -> None:
        try:
            await plain.finish(self.services.config.close_timeout)
        finally:
            self._forget(client.sid)

    async def _serve_upgrade(self, plain: PlainSocket, machine: Connection, response: bytes, client: Client) -> None:
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
            with trio.CancelScope() as client.reading:
                await _read(client, plain, machine, rest)
        finally:
            client.client_left()
            client.scope.cancel()
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


async def _read(
    client: Client, plain: PlainSocket, machine: Connection, messages: Iterable[tuple[int, bytes]] = ()
) -> None:
    """Handle `messages`, then what arrives, until either side ends."""
    waiting = deque(messages)

    def take(data: bytes) -> bool:
        waiting.extend(machine.receive(data))
        return work()

    def work() -> bool:
        while waiting and not client.closing:
            if not _take(client, *waiting.popleft()):
                return False
        if client.closing:
            return False
        if out := machine.outgoing():
            client.outbox.put(out)
        return machine.state is not State.CLOSED

    go_on = work()
    while True:
        while client.refusing:
            await client.make_room()
            go_on = work()
        if not go_on or not await plain.feed(take):
            return
        go_on = False


def _take(client: Client, opcode: int, message: bytes) -> bool:
    """Handle one message; False: there is no room for it now."""
    try:
        if opcode == TEXT:
            return client.receive_engine(*payload.decode_packet(message))
        return opcode != BINARY or client.receive_binary(message)
    except PacketError as error:
        client.close(Close(BAD_REQUEST.code, error.reason[:100], come_back=True))
        return False

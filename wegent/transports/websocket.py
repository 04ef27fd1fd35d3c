"""The raw WebSocket transport: one JSON object a text frame (protocol §2)."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio
from attrs import field, frozen

from wegent import codec
from wegent.core.closing import BAD_REQUEST, NO_PONG, SLOW, UNAUTHENTICATED, Close
from wegent.core.errors import InvalidPayload, NotAuthenticated, Overloaded, WegentError
from wegent.core.namespaces import Namespace
from wegent.core.outbox import Outbox, OutboxLimits
from wegent.core.ports.transport import Transport
from wegent.core.ports.wire import Wire
from wegent.core.sessions import Connection, Session, Sessions
from wegent.core.timers import Timers
from wegent.transports.flusher import Flusher
from wegent.transports.heartbeat import Heartbeat
from wegent.transports.origins import Origins
from wegent.transports.plain import PlainSocket
from wegent.transports.ws import BINARY, PONG, TEXT, HandshakeError, Request, State, accept, frame, refusal
from wegent.transports.ws import PING as PING_OPCODE
from wegent.transports.ws import Connection as Machine

PING = frame(b"", PING_OPCODE)


class RawWire(Wire):
    """Events and acks as text frames."""

    __slots__ = ()

    def event(self, namespace: str, event: str, payload: Any, ack_id: int | None = None) -> bytes:
        """`{"event", "data", "id"?}`."""
        message = {"event": event, "data": payload}
        if ack_id is not None:
            message["id"] = ack_id
        return frame(codec.encode(message))

    def plain(self, namespace: str, event: str, payload: dict[str, Any]) -> bytes:
        """The same, with no look for payload objects."""
        return frame(codec.encode_plain({"event": event, "data": payload}))

    def ack(self, namespace: str, ack_id: Any, payload: Any) -> bytes:
        """`{"ack", "data"}`."""
        return frame(codec.encode({"ack": ack_id, "data": payload}))


@frozen
class RawConfig:
    """Seconds, and bytes of one client payload. `origins` are web pages of other hosts that may connect."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    connect_timeout: float = 45.0
    close_timeout: float = 5.0
    max_payload: int = 1_000_000
    origins: tuple[str, ...] = ()


@frozen
class RawServices:
    """What connections of this transport share."""

    sessions: Sessions
    timers: Timers
    flusher: Flusher
    limits: OutboxLimits
    config: RawConfig
    worker: str = "w"
    wire: RawWire = field(factory=RawWire)


class RawTransport(Transport):
    """Serves upgrades on `/ws{namespace}` for each namespace."""

    def __init__(self, services: RawServices, namespaces: Mapping[str, Namespace]) -> None:
        self._services = services
        self._namespaces = {f"/ws{path}": namespace for path, namespace in namespaces.items()}
        self._origins = Origins(services.config.origins)
        self._connections: set[RawConnection] = set()
        self._ended = trio.lowlevel.ParkingLot()

    @property
    def paths(self) -> list[str]:
        """The paths to be claimed at the front door."""
        return list(self._namespaces)

    async def serve(self, request: Request, plain: PlainSocket) -> None:
        """One connection's life."""
        try:
            response = accept(request)
            if not self._origins.allows(request.headers.get("origin"), request.headers.get("host")):
                raise HandshakeError(403, "This origin may not connect here.")
            if self._services.sessions.draining:
                raise HandshakeError(503, "Server is shutting down", (("Retry-After", "1"),))
        except HandshakeError as error:
            plain.send_now(refusal(error.status, error.reason, error.headers))
            await plain.finish(self._services.config.close_timeout)
            return
        connection = RawConnection(self._services, self._namespaces[request.path], plain)
        connection.outbox.put(response)
        self._connections.add(connection)
        try:
            await connection.serve(_bearer(request))
        finally:
            self._connections.discard(connection)
            self._ended.unpark_all()

    def close_all(self, why: Close) -> None:
        """Close every connection."""
        for connection in list(self._connections):
            connection.close(why)

    async def closed(self) -> None:
        """Return when no connection is left."""
        while self._connections:
            await self._ended.park()


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


class RawConnection(Connection):
    """One raw WebSocket, which carries one session."""

    transport = "websocket"

    def __init__(self, services: RawServices, namespace: Namespace, plain: PlainSocket) -> None:
        self._services = services
        self._namespace = namespace
        self._decode = codec.decode_loose if namespace.loose else codec.decode
        self._plain = plain
        self._machine = Machine(services.config.max_payload)
        self._session: Session | None = None
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._refused: bytes | None = None
        self._nursery: trio.Nursery | None = None
        self._reading = trio.CancelScope()
        self._closed = False
        self._heartbeat: Heartbeat | None = None
        self.outbox = Outbox(services.wire, services.limits, self._overflow)
        plain.attach(services.flusher, self.outbox)

    async def serve(self, token: str | None) -> None:
        """Authenticate, then read until either side ends."""
        config = self._services.config
        timer = self._services.timers.after(config.connect_timeout, self._late)
        try:
            with self._reading:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    if token is not None:
                        await self._open({"token": token})
                        timer.cancel()
                    await self._read(timer.cancel)
                    self._end()  # now: a lane may be at work for longer
                    nursery.cancel_scope.cancel()
        finally:
            timer.cancel()
            self._end()
            self._nursery = None
        await self._plain.finish(config.close_timeout)

    def _end(self) -> None:
        self._closed = True
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._session is not None:
            self._session.end()

    async def _read(self, opened: Callable[[], None]) -> None:
        """Until there is a session by this task, which waits for it; then whatever arrives is fed to `work`."""
        machine, waiting = self._machine, self._waiting
        while self._is_opening():
            data = await self._plain.receive()
            waiting.extend(machine.receive(data))
            while waiting and self._is_opening():
                opcode, payload = waiting.popleft()
                if opcode == TEXT:
                    await self._authenticate(payload)
                    opened()
            if not self._answer() or not data:
                return
        go_on = self._work()
        while True:
            while self._refused is not None:
                await self._make_room()
                go_on = self._work()
            if not go_on or not await self._plain.feed(self._take):
                return
            go_on = False

    def _is_opening(self) -> bool:
        return self._session is None and not self._closed

    def _take(self, data: bytes) -> bool:
        self._waiting.extend(self._machine.receive(data))
        return self._work()

    def _work(self) -> bool:
        """Handle what waits; False: there is no room for an event now, or no more to come."""
        while self._waiting and not self._closed:
            opcode, payload = self._waiting.popleft()
            if opcode != TEXT:
                self._other(opcode)
            elif not self._handle(payload):
                self._refused = payload
                return False
        return self._answer()

    def _answer(self) -> bool:
        """Send the control frames that are due; whether the connection goes on."""
        if self._closed:
            return False
        if out := self._machine.outgoing():
            self.outbox.put(out)
        return self._machine.state is not State.CLOSED

    def _other(self, opcode: int) -> None:
        if opcode == PONG:
            if self._heartbeat is not None:
                self._heartbeat.pong()
        elif opcode == BINARY:
            self._refuse(InvalidPayload("a frame is one JSON object as text, not binary"), BAD_REQUEST)

    async def _authenticate(self, payload: bytes) -> None:
        try:
            message = codec.decode(payload)
        except codec.CodecError as error:
            self._refuse(InvalidPayload(error.sentence), BAD_REQUEST)
            return
        if not isinstance(message, dict) or "auth" not in message:
            self._refuse(NotAuthenticated("Missing authentication token"), UNAUTHENTICATED)
            return
        await self._open(message["auth"])

    async def _open(self, auth: Any) -> None:
        sid = f"{self._services.worker}.{secrets.token_urlsafe(18)}"
        try:
            await self._services.sessions.open(self, self._namespace, id=sid, auth=auth, greet=self._greet)
        except WegentError as error:
            self._refuse(error, Close(error.close_code, error.sentence, come_back=error.retry))

    def _greet(self, session: Session) -> None:
        self._session = session
        config = self._services.config
        self._heartbeat = Heartbeat(
            self._services.timers, config.ping_interval, config.ping_timeout, self._ping, self._dead
        )
        ready = {"ready": {"sid": session.id, "ping_interval": config.ping_interval}}
        self.outbox.put(frame(codec.encode(ready)))

    def _handle(self, payload: bytes) -> bool:
        """Take one frame; False: an event for which there is no room now."""
        assert self._session is not None
        try:
            message = self._decode(payload)
        except codec.CodecError as error:
            self._refuse(InvalidPayload(error.sentence), BAD_REQUEST)
            return True
        if isinstance(message, dict):
            event, ack_id = message.get("event"), message.get("id")
            if isinstance(event, str) and (ack_id is None or isinstance(ack_id, (int, str))):
                return self._session.receive(event, message.get("data"), ack_id)
            answered = message.get("ack")
            if event is None and isinstance(answered, int):
                self._session.receive_ack(answered, message.get("data"))
                return True
            if "auth" in message:
                return True
        self._refuse(InvalidPayload('a frame is {"event", "data", "id"} or {"ack", "data"}'), BAD_REQUEST)
        return True

    async def _make_room(self) -> None:
        """Wait until the event that was refused last can be taken, or answer that it can't be."""
        payload, self._refused = self._refused, None
        if payload is None or self._session is None:
            return
        await self._session.room_for_more()
        if not self._handle(payload):
            message = self._decode(payload)
            error = Overloaded("too many of your events are waiting; slow down")
            self._session.refuse(message.get("id"), error)

    def _refuse(self, error: WegentError, why: Close) -> None:
        if not self._closed:
            self.outbox.put(frame(codec.encode(error.as_payload())))
            self.close(why)

    def _ping(self) -> None:
        self.outbox.put(PING)

    def _dead(self) -> None:
        self.close(NO_PONG)

    def _late(self) -> None:
        self._refuse(NotAuthenticated("Missing authentication token"), UNAUTHENTICATED)

    def _overflow(self) -> None:
        """The hard limit: what waits will not be sent any more, the client comes back for it."""
        if not self._closed:
            self.outbox.clear()
            self.close(SLOW)

    def close(self, why: Close) -> None:
        """Queue the close frame behind all that waits, and stop reading."""
        if self._closed:
            return
        self._end()
        if self._machine.state is State.OPEN:
            self._machine.close(why.code, why.reason)
            self.outbox.put(self._machine.outgoing())
        self._reading.cancel()

    def disconnect(self, session: Session, why: Close) -> None:
        """The session is the connection."""
        self.close(why)

    def start_soon(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Run a task of a lane."""
        if self._nursery is not None:
            self._nursery.start_soon(call, *args)

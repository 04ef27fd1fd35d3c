"""One Engine.IO 4 session: what it is over long-polling, over WebSocket, and while it moves from one to the other.

The Socket.IO packets that it carries are the affair of `client.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from attrs import frozen

from wegent.core.closing import BROKEN, NO_PONG, SLOW, Close
from wegent.core.outbox import NOT, Drain, Outbox, OutboxLimits
from wegent.core.sessions import Connection, Sessions
from wegent.core.timers import Timers
from wegent.transports.flusher import Flusher
from wegent.transports.heartbeat import Heartbeat
from wegent.transports.otherhosts import OtherHosts
from wegent.transports.peers import Peers
from wegent.transports.plain import PlainSocket
from wegent.transports.socketio import payload
from wegent.transports.socketio.values import PacketError
from wegent.transports.socketio.wires import FRAMES, PAYLOADS, SocketIOWire, piece_as_frames
from wegent.transports.tasks import ConnectionTasks
from wegent.transports.ws import close_frame

POLLING, WEBSOCKET = "polling", "websocket"
NOOP = payload.encode_packet(payload.NOOP)
CLOSE = payload.encode_packet(payload.CLOSE)
PING = payload.encode_packet(payload.PING)


@frozen
class SocketIOConfig:
    """Seconds, and bytes of one client payload. `origins` are web pages of other hosts that may connect."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    connect_timeout: float = 45.0
    upgrade_timeout: float = 10.0
    close_timeout: float = 5.0
    body_timeout: float = 30.0
    max_payload: int = 1_000_000
    origins: tuple[str, ...] = ()
    path: str = "/socket.io/"


@frozen
class SocketIOServices:
    """What sessions of this transport share."""

    sessions: Sessions
    timers: Timers
    flusher: Flusher
    limits: OutboxLimits
    config: SocketIOConfig
    worker: str = "w"
    peers: Peers | None = None
    hosts: OtherHosts | None = None


class PollDrain(Drain):
    """Lets a waiting poll know that there is something to take."""

    __slots__ = ("arrived",)

    def __init__(self) -> None:
        self.arrived = trio.Event()

    def notify(self, outbox: Outbox) -> None:
        """There is something to take."""
        self.arrived.set()


class EngineSession(Connection):
    """One client, over whichever transport it has now.

    Whoever serves it feeds messages in by `receive_text` and `receive_binary`, which return False where there is no
    room for more (see `client.py`); `nursery`, its transport's, holds the tasks of its lanes.
    """

    def __init__(
        self,
        services: SocketIOServices,
        sid: str,
        nursery: trio.Nursery,
        *,
        transport: str,
        ended: Callable[[str], None],
    ) -> None:
        self.sid = sid
        self.transport = transport
        self.services = services
        wire: SocketIOWire = FRAMES if transport == WEBSOCKET else PAYLOADS
        self.outbox = Outbox(wire, services.limits, self._overflow)
        self.closing = False
        self.polling = False
        self.posting = False
        self.plain: PlainSocket | None = None
        self.upgrading = False
        self.probed = False
        """A WebSocket was tried and found good: polls return, so that the client can move over."""
        self._ended = ended
        self._tasks = ConnectionTasks(nursery, self._failed)
        self._drain: PollDrain | None = None
        config = services.config
        self._heartbeat = Heartbeat(services.timers, config.ping_interval, config.ping_timeout, self._ping, self._dead)
        if transport == POLLING:
            self._drain = PollDrain()
            self.outbox.attach(self._drain)

    @property
    def wire(self) -> SocketIOWire:
        """How this session's packets travel now."""
        wire = self.outbox.wire
        assert isinstance(wire, SocketIOWire)
        return wire

    def open_text(self) -> bytes:
        """The packet that opens the session."""
        config = self.services.config
        upgrades = [WEBSOCKET] if self.transport == POLLING else []
        return payload.open_packet(self.sid, upgrades, config.ping_interval, config.ping_timeout, config.max_payload)

    # what comes in

    def receive_engine(self, kind: int, data: bytes) -> bool:
        """Take one Engine.IO packet.

        Raises:
            PacketError: the packet has no place here; the connection cannot go on.
        """
        if kind == payload.MESSAGE:
            return self.receive_text(data)
        if kind == payload.BINARY:
            return self.receive_binary(data)
        if kind == payload.PONG:
            self._heartbeat.pong()
        elif kind == payload.CLOSE:
            self.client_left()
        elif kind == payload.PING:
            self.outbox.put(self.wire.engine(payload.encode_packet(payload.PONG, data)))
        elif kind != payload.NOOP:
            message = "This packet has no place here."
            raise PacketError(message)
        return True

    @abstractmethod
    def receive_text(self, data: bytes) -> bool:
        """Take a Socket.IO packet's text."""

    @abstractmethod
    def receive_binary(self, data: bytes) -> bool:
        """Take a Socket.IO packet's attachment."""

    @abstractmethod
    async def make_room(self) -> None:
        """Wait until what was refused last can be taken, and take it, or answer that it can't be."""

    @abstractmethod
    def end_sessions(self, why: Close | None) -> None:
        """End the sessions of all namespaces; with `why`, tell those that should not come back."""

    # long-polling

    async def poll(self, limit: int) -> bytes:
        """The next payload: what waits, as soon as there is something. At most one poll at a time."""
        self.polling = True
        try:
            while self._drain is not None and not (self.outbox.queue or self.closing or self.probed):
                self._drain.arrived = trio.Event()
                self.outbox.scheduled = NOT
                await self._drain.arrived.wait()
        finally:
            self.polling = False
        if self.transport != POLLING:
            return NOOP
        pieces = self.outbox.take(limit)
        self.outbox.scheduled = NOT
        if self.closing and not self.outbox.queue:
            self._finish()
        return payload.SEPARATOR.join(pieces) if pieces else NOOP

    def release_poll(self) -> None:
        """Let a waiting poll return, and those that come until the client has moved over."""
        self.probed = True
        self._wake_poll()

    # moving over

    def upgrade(self, plain: PlainSocket) -> None:
        """Everything from here on goes over the WebSocket; plain, so that nothing falls between."""
        self.upgrading = False
        self.transport = WEBSOCKET
        self.plain = plain
        box = self.outbox
        box.queue = [piece_as_frames(item) if isinstance(item, bytes) else item for item in box.queue]
        box.recount()
        self.rewire(FRAMES)
        plain.attach(self.services.flusher, box)
        self._wake_poll()
        self._drain = None

    def _wake_poll(self) -> None:
        if self._drain is not None:
            self._drain.arrived.set()

    @abstractmethod
    def rewire(self, wire: SocketIOWire) -> None:
        """The outbox speaks another wire from now on."""

    # the end

    def close(self, why: Close) -> None:
        """Tell the client, as it should come back or not, behind all that waits, and end."""
        if self.closing:
            return
        self.end_sessions(None if why.come_back else why)
        self.closing = True
        self._heartbeat.stop()
        if self.transport == WEBSOCKET:
            self.outbox.put(close_frame(why.code, why.reason))
            self._stop()
        else:
            self.outbox.put(CLOSE)
            self.services.timers.after(self.services.config.close_timeout, self._finish)

    def client_left(self) -> None:
        """The client said goodbye, or its connection has ended."""
        if not self.closing:
            self.closing = True
            self._heartbeat.stop()
            self.end_sessions(None)
            self._finish()

    def _finish(self) -> None:
        """Nothing more will be sent or read."""
        self.closing = True
        self._wake_poll()
        self._stop()
        self._ended(self.sid)

    def _stop(self) -> None:
        self._tasks.cancel()
        if self.plain is not None:
            self.plain.stop()

    def _ping(self) -> None:
        self.outbox.put(self.wire.engine(PING))

    def _dead(self) -> None:
        self.close(NO_PONG)

    def _failed(self) -> None:
        self.close(BROKEN)

    def _overflow(self) -> None:
        """The hard limit: what waits will not be sent any more, the client comes back for it."""
        if not self.closing:
            self.outbox.clear()
            self.close(SLOW)

    def start_soon(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Run a task that lives no longer than the session."""
        self._tasks.start_soon(call, *args)

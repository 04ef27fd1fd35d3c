"""A client without a socket: it emits, waits for acks, and keeps every frame in the order in which it got them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen

from wegent import codec
from wegent.core.outbox import OutboxLimits
from wegent.testing.memory_transport import JsonWire, MemoryConnection

if TYPE_CHECKING:
    from wegent.core.namespaces import Namespace
    from wegent.core.sessions import Sessions


class ConnectionLost(Exception):
    """The connection ended before the ack came; nobody knows whether the event was handled."""


@frozen
class Frame:
    """What came: an event, or (`name` empty) the ack of the client's own event `ack_id`, named by `answers`.

    `connection` counts the client's connections from 1; `asked` is what the acked event carried.
    """

    connection: int
    name: str
    data: Any
    ack_id: int | None = None
    answers: str = ""
    asked: Any = None
    size: int = 0


class _Pending:
    __slots__ = ("answer", "arrived", "asked", "event", "lost")

    def __init__(self, event: str, asked: Any) -> None:
        self.event = event
        self.asked = asked
        self.answer: Any = None
        self.arrived = trio.Event()
        self.lost = False


class MemoryClient:
    """One client, which may connect and lose its connection many times.

    `frames` holds all that came, oldest first. `on_frame` is called with each frame as it comes, before whoever waits
    for it goes on; `on_lost` when a connection has ended. `answers` holds, by event, what the client says to events
    that want an ack.
    """

    def __init__(
        self,
        sessions: Sessions,
        namespace: Namespace,
        nursery: trio.Nursery,
        *,
        token: str,
        limits: OutboxLimits | None = None,
    ) -> None:
        self.token = token
        self.frames: list[Frame] = []
        self.on_frame: Callable[[Frame], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.answers: dict[str, Callable[[Any], Any]] = {}
        self.connection: MemoryConnection | None = None
        self._sessions = sessions
        self._namespace = namespace
        self._nursery = nursery
        self._limits = limits or OutboxLimits()
        self._wire = JsonWire()
        self._ids = count(1)
        self._pending: dict[int, _Pending] = {}
        self.connections = 0
        """How many there have been; the present one's number."""
        self._changed = trio.Event()

    def move(self, sessions: Sessions, namespace: Namespace, nursery: trio.Nursery) -> None:
        """Connect to another worker from now on; a connection that there is ends."""
        self.disconnect()
        self._sessions, self._namespace, self._nursery = sessions, namespace, nursery

    @property
    def connected(self) -> bool:
        """Whether there is a connection that carries a session."""
        connection = self.connection
        return connection is not None and connection.session is not None and connection.session.open

    async def connect(self) -> None:
        """Open a new connection.

        Raises:
            WegentError: the server refused it.
        """
        self.disconnect()
        self.connections += 1
        number = self.connections
        connection = MemoryConnection(
            self._sessions, self._namespace, self._wire, self._limits, lambda frame: self._receive(number, frame)
        )
        self.connection = connection
        await self._nursery.start(self._serve, connection)
        if connection.refused is not None:
            raise connection.refused

    async def _serve(self, connection: MemoryConnection, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            await connection.serve({"token": self.token}, task_status=task_status)
        finally:
            if self.connection is connection:
                self._lose()

    def disconnect(self) -> None:
        """Lose the connection, with all that was on its way in either direction."""
        if self.connection is not None:
            self.connection.cut()
            self._lose()

    def _lose(self) -> None:
        self.connection = None
        for pending in self._pending.values():
            pending.lost = True
            pending.arrived.set()
        self._pending.clear()
        self._changed.set()
        if self.on_lost is not None:
            self.on_lost()

    def send(self, event: str, data: Any) -> None:
        """Emit an event that wants no ack."""
        if self.connection is not None:
            self.connection.feed(event, data)

    async def emit(self, event: str, data: Any) -> Any:
        """Emit an event and wait for its ack.

        Raises:
            ConnectionLost: there is no connection, or it ended first.
        """
        if self.connection is None:
            raise ConnectionLost
        ack_id = next(self._ids)
        pending = self._pending[ack_id] = _Pending(event, data)
        self.connection.feed(event, data, ack_id)
        await pending.arrived.wait()
        if pending.lost:
            raise ConnectionLost
        return pending.answer

    def _receive(self, connection: int, data: bytes) -> None:
        if connection != self.connections or self.connection is None:
            return
        message = codec.decode(data)
        if "ack" in message:
            pending = self._pending.pop(message["ack"], None)
            answers, asked = ("", None) if pending is None else (pending.event, pending.asked)
            frame = Frame(connection, "", message["data"], message["ack"], answers, asked, len(data))
        else:
            pending = None
            frame = Frame(connection, message["event"], message["data"], message.get("id"), size=len(data))
        self.frames.append(frame)
        if self.on_frame is not None:
            self.on_frame(frame)
        if pending is not None:
            pending.answer = frame.data
            pending.arrived.set()
        elif frame.ack_id is not None and frame.name in self.answers:
            self.connection.feed("", self.answers[frame.name](frame.data), frame.ack_id)
        self._changed.set()

    def events(self, name: str) -> list[Any]:
        """The payloads of all events of that name, oldest first."""
        return [frame.data for frame in self.frames if frame.name == name]

    async def wait_for(self, name: str, matches: Callable[[Any], bool] = lambda _: True, *, after: int = 0) -> Any:
        """The payload of the first such event at or behind frame number `after`; waits until it is there."""
        seen = after
        while True:
            self._changed = trio.Event()
            for frame in self.frames[seen:]:
                if frame.name == name and matches(frame.data):
                    return frame.data
            seen = len(self.frames)
            await self._changed.wait()

"""Connections without sockets: a wire, a drain and a connection that a test can slow down, stop and cut."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from wegent import codec
from wegent.core.closing import SLOW, Close
from wegent.core.errors import Overloaded, WegentError
from wegent.core.namespaces import Namespace
from wegent.core.outbox import NOT, Drain, Outbox, OutboxLimits
from wegent.core.ports.wire import Wire
from wegent.core.sessions import Connection, Session, Sessions

BATCH = 65_536
"""Bytes that a drain takes at once, as the flusher does."""


class JsonWire(Wire):
    """Frames as the raw WebSocket spells them, without the frame around them."""

    __slots__ = ()

    def event(self, namespace: str, event: str, payload: Any, ack_id: int | None = None) -> bytes:
        """`{"event", "data", "id"?}`."""
        message = {"event": event, "data": payload}
        return codec.encode(message if ack_id is None else {**message, "id": ack_id})

    def ack(self, namespace: str, ack_id: Any, payload: Any) -> bytes:
        """`{"ack", "data"}`."""
        return codec.encode({"ack": ack_id, "data": payload})


class TaskDrain(Drain):
    """Empties one outbox from a task, as a slow or a quick socket would.

    `speed` is bytes per second (infinite by default); `pause` stops it, frames that were taken before included.
    A frame counts as with the peer once `deliver` was called with it; what was taken and not delivered is lost with
    the connection, as what is in a socket's buffer is.
    """

    __slots__ = ("_deliver", "_idle", "_moving", "_outbox", "_taken", "_woken", "speed")

    def __init__(self, outbox: Outbox, deliver: Callable[[bytes], None], *, speed: float = float("inf")) -> None:
        self.speed = speed
        self._outbox = outbox
        self._deliver = deliver
        self._taken: deque[bytes] = deque()
        self._woken = trio.Event()
        self._moving = trio.Event()
        self._moving.set()
        self._idle = trio.Event()

    def notify(self, outbox: Outbox) -> None:
        """There is something to take."""
        self._woken.set()

    @property
    def paused(self) -> bool:
        """Whether the peer reads nothing at present."""
        return not self._moving.is_set()

    def pause(self) -> None:
        """The peer stops reading."""
        self._moving = trio.Event()

    def resume(self) -> None:
        """The peer reads again."""
        self._moving.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        box = self._outbox
        while True:
            self._woken = trio.Event()
            while box.queue:
                if self._idle.is_set():
                    self._idle = trio.Event()
                self._taken.extend(box.take(BATCH))
                while self._taken:
                    await self._wait_for(len(self._taken[0]))
                    self._deliver(self._taken.popleft())
            self._idle.set()
            box.scheduled = NOT
            await self._woken.wait()

    async def _wait_for(self, size: int) -> None:
        if self.speed != float("inf"):
            await trio.sleep(size / self.speed)
        while not self._moving.is_set():
            await self._moving.wait()

    async def drained(self) -> None:
        """Return when everything that was queued is with the peer."""
        while self._outbox.queue or self._taken:
            if self._idle.is_set():
                self._idle = trio.Event()
            await self._idle.wait()


class MemoryConnection(Connection):
    """The server's side of a client without a socket. `serve` is its life; `closed` says why the server ended it."""

    transport = "memory"

    def __init__(
        self,
        sessions: Sessions,
        namespace: Namespace,
        wire: Wire,
        limits: OutboxLimits,
        deliver: Callable[[bytes], None],
    ) -> None:
        self._sessions = sessions
        self._namespace = namespace
        self._nursery: trio.Nursery | None = None
        self._incoming: deque[tuple[str, Any, Any]] = deque()
        self._arrived = trio.Event()
        self._scope = trio.CancelScope()
        self._reading = trio.CancelScope()
        self.session: Session | None = None
        self.refused: WegentError | None = None
        self.closed: Close | None = None
        self.ended = trio.Event()
        self.outbox = Outbox(wire, limits, self._overflow)
        self.drain = TaskDrain(self.outbox, deliver)

    async def serve(self, auth: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open a session, then read until either side ends."""
        try:
            with self._scope:
                async with trio.open_nursery() as writing:
                    self.outbox.attach(self.drain)
                    writing.start_soon(self.drain.run)
                    await self._serve(auth, task_status)
                    with trio.move_on_after(10.0):
                        await self.drain.drained()
                    writing.cancel_scope.cancel()
        finally:
            if self.session is not None:
                self.session.end()
            self.outbox.clear()
            self.ended.set()

    async def _serve(self, auth: Any, task_status: trio.TaskStatus[None]) -> None:
        with self._reading:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    self.session = await self._sessions.open(
                        self, self._namespace, id=secrets.token_hex(8), auth=auth, greet=lambda _: None
                    )
                except WegentError as error:
                    self.refused = error
                task_status.started()
                if self.session is not None:
                    await self._read(self.session)
                nursery.cancel_scope.cancel()
        self._nursery = None
        if self.session is not None:
            self.session.end()

    async def _read(self, session: Session) -> None:
        while True:
            self._arrived = trio.Event()
            while self._incoming:
                event, data, ack_id = self._incoming.popleft()
                if event == "":
                    session.receive_ack(ack_id, data)
                elif not session.receive(event, data, ack_id):
                    await session.room_for_more()
                    if not session.receive(event, data, ack_id):
                        session.refuse(ack_id, Overloaded("too many of your events are waiting; slow down"))
            await self._arrived.wait()

    def feed(self, event: str, data: Any, ack_id: Any = None) -> None:
        """The client sends an event; with the empty name, its ack of the event `ack_id`."""
        self._incoming.append((event, codec.decode(codec.encode(data)), ack_id))
        self._arrived.set()

    def cut(self) -> None:
        """The network is gone: nothing more arrives on either side."""
        self._scope.cancel()

    def _overflow(self) -> None:
        if self.closed is None:
            self.closed = SLOW
            self._scope.cancel()

    def close(self, why: Close) -> None:
        """Stop reading, write what waits, end."""
        if self.closed is None:
            self.closed = why
            if self.session is not None:
                self.session.end()
            self._reading.cancel()

    def disconnect(self, session: Session, why: Close) -> None:
        """The session is the connection."""
        self.close(why)

    def start_soon(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Run a task of a lane."""
        if self._nursery is not None:
            self._nursery.start_soon(call, *args)

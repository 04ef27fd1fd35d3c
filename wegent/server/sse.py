"""One run's events for one reader who only listens: a session whose connection is a queue of server-sent events."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from attrs import frozen

from wegent.codec import encode
from wegent.core.closing import FORBIDDEN, SLOW, Close
from wegent.core.outbox import NOT, Drain, Outbox, OutboxLimits
from wegent.core.ports.wire import Wire
from wegent.core.sessions import Connection, Session
from wegent.protocol.shape import to_wire

ENDINGS = frozenset(("chat:done", "chat:error", "chat:cancelled"))
PIECE = 65_536
"""Bytes taken from the outbox at once."""


class SseWire(Wire):
    """Events in the form of `text/event-stream`, each behind a line that says whose it is: `SUBTASK EVENT`."""

    __slots__ = ()

    def event(self, namespace: str, event: str, payload: Any, ack_id: int | None = None) -> bytes:
        """An event; those of a run have the position after them as their id (protocol §10)."""
        return self.plain(namespace, event, to_wire(payload))

    def plain(self, namespace: str, event: str, payload: dict[str, Any]) -> bytes:
        """The same of what is plain already."""
        subtask_id, position = payload.get("subtask_id", 0), _position(event, payload)
        return b"%d %b\n%bevent: %b\ndata: %b\n\n" % (
            subtask_id,
            event.encode(),
            b"" if position is None else b"id: %b\n" % position.encode(),
            event.encode(),
            encode(payload),
        )

    def ack(self, namespace: str, ack_id: Any, payload: Any) -> bytes:
        """Nobody asks anything here."""
        raise NotImplementedError


WIRE = SseWire()


def _position(event: str, payload: dict[str, Any]) -> str | None:
    if not event.startswith("chat:") or "attempt" not in payload:
        return None
    offset = payload.get("offset", 0) + (len(payload["content"]) if event == "chat:chunk" else 0)
    return f"{payload['subtask_id']}.{payload['attempt']}.{offset}"


@frozen
class ServerSent:
    """One event as it is sent."""

    event: str
    data: bytes

    @property
    def last(self) -> bool:
        """Whether nothing of the run comes after it."""
        return self.event in ENDINGS


class Listener(Connection, Drain):
    """The connection of one who follows one run. It reads nothing, so nothing runs for it.

    `room` is the task's, which they may be put out of; `subtask_id` is the run, None until it is known: then the first
    that starts.
    """

    transport = "sse"

    def __init__(self, room: str, limits: OutboxLimits) -> None:
        self._room = room
        self.outbox = Outbox(WIRE, limits, lambda: self.close(SLOW))
        self.outbox.attach(self)
        self.subtask_id: int | None = None
        self.session: Session | None = None
        self.closed = False
        self._arrived = trio.Event()
        self._ready: deque[ServerSent] = deque()

    def begin(self, subtask_id: int) -> None:
        """Follow this run from here: what was queued before is about something else, or will come again."""
        self.subtask_id = subtask_id
        self._ready.clear()
        self.outbox.clear()

    async def next(self, patience: float) -> ServerSent | None:
        """The next event of the run; None after `patience` seconds without one, or once the connection is closed.

        In silence it is closed if its user has been put out of the task: nothing more would come.
        """
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(patience):
            while not self._ready:
                self._take()
                if not self._ready:
                    if self.closed:
                        return None
                    self._arrived = trio.Event()
                    await self._arrived.wait()
        if self._ready:
            return self._ready.popleft()
        if not self.closed and self.session is not None and self._room not in self.session.rooms:
            self.close(FORBIDDEN)
        return None

    def _take(self) -> None:
        self.outbox.scheduled = NOT
        for frame in self.outbox.take(PIECE):
            head, _, data = frame.partition(b"\n")
            subtask, _, event = head.decode().partition(" ")
            if self.subtask_id is None and event == "chat:start":
                self.subtask_id = int(subtask)
            if int(subtask) == self.subtask_id:
                self._ready.append(ServerSent(event, data))

    def notify(self, outbox: Outbox) -> None:
        """There is something to take."""
        self._arrived.set()

    def close(self, why: Close) -> None:
        """End: what waits can be taken still."""
        self.closed = True
        if self.session is not None:
            self.session.end()
        self._arrived.set()

    def disconnect(self, session: Session, why: Close) -> None:
        """Its only session ends."""
        self.close(why)

    def start_soon(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Nothing is asked here, so nothing has to run."""
        raise NotImplementedError

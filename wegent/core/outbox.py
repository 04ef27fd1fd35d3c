"""What waits for one connection: bounded, pulled, conflating."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import frozen

from wegent.core.catchup import CatchUp, Delta

if TYPE_CHECKING:
    from wegent.core.model import StreamId
    from wegent.core.ports.wire import Wire


NOT, SOON, NOW = range(3)
"""Whether, and when, a drain will take from an outbox: SOON where only text waits."""
MOST_CURSORS = 64
"""Streams, or parts of one, that may wait for one connection to read them."""


@frozen
class OutboxLimits:
    """In bytes. Above `high` deltas are conflated; past `hard` the connection is closed and comes back."""

    high: int = 65_536
    hard: int = 4_194_304


class Drain(ABC):
    """Empties outboxes into connections."""

    __slots__ = ()

    @abstractmethod
    def notify(self, outbox: Outbox) -> None:
        """There is something to take. Not called again until `scheduled` was set to NOT by the drain."""

    def notify_text(self, outbox: Outbox) -> None:
        """There is text to take, which may wait for more where that saves work; `notify` may follow."""
        outbox.schedule()


class Outbox:
    """Frames, acks and stream cursors waiting for one connection, in order.

    `put` and its like never wait. Whoever drains it calls `take`, which makes the bytes when their turn comes: so an
    ending stays behind its text even where that text was never queued. A reader that is slow gets no more deltas
    queued above `limits.high`; one cursor a stream stands in their place (protocol §6.4).

    `size` is in bytes, and of a delta in the queue what it may become at most, but for the form of its letters. Rooms
    write to `queue`, `size` and `scheduled` directly, in their inner loop.
    """

    __slots__ = ("_cursors", "_overflow", "drain", "lagging", "limits", "queue", "scheduled", "size", "wire")

    def __init__(self, wire: Wire, limits: OutboxLimits, overflow: Callable[[], None]) -> None:
        """`overflow` is plain and ends the connection; it may be called more than once."""
        self.wire = wire
        self.limits = limits
        self.queue: list[bytes | Delta | CatchUp] = []
        self.size = 0
        self.scheduled = NOT
        self.drain: Drain | None = None
        self.lagging: dict[StreamId, CatchUp] | None = None
        self._cursors = 0
        self._overflow = overflow

    def attach(self, drain: Drain) -> None:
        """Let `drain` have what waits here, and all that follows."""
        self.drain = drain
        self.scheduled = NOT
        if self.queue:
            self.schedule()

    def schedule(self) -> None:
        """Tell the drain, unless it knows."""
        if self.scheduled != NOW and self.drain is not None:
            self.scheduled = NOW
            self.drain.notify(self)

    def schedule_text(self) -> None:
        """Tell the drain of text, unless it knows."""
        if not self.scheduled and self.drain is not None:
            self.scheduled = SOON
            self.drain.notify_text(self)

    def put(self, frame: bytes) -> None:
        """Queue an event or an ack. Past the hard limit the connection is given up."""
        self.queue.append(frame)
        self.size += len(frame)
        if self.scheduled != NOW:
            self.schedule()
        if self.size > self.limits.hard:
            self._overflow()

    def put_delta(self, delta: Delta) -> None:
        """Queue a delta, or let its stream's cursor stand for it."""
        stream = delta.chunk.stream
        if self.lagging is not None and (cursor := self.lagging.get(stream)) is not None:
            cursor.miss(delta.chunk.values)
        elif self.size < self.limits.high:
            frame = delta.spell(self.wire)
            self.queue.append(frame)
            self.size += len(frame)
        else:
            self.put_cursor(CatchUp.behind(delta))
        self.schedule()

    def put_cursor(self, cursor: CatchUp) -> None:
        """Queue everything from the cursor to its stream's end, as of when its turn comes.

        Past `MOST_CURSORS` that nobody reads the connection is given up.
        """
        self.drop_cursor(cursor.replica.stream)
        if self.lagging is None:
            self.lagging = {}
        self.lagging[cursor.replica.stream] = cursor
        self.queue.append(cursor)
        self._cursors += 1
        self.schedule()
        if self._cursors > MOST_CURSORS:
            self._overflow()

    def drop_cursor(self, stream: StreamId) -> CatchUp | None:
        """Take the stream's cursor out, if there is one. That of an ended stream stays where it is, and None is
        returned: its ending waits behind it.
        """
        cursor = None if self.lagging is None else self.lagging.pop(stream, None)
        self.lagging = self.lagging or None
        if cursor is None or cursor.replica.ending is not None:
            return None
        self.queue.remove(cursor)
        self._cursors -= 1
        return cursor

    def cursors(self, namespace: str, room: str) -> list[CatchUp]:
        """The cursors that stand for streams of this room."""
        found = (self.lagging or {}).values()
        return [cursor for cursor in found if cursor.room == room and cursor.namespace == namespace]

    def take(self, limit: int) -> list[bytes]:
        """Frames to be written next, in order: at least one if anything waits, and no more once `limit` bytes are
        reached. They are gone from here: the drain answers for them.
        """
        if self._cursors or self.size > limit:
            return self._take_some(limit)
        queue, self.queue, self.size = self.queue, [], 0
        wire = self.wire
        return [item if type(item) is bytes else item.spell(wire) for item in queue]  # type: ignore[union-attr]

    def _take_some(self, limit: int) -> list[bytes]:
        frames: list[bytes] = []
        taken = total = 0
        for item in self.queue:
            if isinstance(item, CatchUp):
                done = False
                while total < limit and not done:
                    frame = item.next(self.wire)
                    done = frame is None
                    if frame is not None:
                        frames.append(frame)
                        total += len(frame)
                if not done:
                    break
                self._caught_up(item)
            else:
                frame = item.spell(self.wire) if isinstance(item, Delta) else item
                if total and total + len(frame) > limit:
                    break
                frames.append(frame)
                total += len(frame)
                self.size -= _size(item)
            taken += 1
        del self.queue[:taken]
        return frames

    def _caught_up(self, cursor: CatchUp) -> None:
        self._cursors -= 1
        stream = cursor.replica.stream
        if self.lagging is not None and self.lagging.get(stream) is cursor:
            del self.lagging[stream]
            self.lagging = self.lagging or None

    def recount(self) -> None:
        """The queue was changed by hand."""
        self.size = sum(0 if isinstance(item, CatchUp) else _size(item) for item in self.queue)

    def clear(self) -> None:
        """Forget what waits: the client will come back for it. What is put next is taken next."""
        self.queue.clear()
        self.size = 0
        self._cursors = 0
        self.lagging = None


def _size(item: bytes | Delta) -> int:
    return item.size if isinstance(item, Delta) else len(item)

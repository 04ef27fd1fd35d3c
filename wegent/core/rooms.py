"""Who is in which room on this worker, and what rooms are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from wegent.core.catchup import CatchUp, Chunk, Delta, Emission, Render
from wegent.core.closing import SLOW
from wegent.core.told import Measure, Told

if TYPE_CHECKING:
    from wegent.core.instruments import Registry
    from wegent.core.model import EndingStatus, StreamId
    from wegent.core.outbox import Outbox
    from wegent.core.ports.roomrelay import RoomRelay
    from wegent.core.ports.wire import Wire
    from wegent.core.replica import Replica
    from wegent.core.sessions import Session

HELD_LIMIT = 1_048_576
"""Bytes of state events held for one joining session."""

MOST_NEWEST = 512
"""Tasks of which one room remembers what was told last."""


class Room:
    """The members of one room: those who get everything, by wire, and those who are joining."""

    __slots__ = ("_newest", "joining", "live", "name", "namespace", "turn")

    def __init__(self, namespace: str, name: str) -> None:
        self.turn = 0
        """Grows with whatever text that is told later must not be joined over: who is in the room, and events."""
        self.namespace = namespace
        self.name = name
        self.live: dict[Wire, dict[Outbox, Session]] = {}
        self.joining: dict[Session, Joining] = {}
        self._newest: dict[str, int] = {}

    def overtaken(self, told: Told) -> bool:
        """Whether something newer was told here of the same: workers tell of one task in any order."""
        if told.behind is None or told.after is None:
            return False
        newest = self._newest.pop(told.behind, 0)
        self._newest[told.behind] = max(newest, told.after)
        if len(self._newest) > MOST_NEWEST:
            del self._newest[next(iter(self._newest))]
        return told.after < newest

    def add(self, session: Session) -> None:
        """Make the session a member that gets everything from now on."""
        self.turn += 1
        self.live.setdefault(session.outbox.wire, {})[session.outbox] = session

    def discard(self, session: Session) -> bool:
        """Take a live member out; whether it was one."""
        self.turn += 1
        boxes = self.live.get(session.outbox.wire)
        if boxes is None or boxes.pop(session.outbox, None) is None:
            return False
        if not boxes:
            del self.live[session.outbox.wire]
        return True

    def members(self) -> list[Session]:
        """Live members."""
        return [session for boxes in self.live.values() for session in boxes.values()]


class Rooms:
    """All rooms of this worker. What is told to a room is told to all of it here in one plain step.

    With a `relay` rooms reach over all workers; without one this worker is the only one.
    """

    def __init__(self, registry: Registry) -> None:
        self.relay: RoomRelay | None = None
        self._rooms: dict[tuple[str, str], Room] = {}
        self._deltas = registry.counter("wegent_deltas", "Deltas told to rooms")
        self._events = registry.counter("wegent_room_events", "Events told to rooms")
        registry.gauge("wegent_rooms", "Rooms with members on this worker", lambda: len(self._rooms))

    def get(self, namespace: str, name: str) -> Room | None:
        """The room, if anybody is in it."""
        return self._rooms.get((namespace, name))

    def enter(self, session: Session, name: str) -> None:
        """Make the session a member at once; for rooms that carry no streams."""
        self._room(session, name).add(session)

    def join(self, session: Session, name: str) -> Joining:
        """Begin to join a room (protocol law 2); see `Joining`."""
        return Joining(self, self._room(session, name), session)

    def leave(self, session: Session, name: str) -> bool:
        """Put the session out of the room, with whatever of it still waits for the session. Whether it was in."""
        room = session.rooms.pop(name, None)
        if room is None:
            return False
        room.discard(session)
        room.joining.pop(session, None)
        for cursor in session.outbox.cursors(room.namespace, name):
            session.outbox.drop_cursor(cursor.replica.stream)
        self._sweep(room)
        return True

    def leave_all(self, session: Session) -> None:
        """Put the session out of every room."""
        for name in list(session.rooms):
            self.leave(session, name)

    def rewire(self, sessions: Iterable[Session], wire: Wire) -> None:
        """The sessions' common outbox speaks another wire from now on."""
        sessions = list(sessions)
        moved = [(room, session) for session in sessions for room in session.rooms.values() if room.discard(session)]
        for session in sessions:
            session.outbox.wire = wire
        for room, session in moved:
            room.add(session)

    def follows(self, name: str) -> bool:
        """Whether nothing that is told to the room anywhere is missed here."""
        return self.relay is None or self.relay.follows(name)

    async def follow(self, name: str) -> None:
        """Hear from now on, and for a while, what other workers tell the room; raises `Overloaded`."""
        if self.relay is not None:
            await self.relay.follow(name)

    async def reach(self, name: str, revision: int) -> None:
        """Return when all that a task's room is told up to a revision has been told here; raises `Overloaded`."""
        if self.relay is not None:
            await self.relay.reach(name, revision)

    def __contains__(self, room: tuple[str, str]) -> bool:
        """Whether somebody here is in the room of that namespace and name, or on the way in."""
        return room in self._rooms

    def has_members(self, namespace: str, name: str) -> bool:
        """Whether somebody here is in the room, and not only on the way in."""
        room = self._rooms.get((namespace, name))
        return room is not None and bool(room.live)

    def mark(self, namespace: str, name: str, revision: int) -> None:
        """The rows of a task have changed to this revision; all that its room is told of that has been told."""
        if self.relay is not None:
            self.relay.emit(Told(namespace, name, revision=revision))

    def emit(
        self,
        namespace: str,
        name: str,
        event: str,
        payload: Any,
        *,
        revision: int | None = None,
        stream: StreamId | None = None,
        row: int | None = None,
        ends: EndingStatus | None = None,
        measure: Measure | None = None,
        skip: Session | None = None,
        behind: str | None = None,
        after: int | None = None,
    ) -> None:
        """Tell the room of something, on every worker; see `Told` for what may be said of it.

        `skip` gets nothing; sessions that are joining get it after their ack, unless their ack says it already. Those
        that are joining the room `behind` get it after that ack, for it must not overtake what is held for them there.
        """
        told = Told(namespace, name, event, payload, revision, stream, row, ends, measure, behind, after, skip)
        if self.relay is None:
            self.emit_here(told)
        else:
            self.relay.emit(told)

    def emit_here(self, told: Told) -> None:
        """Tell the room's members on this worker, and nobody else."""
        room = self._rooms.get((told.namespace, told.room))
        if room is None or not told.event or room.overtaken(told):
            return
        self._events.value += 1
        room.turn += 1
        emission = Emission(told.namespace, told.event, told.payload)
        other = self._rooms.get((told.namespace, told.behind)) if told.behind is not None else None
        held = other.joining if other is not None else {}
        for wire, boxes in list(room.live.items()):
            frame = emission.spell(wire)
            for box, session in list(boxes.items()):  # one that overflows may leave at once
                if session in held:
                    held[session].hold(emission, None)
                elif session is not told.skip:
                    box.put(frame)
        for session, joining in room.joining.items():
            if session is not told.skip:
                joining.hold(emission, told.revision, told.stream, begins=told.begins)

    def emit_chunk(self, namespace: str, name: str, replica: Replica, chunk: Chunk, render: Render) -> Delta | None:
        """Tell the room what a stream has just said; the replica holds it already (protocol law 1).

        Returns the delta where text that follows may be joined to it.
        """
        room = self._rooms.get((namespace, name))
        if room is None:
            return None
        self._deltas.value += 1
        delta = Delta(replica, chunk, render, namespace, name)
        slow: list[Outbox] = []
        for wire, boxes in room.live.items():
            item: bytes | Delta = delta if delta.size else delta.spell(wire)
            size = delta.size or len(delta.spell(wire))
            for box in boxes:
                if box.lagging is None and box.size < box.limits.high:
                    box.queue.append(item)
                    box.size += size
                    if chunk.gathered:
                        box.schedule()
                    elif not box.scheduled:
                        box.schedule_text()
                else:
                    slow.append(box)
        for box in slow:  # one that overflows leaves at once
            box.put_delta(delta)
        for joining in room.joining.values():
            joining.miss(delta)
        return delta.keep_open(room) if delta.size and not slow else None

    def _room(self, session: Session, name: str) -> Room:
        key = (session.namespace, name)
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = Room(*key)
            if self.relay is not None:
                self.relay.entered(*key)
        session.rooms[name] = room
        return room

    def _sweep(self, room: Room) -> None:
        if not room.live and not room.joining:
            self._rooms.pop((room.namespace, room.name), None)
            if self.relay is not None:
                self.relay.left(room.namespace, room.name)


class _Held(NamedTuple):
    item: Emission | CatchUp
    revision: int | None
    stream: StreamId | None
    begins: bool = False


class Joining:
    """A session on its way into a room (protocol law 2).

    Inside `with`, the session is told nothing of the room; state events are held, text is only remembered as missed.
    Read the rows, look at `overflowed` (then `restart` and read again), and from there with no await: read the
    replicas, queue the ack, call `complete`. Leaving the block without `complete` puts things back as they were.
    """

    __slots__ = (
        "_before",
        "_cursors",
        "_done",
        "_forgot",
        "_held",
        "_rooms",
        "_size",
        "overflowed",
        "room",
        "session",
    )

    def __init__(self, rooms: Rooms, room: Room, session: Session) -> None:
        self._rooms = rooms
        self.room = room
        self.session = session
        self._held: list[_Held] = []
        self._cursors: dict[StreamId, CatchUp] = {}
        self._size = 0
        self._before = False
        self._done = False
        self._forgot = False
        self.overflowed = False

    def __enter__(self) -> Self:
        """Stop telling the session of the room."""
        earlier = self.room.joining.get(self.session)
        self._before = self.room.discard(self.session) or (earlier is not None and earlier._before)
        if earlier is not None:  # two joins at once: the later one takes over what the earlier one holds
            self._held, self._cursors, self._size = earlier._held, earlier._cursors, earlier._size
            earlier._done = True
        for cursor in self.session.outbox.cursors(self.room.namespace, self.room.name):
            if self.session.outbox.drop_cursor(cursor.replica.stream) is not None:
                self._keep(cursor)
        self.room.joining[self.session] = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Without `complete`: a session that was in the room is told what it missed, another one leaves."""
        if self._done:
            return
        if self._before and self.session.open:
            self.complete(-1)
            if self._forgot or self.overflowed:
                self.session.connection.close(SLOW)  # what is lost here is found again after the reconnect
        else:
            self._done = True
            if self.room.joining.get(self.session) is self:
                self._rooms.leave(self.session, self.room.name)

    def hold(
        self, emission: Emission, revision: int | None, stream: StreamId | None = None, *, begins: bool = False
    ) -> None:
        """Keep a state event for after the ack; `begins`: it is the stream's start."""
        if self.overflowed:
            return
        self._size += len(emission.spell(self.session.outbox.wire))
        self._held.append(_Held(emission, revision, stream, begins))
        self.overflowed = self._size > HELD_LIMIT

    def miss(self, delta: Delta) -> None:
        """Note that text was said that the session did not get."""
        cursor = self._cursors.get(delta.chunk.stream)
        if cursor is None:
            self._keep(CatchUp.behind(delta))
        else:
            cursor.miss(delta.chunk.values)

    def _keep(self, cursor: CatchUp) -> None:
        self._cursors[cursor.replica.stream] = cursor
        self._held.append(_Held(cursor, cursor.replica.revision, cursor.replica.stream, begins=True))

    def restart(self) -> None:
        """Forget what is held of the task's rows, which are about to be read anew."""
        self.room.turn += 1
        self._held = [held for held in self._held if held.revision is None]
        self._cursors.clear()
        self._size = 0
        self._forgot = True
        self.overflowed = False

    def complete(
        self,
        revision: int,
        first: Sequence[Emission | CatchUp] = (),
        *,
        of: StreamId | None = None,
        running: StreamId | None = None,
    ) -> None:
        """Make the session a member. The ack must have been queued just before, with rows as of `revision`.

        `first` is queued at once; then the held events of a greater revision, and cursors of streams that began after
        it. What is not newer stands in the ack, as of now; where the ack and `first` tell only `of` one stream, that is
        so of its subtask's attempts alone, and what is held of others is queued whatever its revision. They tell all
        that `running` has said, so nothing held of that but its ending is queued.
        """
        current = self.room.joining.get(self.session) is self  # else it was put out of the room meanwhile
        if self._done or not current or not self.session.open:
            self._done = True
            return
        self._done = True
        del self.room.joining[self.session]
        for item in first:
            self._queue(item)
        for held in self._held:
            if held.begins and held.stream == running:
                continue
            told = of is None or (held.stream is not None and held.stream.subtask_id == of.subtask_id)
            if held.revision is None or held.revision > revision or not told:
                self._queue(held.item)
        if self.session.open:  # else that was more than its outbox holds
            self.room.add(self.session)

    def _queue(self, item: Emission | CatchUp) -> None:
        box = self.session.outbox
        if isinstance(item, CatchUp):
            box.put_cursor(item)
        else:
            box.put(item.spell(box.wire))

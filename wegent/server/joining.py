"""`task:join`, `chat:resume`, `history:sync`: what a client reads, and from where it goes on live (protocol §3, §6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import frozen

from wegent.core.catchup import CatchUp, Emission
from wegent.core.clock import Clock
from wegent.core.errors import AccessDenied, NotFound, Overloaded
from wegent.core.model import Principal, Snapshot, StreamId
from wegent.core.namespaces import Ack
from wegent.core.replica import Replica
from wegent.core.rooms import Joining as RoomJoining
from wegent.core.rooms import Rooms
from wegent.core.sessions import Session
from wegent.core.streams import Streams
from wegent.core.text import weight
from wegent.protocol.chat import ChatResume, ChatResumeAck
from wegent.protocol.events import TASK_APP_UPDATE
from wegent.protocol.status import Role, Status
from wegent.protocol.tasks import HistorySync, HistorySyncAck, Streaming, TaskJoin, TaskJoinAck
from wegent.server import payloads
from wegent.server.access import readable_task
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task
from wegent.server.status import is_terminal
from wegent.server.telling import CHAT, task_room

T = TypeVar("T")
ROWS_BUDGET = 250_000
"""Bytes of all rows' texts in one ack; beside the running text they fit a frame."""
ROW_LEAST = 2_000
RESTARTS = 5


@frozen
class View:
    """Rows of a task, as of its `revision`."""

    revision: int
    rows: list[Subtask]
    has_more: bool
    active: Subtask | None
    task: Task


class Joining:
    """Brings sessions into task rooms in one step (protocol law 2)."""

    def __init__(self, store: Store, clock: Clock, rooms: Rooms, streams: Streams) -> None:
        self._store = store
        self._clock = clock
        self._rooms = rooms
        self._streams = streams

    async def join(self, session: Session, payload: TaskJoin, ack: Ack) -> None:
        """Read rows and revision in one unit; then, with no await: replica, ack, held events, membership."""

        def read(unit: Unit) -> View:
            return _view(unit, session.principal, payload)

        await self._follow(session.principal, payload.task_id)
        with self._rooms.join(session, task_room(payload.task_id)) as joining:
            view = await self._read(joining, read, lambda view: view.revision)
            ack(self._ack(view))
            app = payloads.app_update(view.task)
            first = () if app is None else (Emission(CHAT, TASK_APP_UPDATE, app),)
            joining.complete(view.revision, first, running=None if view.active is None else _stream(view.active))

    async def _follow(self, principal: Principal, task_id: int) -> None:
        """Hear what other workers tell of the task before its rows are read, if it is open to who asks."""
        room = task_room(task_id)
        if not self._rooms.follows(room):
            await self._store.read(lambda unit: readable_task(unit, principal, task_id))
            await self._rooms.follow(room)

    async def _read(self, joining: RoomJoining, read: Callable[[Unit], T], revision_of: Callable[[T], int]) -> T:
        """Read, and again if more came meanwhile than is held for one who joins. All up to the revision that was read
        has been told to the room then.
        """
        for _ in range(RESTARTS):
            found = await self._store.read(read)
            await self._rooms.reach(joining.room.name, revision_of(found))
            if joining.room.name not in joining.session.rooms:
                message = "you were put out of this task while you joined it"
                raise AccessDenied(message)
            if not joining.overflowed:
                return found
            joining.restart()
        message = "too much happens in this task to join it now; try again in a moment"
        raise Overloaded(message)

    def _ack(self, view: View) -> TaskJoinAck:
        active = view.active
        return TaskJoinAck(
            streaming=None if active is None else self._streaming(active),
            subtasks=_rows(view.rows, payloads.row_payload),
            revision=view.revision,
            has_more=view.has_more,
        )

    def _streaming(self, row: Subtask) -> Streaming:
        return payloads.streaming(row, self._streams.get(_stream(row)), self._clock.now())

    async def resume(self, session: Session, payload: ChatResume, ack: Ack) -> None:
        """Ack the position, then text from there to the log's end, all values, what follows live, the ending."""

        def read(unit: Unit) -> tuple[int, Subtask, Snapshot | None]:
            task = readable_task(unit, session.principal, payload.task_id)
            row = unit.subtask(payload.subtask_id)
            if row is None or row.deleted or row.task_id != task.id or row.role != Role.ASSISTANT:
                message = f"task {task.id} has no answer {payload.subtask_id}"
                raise NotFound(message)
            return task.revision, row, payloads.row_snapshot(row) if is_terminal(row) else None

        await self._follow(session.principal, payload.task_id)
        with self._rooms.join(session, task_room(payload.task_id)) as joining:
            revision, row, kept = await self._read(joining, read, lambda found: found[0])
            replica = self._replica(revision, row, kept)
            same = payload.attempt in (None, row.attempt)
            offset = payload.offset if same and replica is not None and payload.offset <= replica.length() else 0
            ack(ChatResumeAck(attempt=row.attempt, offset=offset, status=Status(row.status)))
            first: list[Emission | CatchUp] = []
            if replica is not None:
                first.append(self._streams.cursor(replica, offset=offset))
            if is_terminal(row):
                first.append(Emission(CHAT, *payloads.ending_event(row, payloads.row_ending(row))))
            running = None if replica is None else replica.stream
            joining.complete(revision, first, of=_stream(row), running=running)

    def _replica(self, revision: int, row: Subtask, kept: Snapshot | None) -> Replica | None:
        """What the row's attempt has said; nothing where it began after the row was read: then its start is held."""
        if kept is not None:
            return Replica.of(_stream(row), kept)
        replica = self._streams.get(_stream(row))
        begun = replica is not None and not replica.muted and replica.revision <= revision
        return replica if begun else None

    async def history(self, principal: Principal, payload: HistorySync) -> HistorySyncAck:
        """A page of messages, oldest first; without bounds the newest."""

        def read(unit: Unit) -> tuple[list[Subtask], bool]:
            readable_task(unit, principal, payload.task_id)
            newest = payload.after_message_id is None
            rows = unit.subtasks(
                payload.task_id,
                after_message_id=payload.after_message_id,
                before_message_id=payload.before_message_id,
                limit=payload.limit + 1,
                newest=newest,
            )
            more = len(rows) > payload.limit
            return (rows[1:] if newest else rows[:-1]) if more else rows, more

        rows, more = await self._store.read(read)
        return HistorySyncAck(messages=_rows(rows, payloads.history_message), has_more=more)


def _stream(row: Subtask) -> StreamId:
    return StreamId(row.task_id, row.id, row.attempt)


def _rows(rows: list[Subtask], payload_of: Callable[..., Any]) -> tuple[Any, ...]:
    """The rows' payloads; the newest keep their texts whole, older ones are cut where all would not fit a frame."""
    left = ROWS_BUDGET
    made = []
    for row in reversed(rows):
        made.append(payload_of(row, budget=max(ROW_LEAST, left)))
        left -= weight(row.content) + weight(row.prompt) + weight(row.thinking)
    return tuple(reversed(made))


def _view(unit: Unit, principal: Principal, payload: TaskJoin) -> View:
    task = readable_task(unit, principal, payload.task_id)
    active = next((row for row in unit.unfinished(task.id) if Status(row.status).active), None)
    if payload.after_revision is not None:
        rows = unit.subtasks(task.id, after_revision=payload.after_revision, limit=10_000)
        return View(task.revision, rows, has_more=False, active=active, task=task)
    if payload.after_message_id is not None:
        rows, more = _after_message(unit, task.id, payload.after_message_id, payload.limit)
    else:
        rows = unit.subtasks(task.id, limit=payload.limit + 1, newest=True)
        more = len(rows) > payload.limit
        rows = rows[1:] if more else rows
    return View(task.revision, rows, more, active, task)


def _after_message(unit: Unit, task_id: int, after: int, limit: int) -> tuple[list[Subtask], bool]:
    """For clients that know no revision: later rows, the newest answer, and every row that is not terminal."""
    rows = unit.subtasks(task_id, after_message_id=after, limit=limit + 1)
    more = len(rows) > limit
    wanted = {row.id: row for row in rows[:limit]}
    newest = unit.newest_answer(task_id)
    for row in (*unit.unfinished(task_id), *([newest] if newest is not None else [])):
        wanted.setdefault(row.id, row)
    return sorted(wanted.values(), key=lambda row: row.message_id), more

"""What rows imply for those who have missed what was told of them, and how that is told from worker to worker."""

from __future__ import annotations

from typing import Any

from wegent.codec import CodecError, decode, encode
from wegent.core.model import EndingStatus, StreamId
from wegent.core.ports.rows import Change, Changes, Rows
from wegent.core.told import Measure, Told
from wegent.protocol.status import Role, Status
from wegent.protocol.tasks import SyncRequired
from wegent.server import payloads
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask
from wegent.server.status import is_terminal
from wegent.server.telling import CHAT, About, app_told, ending_told, message_told, start_told

NEWEST = 100
"""Rows that are looked at where nothing is known yet."""
MOST = 1_000
TASK, USER = "task:", "user:"


class StoreRows(Rows):
    """The rows of a deployment that has a store."""

    __slots__ = ("_store",)

    def __init__(self, store: Store) -> None:
        self._store = store

    def task_of(self, room: str) -> int | None:
        """The task of `task:ID`."""
        number = room.removeprefix(TASK)
        return int(number) if room.startswith(TASK) and number.isdecimal() else None

    async def changes(self, task_id: int, after: int | None) -> Changes:
        """What became of the task's rows."""
        return await self._store.read(lambda unit: _changes(unit, task_id, after))

    def resync(self, namespace: str, room: str) -> Told | None:
        """`sync:required`, for the people in a user's room."""
        if namespace != CHAT or not room.startswith(USER):
            return None
        return Told(namespace, room, "sync:required", SyncRequired(scope=room))


def _changes(unit: Unit, task_id: int, after: int | None) -> Changes:
    task = unit.task(task_id)
    if task is None:
        return Changes(0)
    if after is None:
        found = unit.subtasks(task_id, limit=NEWEST, newest=True)
    else:
        found = unit.subtasks(task_id, after_revision=after, limit=MOST)
    rows = {row.id: row for row in (*found, *unit.unfinished(task_id)) if not row.deleted}
    changes = [_change(row) for row in rows.values()]
    if (app := app_told(task)) is not None and app["revision"] > (after or 0):
        changes.append(Change(app["row"], app["revision"], rest=_told(app)))
    return Changes(task.revision, tuple(sorted(changes, key=lambda change: change.revision)))


def _change(row: Subtask) -> Change:
    if row.role == Role.USER:
        return Change(row.id, row.revision, rest=_told(message_told(row)))
    ended = is_terminal(row)
    return Change(
        row.id,
        row.revision,
        row.attempt,
        StreamId(row.task_id, row.id, row.attempt),
        running=Status(row.status).active,
        start=_told(start_told(row)) if row.started_at is not None else None,
        rest=_told(ending_told(row)) if ended else None,
        kept=payloads.row_snapshot(row) if ended else None,
    )


def _told(about: About) -> Told:
    return Told(room=about.pop("name"), **about)  # type: ignore[misc]


def encode_told(told: Told) -> bytes:
    """As a message to other workers."""
    measure = told.measure
    return encode(
        {
            "namespace": told.namespace,
            "room": told.room,
            "event": told.event,
            "payload": told.payload,
            "revision": told.revision,
            "stream": told.stream,
            "row": told.row,
            "ends": told.ends,
            "measure": None if measure is None else [measure.lengths, measure.versions],
            "behind": told.behind,
            "after": told.after,
        }
    )


def decode_told(body: bytes) -> Told:
    """The same back; the payload is plain data then.

    Raises:
        ValueError: it is no such message.
    """
    try:
        about: dict[str, Any] = decode(body)
        if (stream := about["stream"]) is not None:
            about["stream"] = StreamId(*stream)
        if (measure := about["measure"]) is not None:
            about["measure"] = Measure(*measure)
        if (ends := about["ends"]) is not None:
            about["ends"] = EndingStatus(ends)
        return Told(**about)
    except (CodecError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error

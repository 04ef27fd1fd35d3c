"""Units over a connection of SQLAlchemy: the queue, runs, devices, saved streams."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete

from wegent.core.errors import NotFound
from wegent.core.model import StreamId
from wegent.server.records import Device, OwnerBeat, SavedPart, Subtask, Waiting
from wegent.storage import rules
from wegent.storage import runs_statements as runs
from wegent.storage import statements as sql
from wegent.storage.sql_base import SqlBase, found, params_of


class SqlRuns(SqlBase):
    """Who waits, who runs, and what they said."""

    __slots__ = ()

    # the queue

    def depths(self) -> dict[str, int]:
        return dict(tuple(row) for row in self._read(runs.DEPTHS))

    def take_turns(self, target: str, count: int) -> int:
        rules.check_texts({"target": target})
        params = {"at": target, "count": count}
        if self._returning:
            turns = self._write(runs.TAKE_TURNS_RETURNING, params).scalar()
        else:
            turns = (
                self._read(runs.TURNS_TAKEN, at=target).scalar()
                if self._write(runs.TAKE_TURNS, params).rowcount
                else None
            )
        if turns is None:
            self._write(sql.INSERTS[sql.QUEUES], {"target": target, "turns": count})
            return 1
        return int(turns) - count + 1

    def queue(
        self, target: str, *, now: datetime, released: Collection[int] = (), limit: int, per_user: int
    ) -> list[Waiting]:
        params = {"at": target, "released": list(released), "now": now, "limit": limit, "per_user": per_user}
        return self._all(Waiting, runs.QUEUE, **params)

    def served(self, target: str, user_id: int, turn: int) -> None:
        params = {"at": target, "user": user_id, "latest": turn}
        if self._write(runs.SERVED, params).rowcount == 0:
            self._write(sql.INSERTS[sql.TURNS], {"target": target, "user_id": user_id, "turn": turn})

    # runs

    def running(self, owners: Collection[str] | None = None) -> list[Subtask]:
        statement = runs.HELD_ROWS
        if owners is not None:
            statement = statement.where(sql.SUBTASKS.c.owner.in_(list(owners)))
        return self._all(Subtask, statement)

    def owned(self, owner: str) -> list[tuple[int, int, str | None, str]]:
        rows: list[tuple[int, int, str | None, str]] = [tuple(row) for row in self._read(runs.OWNED, who=owner)]
        return rows

    def running_remote(self) -> list[Subtask]:
        return self._all(Subtask, runs.REMOTE_ROWS)

    def holding(self, owner: str) -> int:
        return self._read(runs.HOLDING, who=owner).scalar() or 0

    def holders(self) -> set[str]:
        return set(self._read(runs.HOLDERS).scalars())

    def set_reported(self, subtask_ids: Collection[int]) -> None:
        if subtask_ids:
            self._write(runs.REPORTED, {"ids": list(subtask_ids)})

    def beat(self, owner: str) -> None:
        rules.check_texts({"owner": owner})
        if self._write(runs.BEAT, {"who": owner}).rowcount == 0:
            self._write(sql.INSERTS[sql.OWNERS], {"owner": owner, "beat": rules.first_beat()})

    def beats(self) -> list[OwnerBeat]:
        return sorted(self._all(OwnerBeat, runs.BEATS), key=lambda row: row.owner)

    def forget_owner(self, owner: str, *, beat: int | None = None) -> bool:
        c = sql.OWNERS.c
        statement = delete(sql.OWNERS).where(c.owner == owner)
        return self._write(statement if beat is None else statement.where(c.beat == beat)).rowcount > 0

    # devices

    def device(self, user_id: int, device_id: str) -> Device | None:
        rules.check_texts({"device_id": device_id})
        return self._one(Device, runs.DEVICE_BY_ID, user=user_id, device=device_id)

    def devices(self, user_id: int) -> list[Device]:
        return self._all(Device, runs.DEVICES_OF, user=user_id)

    def present_devices(self) -> list[Device]:
        return self._all(Device, runs.PRESENT_DEVICES)

    def put_device(self, user_id: int, device_id: str, **changes: Any) -> Device:
        rules.check_changes(Device, changes)
        rules.check_texts(changes)
        row = self.device(user_id, device_id)
        if row is not None:
            keys = {"user_id": user_id, "device_id": device_id}
            return found(self._change(Device, sql.DEVICES, keys, changes) if changes else row, "device")
        fields = {"name": device_id, "created_at": self._clock.now(), **rules.DEVICE_DEFAULTS, **changes}
        row = Device(user_id, device_id, **fields)
        self._write(sql.INSERTS[sql.DEVICES], params_of(row))
        return row

    def delete_device(self, user_id: int, device_id: str) -> None:
        c = sql.DEVICES.c
        rules.check_texts({"device_id": device_id})
        if self._write(delete(sql.DEVICES).where(c.user_id == user_id, c.device_id == device_id)).rowcount == 0:
            raise NotFound("no such device")

    # saved streams

    def save_parts(self, parts: Sequence[SavedPart]) -> None:
        rules.check_parts(parts)
        if parts:
            rows = [
                {
                    "task_id": part.stream.task_id,
                    "subtask_id": part.stream.subtask_id,
                    "attempt": part.stream.attempt,
                    "channel": part.channel,
                    "start": part.offset,
                    "text": part.text,
                }
                for part in parts
            ]
            self._write(runs.upsert_parts(self._conn.dialect.name), rows)

    def saved_parts(self, stream: StreamId) -> list[SavedPart]:
        rows = self._read(runs.PARTS_OF_STREAM, subtask=stream.subtask_id, attempt=stream.attempt)
        parts = [SavedPart(stream, channel, start, text) for channel, start, text in rows]
        return sorted(parts, key=lambda part: (part.channel, part.offset))

    def drop_parts(self, stream: StreamId) -> None:
        self._write(runs.DROP_PARTS, {"subtask": stream.subtask_id, "attempt": stream.attempt})

"""Units over the tables in memory: the queue, runs, devices, saved streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import attrs

from wegent.core.errors import NotFound
from wegent.core.model import StreamId
from wegent.server.owners import is_remote
from wegent.server.records import Device, OwnerBeat, SavedPart, Subtask, Waiting
from wegent.storage import rules
from wegent.storage.memory_base import MemoryBase, found, stored


class MemoryRuns(MemoryBase):
    """Who waits, who runs, and what they said."""

    __slots__ = ()

    # the queue

    def depths(self) -> dict[str, int]:
        return dict(Counter(row.target for row in self._answers() if row.status == rules.PENDING))

    def take_turns(self, target: str, count: int) -> int:
        t = self._write()
        rules.check_texts({"target": target})
        before = t.queues.get(target, 0)
        t.put(t.queues, target, before + count)
        return before + 1

    def queue(
        self, target: str, *, now: datetime, released: Collection[int] = (), limit: int, per_user: int
    ) -> list[Waiting]:
        t = self._read()
        taken = Counter(row.sender_id for row in self.running() if row.target == target)
        ordered: list[tuple[int, int, Subtask]] = []
        for row in self._first_of_tasks():
            due = row.id in released or (row.claimable_at is not None and row.claimable_at <= now)
            if due and row.target == target and not t.tasks[row.task_id].deleted and taken[row.sender_id] < per_user:
                taken[row.sender_id] += 1
                place = sum(other.sender_id == row.sender_id for _, _, other in ordered)
                ordered.append((place, t.turns.get((target, row.sender_id), 0), row))
        ordered.sort(key=lambda entry: (entry[0], entry[1], entry[2].id))
        return [Waiting(r.id, r.task_id, r.attempt, r.sender_id, r.updated_at) for _, _, r in ordered[:limit]]

    def _answers(self) -> Iterator[Subtask]:
        return (row for row in self._read().unfinished_rows() if row.role == rules.ASSISTANT and not row.deleted)

    def _first_of_tasks(self) -> Iterator[Subtask]:
        """PENDING rows that no run and no older row of their task is in the way of, whatever becomes of that one."""
        rows = list(self._answers())
        blocked = {row.task_id for row in rows if row.status in rules.HELD}
        for row in rows:
            if row.task_id not in blocked:
                blocked.add(row.task_id)
                yield row

    def served(self, target: str, user_id: int, turn: int) -> None:
        t = self._write()
        t.put(t.turns, (target, user_id), turn)

    # runs

    def running(self, owners: Collection[str] | None = None) -> list[Subtask]:
        rows = (row for row in self._read().unfinished_rows() if row.status in rules.HELD)
        return [row for row in rows if owners is None or row.owner in owners]

    def owned(self, owner: str) -> list[tuple[int, int, str | None, str]]:
        return [(row.id, row.attempt, row.lease, row.status) for row in self.running([owner])]

    def running_remote(self) -> list[Subtask]:
        return [row for row in self.running() if row.owner is not None and is_remote(row.owner)]

    def holding(self, owner: str) -> int:
        return len(self.running([owner]))

    def holders(self) -> set[str]:
        return {row.owner for row in self.running() if row.owner is not None}

    def set_reported(self, subtask_ids: Collection[int]) -> None:
        t = self._write()
        for each in subtask_ids:
            if each in t.subtasks:
                t.put(t.subtasks, each, attrs.evolve(t.subtasks[each], reported=True))

    def beat(self, owner: str) -> None:
        t = self._write()
        rules.check_texts({"owner": owner})
        row = t.beats.get(owner)
        t.put(t.beats, owner, OwnerBeat(owner, rules.first_beat() if row is None else row.beat + 1))

    def beats(self) -> list[OwnerBeat]:
        return sorted(self._read().beats.values(), key=lambda row: row.owner)

    def forget_owner(self, owner: str, *, beat: int | None = None) -> bool:
        t = self._write()
        row = t.beats.get(owner)
        if row is None or beat not in (None, row.beat):
            return False
        t.drop(t.beats, owner)
        return True

    # devices

    def device(self, user_id: int, device_id: str) -> Device | None:
        rules.check_texts({"device_id": device_id})
        return self._read().devices.get((user_id, device_id))

    def devices(self, user_id: int) -> list[Device]:
        rows = [row for row in self._read().devices.values() if row.user_id == user_id]
        return sorted(rows, key=lambda row: (row.created_at, row.device_id))

    def present_devices(self) -> list[Device]:
        rows = self._read().devices.values()
        return [row for row in rows if row.connection is not None or row.status != rules.OFFLINE]

    def put_device(self, user_id: int, device_id: str, **changes: Any) -> Device:
        t = self._write()
        rules.check_changes(Device, changes)
        row = self.device(user_id, device_id)
        if row is None:
            found(t.users.get(user_id), "user")
            fields = {"name": device_id, **rules.DEVICE_DEFAULTS}
            row = Device(user_id, device_id, created_at=self._clock.now(), **fields)
        return t.put(t.devices, (user_id, device_id), attrs.evolve(row, **stored(changes)))

    def delete_device(self, user_id: int, device_id: str) -> None:
        t = self._write()
        if self.device(user_id, device_id) is None:
            raise NotFound("no such device")
        t.drop(t.devices, (user_id, device_id))

    # saved streams

    def save_parts(self, parts: Sequence[SavedPart]) -> None:
        t = self._write()
        rules.check_parts(parts)
        for part in parts:
            saved = t.parts.get(part.stream, {})
            t.put(t.parts, part.stream, {**saved, (part.channel, part.offset): part})

    def saved_parts(self, stream: StreamId) -> list[SavedPart]:
        saved = self._read().parts.get(stream, {})
        return [part for _, part in sorted(saved.items(), key=lambda item: item[0])]

    def drop_parts(self, stream: StreamId) -> None:
        t = self._write()
        t.drop(t.parts, stream)

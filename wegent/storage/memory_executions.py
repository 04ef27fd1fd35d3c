"""Units over the tables in memory: background work."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from wegent.server.records import Execution
from wegent.storage import rules
from wegent.storage.memory_base import MemoryBase, found, stored


class MemoryExecutions(MemoryBase):
    """What runs in the background, and when."""

    __slots__ = ()

    def execution(self, execution_id: int) -> Execution | None:
        return self._read().executions.get(execution_id)

    def executions(self, user_id: int, *, before_id: int | None = None, limit: int = 50) -> list[Execution]:
        rows = (row for row in reversed(self._read().executions.values()) if row.user_id == user_id)
        return [row for row in rows if before_id is None or row.id < before_id][:limit]

    def count_scheduled(self, user_id: int) -> int:
        return sum(row.user_id == user_id and row.next_at is not None for row in self._read().executions.values())

    def due_executions(self, now: datetime, *, limit: int) -> list[Execution]:
        rows = [(row.next_at, row.id, row) for row in self._read().executions.values() if row.next_at is not None]
        return [row for at, _, row in sorted(rows, key=lambda each: each[:2]) if at <= now][:limit]

    def next_execution_at(self) -> datetime | None:
        rows = self._read().executions.values()
        return min((row.next_at for row in rows if row.next_at is not None), default=None)

    def add_execution(
        self, *, user_id: int, team_id: int, prompt: str, next_at: datetime | None, **fields: Any
    ) -> Execution:
        t = self._write()
        rules.check_changes(Execution, fields)
        found(t.users.get(user_id), "user")
        fields |= {"team_id": team_id, "prompt": prompt, "next_at": next_at}
        now = self._clock.now()
        row = Execution(t.next_id("executions"), user_id, created_at=now, updated_at=now, **stored(fields))
        return t.put(t.executions, row.id, row)

    def take_execution(self, execution_id: int, seen: datetime, **changes: Any) -> Execution | None:
        t = self._write()
        rules.check_changes(Execution, changes)
        row = t.executions.get(execution_id)
        if row is None or row.next_at != seen:
            return None
        return t.put(t.executions, row.id, attrs.evolve(row, **stored(changes), updated_at=self._clock.now()))

    def update_execution(self, execution_id: int, **changes: Any) -> Execution:
        t = self._write()
        rules.check_changes(Execution, changes)
        row = found(t.executions.get(execution_id), "execution")
        return t.put(t.executions, row.id, attrs.evolve(row, **stored(changes), updated_at=self._clock.now()))

    def delete_execution(self, execution_id: int) -> None:
        t = self._write()
        t.drop(t.executions, found(t.executions.get(execution_id), "execution").id)

"""Units over a connection of SQLAlchemy: background work."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, select

from wegent.core.errors import NotFound
from wegent.server.records import Execution
from wegent.storage import rules
from wegent.storage import statements as sql
from wegent.storage.sql_base import SqlBase, found

C: Final = sql.EXECUTIONS.c
BY_ID: Final = select(*sql.EXECUTION).where(C.id == bindparam("id"))
OF_USER: Final = (
    select(*sql.EXECUTION).where(C.user_id == bindparam("user")).order_by(C.id.desc()).limit(bindparam("limit"))
)
SCHEDULED: Final = select(func.count()).where(C.user_id == bindparam("user"), C.next_at.is_not(None))
DUE: Final = (
    select(*sql.EXECUTION)
    .where(C.next_at <= bindparam("now", type_=C.next_at.type))
    .order_by(C.next_at, C.id)
    .limit(bindparam("limit"))
)
NEXT: Final = select(func.min(C.next_at, type_=C.next_at.type))


class SqlExecutions(SqlBase):
    """What runs in the background, and when."""

    __slots__ = ()

    def execution(self, execution_id: int) -> Execution | None:
        return self._one(Execution, BY_ID, id=execution_id)

    def executions(self, user_id: int, *, before_id: int | None = None, limit: int = 50) -> list[Execution]:
        statement = OF_USER if before_id is None else OF_USER.where(C.id < before_id)
        return self._all(Execution, statement, user=user_id, limit=limit)

    def count_scheduled(self, user_id: int) -> int:
        return int(self._read(SCHEDULED, user=user_id).scalar() or 0)

    def due_executions(self, now: datetime, *, limit: int) -> list[Execution]:
        return self._all(Execution, DUE, now=now, limit=limit)

    def next_execution_at(self) -> datetime | None:
        moment: datetime | None = self._read(NEXT).scalar()
        return moment

    def add_execution(
        self, *, user_id: int, team_id: int, prompt: str, next_at: datetime | None, **fields: Any
    ) -> Execution:
        rules.check_changes(Execution, fields)
        fields |= {"team_id": team_id, "prompt": prompt, "next_at": next_at}
        rules.check_texts(fields)
        now = self._clock.now()
        row = Execution(id=0, user_id=user_id, created_at=now, updated_at=now, **fields)
        return self._insert(sql.EXECUTIONS, row)

    def take_execution(self, execution_id: int, seen: datetime, **changes: Any) -> Execution | None:
        rules.check_changes(Execution, changes)
        rules.check_texts(changes)
        changes["updated_at"] = self._clock.now()
        statement = sql.update_by(sql.EXECUTIONS, ("id", "next_at"), tuple(changes))
        params = sql.update_params({"id": execution_id, "next_at": seen}, changes)
        if self._write(statement, params).rowcount == 0:
            return None
        return found(self.execution(execution_id), "execution")

    def update_execution(self, execution_id: int, **changes: Any) -> Execution:
        rules.check_changes(Execution, changes)
        rules.check_texts(changes)
        changes["updated_at"] = self._clock.now()
        return found(self._change(Execution, sql.EXECUTIONS, {"id": execution_id}, changes), "execution")

    def delete_execution(self, execution_id: int) -> None:
        if self._write(delete(sql.EXECUTIONS).where(C.id == execution_id)).rowcount == 0:
            raise NotFound("no such execution")

"""Units over a connection of SQLAlchemy: attachments, and which tasks carry them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, delete, func, select

from wegent.core.errors import NotFound
from wegent.server.records import Attachment
from wegent.storage import rules
from wegent.storage import statements as sql
from wegent.storage.sql_base import SqlBase

C: Final = sql.ATTACHMENTS.c
BY_ID: Final = select(*sql.ATTACHMENT).where(C.id == bindparam("id"))
SIZE: Final = select(func.sum(C.size)).where(C.user_id == bindparam("user"))
CARRIERS: Final = (
    select(sql.CARRIERS.c.task_id).where(sql.CARRIERS.c.attachment_id == bindparam("id")).order_by("task_id")
)


class SqlAttachments(SqlBase):
    """What was uploaded."""

    __slots__ = ()

    def attachment(self, attachment_id: int) -> Attachment | None:
        return self._one(Attachment, BY_ID, id=attachment_id)

    def attachments_size(self, user_id: int) -> int:
        return int(self._read(SIZE, user=user_id).scalar() or 0)

    def add_attachment(self, *, user_id: int, name: str, size: int, blob: str, **fields: Any) -> Attachment:
        fields |= {"name": name, "size": size, "blob": blob}
        rules.check_changes(Attachment, fields)
        rules.check_texts(fields)
        row = Attachment(id=0, user_id=user_id, created_at=self._clock.now(), **fields)
        return self._insert(sql.ATTACHMENTS, row)

    def delete_attachment(self, attachment_id: int) -> None:
        if self._write(delete(sql.ATTACHMENTS).where(C.id == attachment_id)).rowcount == 0:
            raise NotFound("no such attachment")
        self._write(delete(sql.CARRIERS).where(sql.CARRIERS.c.attachment_id == attachment_id))

    def attach(self, attachment_id: int, task_id: int) -> None:
        if task_id not in self.carriers(attachment_id):
            self._write(sql.INSERTS[sql.CARRIERS], {"attachment_id": attachment_id, "task_id": task_id})

    def carriers(self, attachment_id: int) -> list[int]:
        return list(self._read(CARRIERS, id=attachment_id).scalars())

"""Units over the tables in memory: attachments, and which tasks carry them."""

from __future__ import annotations

from typing import Any

from wegent.server.records import Attachment
from wegent.storage import rules
from wegent.storage.memory_base import MemoryBase, found, stored


class MemoryAttachments(MemoryBase):
    """What was uploaded."""

    __slots__ = ()

    def attachment(self, attachment_id: int) -> Attachment | None:
        return self._read().attachments.get(attachment_id)

    def attachments_size(self, user_id: int) -> int:
        return sum(row.size for row in self._read().attachments.values() if row.user_id == user_id)

    def add_attachment(self, *, user_id: int, name: str, size: int, blob: str, **fields: Any) -> Attachment:
        t = self._write()
        found(t.users.get(user_id), "user")
        fields |= {"name": name, "size": size, "blob": blob}
        rules.check_changes(Attachment, fields)
        row = Attachment(t.next_id("attachments"), user_id, created_at=self._clock.now(), **stored(fields))
        return t.put(t.attachments, row.id, row)

    def delete_attachment(self, attachment_id: int) -> None:
        t = self._write()
        t.drop(t.attachments, found(t.attachments.get(attachment_id), "attachment").id)
        t.drop(t.carriers, attachment_id)

    def attach(self, attachment_id: int, task_id: int) -> None:
        t = self._write()
        if task_id not in t.carriers.get(attachment_id, ()):
            t.add(t.carriers, attachment_id, task_id)

    def carriers(self, attachment_id: int) -> list[int]:
        return sorted(self._read().carriers.get(attachment_id, ()))

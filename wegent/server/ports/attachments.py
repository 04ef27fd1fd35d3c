"""Rows of attachments, as units of the store give and take them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from wegent.server.records import Attachment


class AttachmentRows(ABC):
    """What a unit can do with attachments; part of `Unit`, whose rules hold."""

    __slots__ = ()

    @abstractmethod
    def attachment(self, attachment_id: int) -> Attachment | None: ...

    @abstractmethod
    def attachments_size(self, user_id: int) -> int:
        """Bytes of all of the user's."""

    @abstractmethod
    def add_attachment(self, *, user_id: int, name: str, size: int, blob: str, **fields: Any) -> Attachment:
        """Raises `NotFound` where there is no such user."""

    @abstractmethod
    def delete_attachment(self, attachment_id: int) -> None: ...

    @abstractmethod
    def attach(self, attachment_id: int, task_id: int) -> None:
        """The task carries it from now on; again is no harm."""

    @abstractmethod
    def carriers(self, attachment_id: int) -> list[int]:
        """The tasks that carry it, by id, deleted ones too."""

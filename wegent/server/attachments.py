"""Files that go with messages: who may bring and read them (protocol §3, §10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

import trio
from attrs import frozen

from wegent.core.errors import Conflict, NotFound, RateLimited
from wegent.core.model import Principal
from wegent.protocol.auth import Scope
from wegent.server.access import may_see
from wegent.server.ports.blobs import Blob, Blobs
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Attachment


class ReadText(Protocol):
    """What could be read of a file."""

    @property
    def text(self) -> str:
        """Not longer than a model is given."""

    @property
    def cut(self) -> bool:
        """There was more."""

    @property
    def unread(self) -> str | None:
        """Why there is none."""


Read = Callable[[Path], Awaitable[ReadText]]
"""Reads a file's text."""


@frozen
class Upload:
    """A file that somebody sends."""

    name: str
    content_type: str
    data: AsyncIterable[bytes]


class Attachments:
    """Takes files, and gives them to those who may have them."""

    def __init__(self, store: Store, blobs: Blobs, read: Read, *, most: int, per_user: int, at_once: int = 4) -> None:
        """`most` bytes of one, `per_user` of all of a user's, of whose uploads `at_once` may be on."""
        self._store = store
        self._blobs = blobs
        self._read = read
        self.most = most
        self._per_user = per_user
        self._at_once = at_once
        self._on: Counter[int] = Counter()

    async def keep(self, principal: Principal, upload: Upload) -> Attachment:
        """Keep the bytes, read their text, then make the row; whatever goes wrong before that leaves nothing.

        Raises:
            InvalidPayload: the file is too large.
            Conflict: the user has as much as may be.
            RateLimited: as many of the user's uploads are on as may be.
        """
        with self._counted(principal.user_id):
            await self._store.read(lambda unit: self._check(unit, principal, 0))
            blob = await self._blobs.keep(upload.data, most=self.most)
            made = False
            try:
                async with self._blobs.at_hand(blob.key) as path:
                    read = await self._read(path)
                row = await self._store.write(lambda unit: self._add(unit, principal, upload, blob, read))
                made = True
            finally:
                if not made:
                    with trio.CancelScope(shield=True):
                        await self._blobs.drop(blob.key)
        return row

    @contextmanager
    def _counted(self, user_id: int) -> Iterator[None]:
        if self._on[user_id] >= self._at_once:
            message = f"{self._at_once} of your uploads are on, which is as many as may be; wait for one"
            raise RateLimited(message, retry_after=1)
        self._on[user_id] += 1
        try:
            yield
        finally:
            self._on[user_id] -= 1
            if not self._on[user_id]:
                del self._on[user_id]

    def _check(self, unit: Unit, principal: Principal, more: int) -> None:
        if unit.attachments_size(principal.user_id) + more > self._per_user:
            message = f"your attachments would be more than {self._per_user} bytes; delete some first"
            raise Conflict(message)

    def _add(self, unit: Unit, principal: Principal, upload: Upload, blob: Blob, read: ReadText) -> Attachment:
        self._check(unit, principal, blob.size)
        return unit.add_attachment(
            user_id=principal.user_id,
            name=upload.name,
            content_type=upload.content_type,
            size=blob.size,
            blob=blob.key,
            text=read.text,
            cut=read.cut,
            unread=read.unread,
        )

    @asynccontextmanager
    async def open(self, principal: Principal, attachment_id: int) -> AsyncIterator[tuple[Attachment, Path]]:
        """What is known of it, and a file that holds it.

        Raises:
            NotFound: there is none, or it is not for them.
        """
        row = await self._store.read(lambda unit: readable_attachment(unit, principal, attachment_id))
        async with self._blobs.at_hand(row.blob) as path:
            yield row, path

    async def delete(self, principal: Principal, attachment_id: int) -> None:
        """Forget one's own; messages that carried it still name it.

        Raises:
            NotFound: there is none, or it is somebody else's.
        """

        def work(unit: Unit) -> Attachment:
            row = own_attachment(unit, principal, attachment_id)
            unit.delete_attachment(row.id)
            return row

        row = await self._store.write(work)
        with trio.CancelScope(shield=True):
            await self._blobs.drop(row.blob)


def own_attachment(unit: Unit, principal: Principal, attachment_id: int) -> Attachment:
    """The principal's attachment.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    row = unit.attachment(attachment_id)
    if row is None or row.user_id != principal.user_id:
        message = f"there is no attachment {attachment_id}"
        raise NotFound(message)
    return row


def readable_attachment(unit: Unit, principal: Principal, attachment_id: int) -> Attachment:
    """The attachment, for its owner, who may see a task that carries it, and a run of such a task.

    Raises:
        NotFound: there is none, or it is not for them.
    """
    row = unit.attachment(attachment_id)
    if row is None or not _may_read(unit, principal, row):
        message = f"there is no attachment {attachment_id}"
        raise NotFound(message)
    return row


def _may_read(unit: Unit, principal: Principal, row: Attachment) -> bool:
    carriers = unit.carriers(row.id)
    if principal.scope == Scope.RUN:
        return principal.claims.get("task_id") in carriers
    if row.user_id == principal.user_id:
        return True
    tasks = (unit.task(each) for each in carriers)
    return any(may_see(unit, principal, task) for task in tasks if task is not None)

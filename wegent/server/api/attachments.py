"""Attachments over REST: bringing, reading, forgetting them (protocol §10)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import trio
from attrs import frozen
from quart import Blueprint
from quart.wrappers.response import ResponseBody
from quart_trio.wrappers import TrioResponse
from werkzeug.exceptions import RequestTimeout

from wegent.core.model import Principal
from wegent.core.ports.auth import Auth
from wegent.protocol.auth import Scope
from wegent.protocol.tasks import Success
from wegent.server.api.calls import PREFIX, path_id, principal, protect, reply
from wegent.server.api.describing import Media, describes
from wegent.server.api.multipart import FilePart, boundary_of_request, pieces_of_request
from wegent.server.attachments import Attachments
from wegent.server.records import Attachment

PIECE = 64 * 1024
UPLOAD = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]}
UPLOAD_S = 600.0
"""Seconds that one file may take."""


@frozen(kw_only=True)
class AttachmentItem:
    """An attachment as its owner is told of it. `characters` could be read of it; `cut`: there were more; `unread` says
    why there are none.
    """

    id: int
    name: str
    content_type: str
    size: int
    characters: int
    cut: bool
    unread: str | None = None
    created_at: datetime


def attachment_item(row: Attachment) -> AttachmentItem:
    """What is known of it."""
    return AttachmentItem(
        id=row.id,
        name=row.name,
        content_type=row.content_type,
        size=row.size,
        characters=len(row.text),
        cut=row.cut,
        unread=row.unread,
        created_at=row.created_at,
    )


def upload_blueprint(attachments: Attachments, auth: Auth) -> Blueprint:
    """`POST /attachments`, `DELETE /attachments/{id}`."""
    blueprint = Blueprint("uploads", __name__, url_prefix=f"{PREFIX}/attachments")
    protect(blueprint, auth)

    @blueprint.post("")
    @describes("Upload a file", takes=Media("multipart/form-data", UPLOAD), answers={201: AttachmentItem})
    async def upload() -> TrioResponse:
        boundary = boundary_of_request()
        async with pieces_of_request(attachments.most) as pieces, _in_time():
            row = await attachments.keep(principal(), await FilePart(pieces, boundary).open())
        return reply(attachment_item(row), 201, Location=f"{PREFIX}/attachments/{row.id}")

    @blueprint.delete("/<attachment_id>")
    @describes("Forget an attachment that no message has")
    async def delete(attachment_id: str) -> TrioResponse:
        await attachments.delete(principal(), path_id(attachment_id, "attachment"))
        return reply(Success())

    return blueprint


def attachments_blueprint(attachments: Attachments, auth: Auth) -> Blueprint:
    """`GET /attachments/{id}`, which a run of a task that carries it may call too."""
    blueprint = Blueprint("attachments", __name__, url_prefix=f"{PREFIX}/attachments")
    protect(blueprint, auth, (Scope.USER, Scope.RUN))

    @blueprint.get("/<attachment_id>")
    @describes("The file", answers=Media("application/octet-stream", {"type": "string", "format": "binary"}))
    async def download(attachment_id: str) -> TrioResponse:
        return await _download(attachments, principal(), path_id(attachment_id, "attachment"))

    return blueprint


async def _download(attachments: Attachments, who: Principal, attachment_id: int) -> TrioResponse:
    async with AsyncExitStack() as stack:
        row, path = await stack.enter_async_context(attachments.open(who, attachment_id))
        response = TrioResponse(_File(path, stack.pop_all()), content_type=row.content_type)
    response.timeout = None
    response.content_length = row.size
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(row.name, safe='')}"
    response.headers["Cache-Control"] = "private, max-age=3600, immutable"
    return response


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    with trio.move_on_after(UPLOAD_S) as scope:
        yield
    if scope.cancelled_caught:
        raise RequestTimeout


class _File(ResponseBody):
    """A file's bytes, piece by piece; `stack` is what to leave afterwards."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self._path = path
        self._stack = stack

    async def __aenter__(self) -> Self:
        self._file = await self._stack.enter_async_context(await trio.open_file(self._path, "rb"))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._file.read(PIECE):
            return piece
        raise StopAsyncIteration

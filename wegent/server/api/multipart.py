"""The one file of a multipart body, as it comes (RFC 7578)."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Self

from quart import request
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from wegent.core.errors import InvalidPayload
from wegent.core.text import clean
from wegent.server.api.pacing import PacedBody
from wegent.server.attachments import Upload

OVERHEAD = 64 * 1024
"""Bytes that a body may have beside its file."""
STALL_S = 30.0
_BUFFER = 1_048_576
_PARTS = 16
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}")
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class FilePart:
    """Reads a body up to its part `file`; is that file then, piece by piece. What follows it is read and dropped."""

    def __init__(self, pieces: AsyncIterator[bytes], boundary: bytes) -> None:
        self._pieces = pieces
        self._decoder = MultipartDecoder(boundary, _BUFFER, max_parts=_PARTS)
        self._more = True

    async def open(self) -> Upload:
        """The file, its data still to come.

        Raises:
            InvalidPayload: there is none, or the body is no multipart.
        """
        while True:
            match await self._next():
                case File(name="file", filename=name, headers=headers):
                    return Upload(name_of(name), _type_of(headers.get("content-type", "")), self)
                case Epilogue():
                    raise InvalidPayload("the body: expected a part `file` with a file name, got none")
                case File() | Field() | Data():
                    pass

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while self._more:
            event = await self._next()
            if isinstance(event, Data):
                self._more = event.more_data
                return event.data
        while not isinstance(await self._next(), Epilogue):
            pass
        raise StopAsyncIteration

    async def _next(self) -> object:
        """The decoder's next event but those that say nothing."""
        try:
            while isinstance(event := self._decoder.next_event(), NeedData):
                self._decoder.receive_data(await anext(self._pieces, None))
        except (ValueError, AttributeError, UnicodeError) as error:
            raise InvalidPayload("the body: expected multipart/form-data that is whole, got something else") from error
        return event


def boundary_of_request() -> bytes:
    """The boundary that the request's head names.

    Raises:
        InvalidPayload: the body is no multipart.
    """
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not 1 <= len(boundary) <= 200 or not boundary.isascii():
        raise InvalidPayload("`Content-Type`: expected multipart/form-data with a part `file`")
    return boundary.encode()


def pieces_of_request(most: int) -> aclosing[AsyncGenerator[bytes, None]]:
    """The body as it comes; close it before it is left."""
    body = request.body
    assert isinstance(body, PacedBody)
    return aclosing(body.stream(most + OVERHEAD, stall_s=STALL_S))


def name_of(given: str) -> str:
    """A file's name without folders and what can't be seen, at most 255 characters; its ending stays."""
    name = clean(_HIDDEN.sub("", given)).replace("\\", "/").rpartition("/")[2].strip()
    if len(name) > 255:
        stem, dot, ending = name.rpartition(".")
        name = f"{stem[: 254 - len(ending)]}.{ending}" if dot and len(ending) <= 20 else name[:255]
    return name or "file"


def _type_of(given: str) -> str:
    kind = given.partition(";")[0].strip().lower()
    return kind if _TYPE.fullmatch(kind) else "application/octet-stream"

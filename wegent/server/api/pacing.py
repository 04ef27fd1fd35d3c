"""Bodies that come no faster than they are taken: Quart would keep in memory whatever a client sends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import trio
from quart import request
from quart.wrappers.request import Request
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers.request import TrioBody, TrioRequest
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

AHEAD = 256 * 1024
"""Bytes that are read before anybody asks for them."""
LINGER = 5.0
"""Seconds for which the rest of a body is read and dropped before its answer: who still sends does not listen, and a
connection that is closed with unread input takes its answer along.
"""


class PacedBody(TrioBody):
    """Awaited, it is whole, up to the application's limit. `stream` gives it piece by piece, up to another one."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(None, None)
        self._expected = expected_content_length or 0
        self._most = max_content_length
        self._whole = False
        self._dropped = False
        self._room = trio.Event()

    def __await__(self) -> Generator[Any, None, Any]:
        self._whole = True
        self._max_content_length = self._most
        if self._most is not None and max(self._expected, len(self._data)) > self._most:
            self._must_raise = RequestEntityTooLarge()
        self._room.set()
        return super().__await__()

    async def stream(self, most: int, *, stall_s: float) -> AsyncGenerator[bytes, None]:
        """The pieces as they come.

        Raises:
            RequestEntityTooLarge: more than `most` bytes are announced, or come.
            RequestTimeout: nothing came for `stall_s` seconds.
        """
        size = self._expected
        if size > most:
            raise RequestEntityTooLarge
        size = 0
        while True:
            with trio.move_on_after(stall_s) as scope:
                piece = await anext(self, None)
            if scope.cancelled_caught:
                raise RequestTimeout
            if piece is None:
                return
            self._room.set()
            size += len(piece)
            if size > most:
                raise RequestEntityTooLarge
            yield piece

    def append(self, data: bytes) -> None:
        """Take a piece, or drop it."""
        if not self._dropped:
            super().append(data)

    async def drop(self) -> None:
        """Nobody asks for the rest: let it come, for a while."""
        self._dropped = True
        self._data.clear()
        self._room.set()
        with trio.move_on_after(LINGER):
            await self._complete.wait()

    async def room(self) -> None:
        """Wait until more may come."""
        while not (self._whole or self._dropped or self._complete.is_set()) and len(self._data) >= AHEAD:
            self._room = trio.Event()
            await self._room.wait()


class PacedRequest(TrioRequest):
    """A request of such a body. `abort` gives up the request and its connection; `ended` are called when it is over,
    whatever came of it. All are plain.
    """

    body_class = PacedBody
    abort: Callable[[], None] | None = None
    ended: list[Callable[[], None]] | None = None


def abort_request() -> Callable[[], None]:
    """What gives up the present request, for an answer that takes longer than the request's handler."""
    return getattr(request, "abort", None) or (lambda: None)


def at_request_end(call: Callable[[], None]) -> None:
    """Have `call` called when the present request is over."""
    if (ended := getattr(request, "ended", None)) is not None:
        ended.append(call)


class PacedConnection(TrioASGIHTTPConnection):
    """Reads of a request what there is room for, and what nobody asks for once there is an answer."""

    def _create_request_from_scope(self, send: Any) -> Request:
        self._request = super()._create_request_from_scope(send)
        self._request.ended = self._ended  # type: ignore[attr-defined]
        return self._request

    async def __call__(self, receive: Any, send: Any) -> None:
        self._ended: list[Callable[[], None]] = []
        try:
            await super().__call__(receive, send)
        finally:
            for call in self._ended:
                call()

    async def _send_response(self, send: Any, response: Any) -> None:
        body = self._request.body
        assert isinstance(body, PacedBody)
        await body.drop()
        await super()._send_response(send, response)

    async def handle_messages(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, receive: Any
    ) -> None:
        """Until the client is gone."""
        request.abort = nursery.cancel_scope.cancel  # type: ignore[attr-defined]
        body = request.body
        assert isinstance(body, PacedBody)
        while (message := await receive())["type"] != "http.disconnect":
            if message["type"] == "http.request":
                body.append(message.get("body", b""))
                if not message.get("more_body", False):
                    body.set_complete()
                await body.room()
        nursery.cancel_scope.cancel()

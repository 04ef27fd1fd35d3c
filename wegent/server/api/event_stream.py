"""Answers of type `text/event-stream`: what a listener hears, as it comes, until that is over (protocol §10)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from types import TracebackType

from quart.wrappers.response import ResponseBody
from quart_trio.wrappers import TrioResponse

from wegent.core.timers import Timers
from wegent.server.api.describing import Media
from wegent.server.api.pacing import abort_request
from wegent.server.sse import Listener, ServerSent

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent."""
STALLED = 60.0
"""Seconds for which one event may not be taken before the connection is given up."""
EVENT = {
    "type": "object",
    "description": "one event of the stream, by its fields",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "required": ["event", "data"],
    "additionalProperties": False,
}
EVENT_STREAM = Media("text/event-stream", EVENT)

Spell = Callable[[ServerSent], tuple[bytes, bool]]
"""What is sent for an event, and whether that is the last."""


def event_stream(timers: Timers, listener: Listener, first: bytes, spell: Spell) -> TrioResponse:
    """`first`, then each event as it is spelled. The listener stays the caller's to close."""
    response = TrioResponse(b"", content_type="text/event-stream; charset=utf-8")
    response.response = _Events(timers, listener, first, spell)
    response.timeout = None
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers.pop("Content-Length", None)
    return response


class _Events(ResponseBody):
    """The events, until they or the connection end."""

    def __init__(self, timers: Timers, listener: Listener, first: bytes, spell: Spell) -> None:
        self._timers = timers
        self._listener = listener
        self._first = first
        self._spell = spell
        self._abort = abort_request()
        self._pieces = self._send()

    async def __aenter__(self) -> AsyncIterable[bytes]:
        return self._pieces

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._pieces.aclose()

    async def _send(self) -> AsyncGenerator[bytes, None]:
        yield self._first
        over = False
        while not over:
            found = await self._listener.next(KEEP_ALIVE)
            if found is None and self._listener.closed:
                return
            piece, over = (b":\n\n", False) if found is None else self._spell(found)
            stalled = self._timers.after(STALLED, self._abort)
            try:
                yield piece
            finally:
                stalled.cancel()

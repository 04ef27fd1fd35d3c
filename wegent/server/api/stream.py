"""`GET /tasks/{id}/stream`: a run's events as server-sent events (protocol §10)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from types import TracebackType

from quart import Blueprint, request
from quart.wrappers.response import ResponseBody
from quart_trio.wrappers import TrioResponse

from wegent.core.errors import InvalidPayload
from wegent.core.model import Position
from wegent.core.ports.auth import Auth
from wegent.core.timers import Timers
from wegent.protocol.limits import MAX_ID
from wegent.server.api import query
from wegent.server.api.calls import PREFIX, path_id, principal, protect
from wegent.server.api.describing import Media, Query, describes, whole
from wegent.server.api.pacing import abort_request, at_request_end
from wegent.server.following import Followed, Followers
from wegent.server.sse import Listener

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent."""
STALLED = 60.0
"""Seconds for which one event may not be taken before the connection is given up."""
PLACE = (
    whole("subtask_id"),
    whole("attempt"),
    whole("offset", least=0),
    Query("Last-Event-ID", {"type": "string"}, "the id of the last event that came", "header"),
)
_PLACE = re.compile(r"([1-9][0-9]{0,15})\.([1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,9})")


def stream_blueprint(followers: Followers, timers: Timers, auth: Auth) -> Blueprint:
    """The one call."""
    blueprint = Blueprint("stream", __name__, url_prefix=f"{PREFIX}/tasks")
    protect(blueprint, auth)

    @blueprint.get("/<task_id>/stream")
    @describes("A run's events as they come", answers=Media("text/event-stream", {"type": "string"}), query=PLACE)
    async def stream(task_id: str) -> TrioResponse:
        asked = path_id(task_id, "task")
        listener = await followers.open(principal(), Followed(asked, _position()))
        at_request_end(partial(followers.close, listener))  # the answer may never be begun
        response = TrioResponse(b"", content_type="text/event-stream; charset=utf-8")
        response.response = Events(followers, timers, listener, asked)
        response.timeout = None
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"
        response.headers.pop("Content-Length", None)
        return response

    return blueprint


class Events(ResponseBody):
    """The events, until the run or the connection ends."""

    def __init__(self, followers: Followers, timers: Timers, listener: Listener, task_id: int) -> None:
        self._followers = followers
        self._timers = timers
        self._listener = listener
        self._task_id = task_id
        self._abort = abort_request()

    async def __aenter__(self) -> AsyncIterable[bytes]:
        return self._events()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._followers.close(self._listener)

    async def _events(self) -> AsyncIterator[bytes]:
        yield b": the events of one run\n\n"
        while True:
            found = await self._listener.next(KEEP_ALIVE)
            if found is None and (self._listener.closed or not self._followers.in_room(self._listener, self._task_id)):
                return
            stalled = self._timers.after(STALLED, self._abort)
            yield b":\n\n" if found is None else found.data
            stalled.cancel()
            if found is not None and found.last:
                return


def _position() -> Position | None:
    """Where to go on: `Last-Event-ID`, else the parameters.

    Raises:
        InvalidPayload: either is not what it should be.
    """
    last = request.headers.get("Last-Event-ID")
    if last:
        match = _PLACE.fullmatch(last.strip())
        if match is None or int(match[1]) > MAX_ID:
            message = "`Last-Event-ID`: expected SUBTASK.ATTEMPT.OFFSET, as in the ids of events, got something else"
            raise InvalidPayload(message)
        return Position(int(match[1]), int(match[2]), int(match[3]))
    subtask_id, attempt = query.maybe_number("subtask_id", least=1), query.maybe_number("attempt", least=1)
    offset = query.maybe_number("offset")
    if subtask_id is None:
        if attempt is not None or offset is not None:
            message = "`subtask_id`: expected beside `attempt` and `offset`, got nothing"
            raise InvalidPayload(message)
        return None
    return Position(subtask_id, attempt or 0, offset or 0)

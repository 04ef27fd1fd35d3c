"""`GET /tasks/{id}/stream`: a run's events as server-sent events (protocol §10)."""

from __future__ import annotations

import re
from functools import partial

from quart import Blueprint, request
from quart_trio.wrappers import TrioResponse

from wegent.core.errors import InvalidPayload
from wegent.core.model import Position
from wegent.core.ports.auth import Auth
from wegent.core.timers import Timers
from wegent.protocol.limits import MAX_ID
from wegent.server.api import query
from wegent.server.api.calls import PREFIX, path_id, principal, protect
from wegent.server.api.describing import Query, describes, whole
from wegent.server.api.event_stream import EVENT_STREAM, event_stream
from wegent.server.api.pacing import at_request_end
from wegent.server.following import Followed, Followers
from wegent.server.sse import ServerSent

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
    @describes("A run's events as they come", answers=EVENT_STREAM, query=PLACE)
    async def stream(task_id: str) -> TrioResponse:
        listener = await followers.open(principal(), Followed(path_id(task_id, "task"), _position()))
        at_request_end(partial(followers.close, listener))  # the answer may never be begun
        return event_stream(timers, listener, b": the events of one run\n\n", _spell)

    return blueprint


def _spell(found: ServerSent) -> tuple[bytes, bool]:
    return found.data, found.last


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

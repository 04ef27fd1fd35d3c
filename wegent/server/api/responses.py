"""OpenAI's Responses API over teams: create, stream, go on, retrieve, cancel (protocol §10)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from quart import Blueprint
from quart.wrappers.response import ResponseBody
from quart_trio.wrappers import TrioResponse

from wegent.codec import decode, encode
from wegent.core.errors import AccessDenied, Conflict, InvalidPayload, NotFound, Overloaded, WegentError
from wegent.core.model import Position, Principal
from wegent.core.ports.auth import Auth
from wegent.core.timers import Timers
from wegent.protocol.chat import ChatSend, ChatSendAck, TextContext
from wegent.protocol.kinds import Kind
from wegent.protocol.limits import MAX_ID
from wegent.protocol.responses import InputMessage, ResponseRequest, response_id
from wegent.server.access import readable_task, visible_answer
from wegent.server.api.calls import PREFIX, principal, protect, read_body, reply
from wegent.server.api.describing import Free, Media, describes
from wegent.server.api.errors import headers_of
from wegent.server.api.kinds import named_kind
from wegent.server.api.pacing import abort_request, at_request_end
from wegent.server.api.stream import KEEP_ALIVE, STALLED
from wegent.server.following import Followed, Followers
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask
from wegent.server.responses import ResponseEvents, response_object
from wegent.server.sending import Sending
from wegent.server.sse import Listener
from wegent.server.stopping import Cancelling

RESPONSE = Free("OpenAI's object of type response; their document describes it")
_ID = re.compile(r"resp_([1-9][0-9]{0,15})")
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ResponseCalls:
    """What the calls do."""

    def __init__(self, store: Store, sending: Sending, cancelling: Cancelling, followers: Followers) -> None:
        self._store = store
        self._sending = sending
        self._cancelling = cancelling
        self._followers = followers

    async def create(self, who: Principal, asked: ResponseRequest) -> tuple[Subtask, str]:
        """Send it; the row of the answer, and the team as it is called here."""
        _refuse_what_is_not_there(asked)
        team_id, model, task_id = await self._store.read(lambda unit: _place(unit, who, asked))
        acks: list[ChatSendAck] = []
        await self._sending.send(who, _message(asked, team_id, task_id), ack=acks.append)
        answer = acks[0].assistant_subtask_id
        if answer is None:
            message = "nobody answers there: in a group chat the message has to mention the team"
            raise Conflict(message)
        return (await self._store.read(lambda unit: _readable(unit, who, answer)))[0], model

    async def retrieve(self, who: Principal, subtask_id: int) -> dict[str, Any]:
        """The response as it is now."""
        row, model = await self._store.read(lambda unit: _readable(unit, who, subtask_id))
        return response_object(row, model)

    async def cancel(self, who: Principal, subtask_id: int) -> dict[str, Any]:
        """Ask it to end."""
        await self._store.read(lambda unit: _readable(unit, who, subtask_id))
        await self._cancelling.cancel(who, subtask_id, ack=lambda _: None)
        return await self.retrieve(who, subtask_id)

    async def listen(self, who: Principal, row: Subtask) -> Listener:
        """Follow a run from its beginning; let go of at the request's end."""
        listener = await self._followers.open(who, Followed(row.task_id, Position(row.id, 0, 0)))
        at_request_end(partial(self._followers.close, listener))
        return listener

    async def until_ended(self, who: Principal, row: Subtask) -> None:
        """Return once a run has ended.

        Raises:
            Overloaded: the server stops, or the caller has lost their place, before that.
        """
        listener = await self.listen(who, row)
        try:
            while (found := await listener.next(KEEP_ALIVE)) is None or not found.last:
                if found is None and listener.closed:
                    message = f"the answer goes on without this connection; retrieve {response_id(row.id)}"
                    raise Overloaded(message)
        finally:
            self._followers.close(listener)


def responses_blueprint(calls: ResponseCalls, timers: Timers, auth: Auth) -> Blueprint:
    """`POST /responses`, `GET /responses/{id}`, `POST /responses/{id}/cancel`."""
    blueprint = Blueprint("responses", __name__, url_prefix=f"{PREFIX}/responses")
    protect(blueprint, auth)
    blueprint.register_error_handler(WegentError, _answer_error)

    @blueprint.post("")
    @describes(
        "Ask a team, as OpenAI's Responses API does",
        takes=ResponseRequest,
        answers={200: (RESPONSE, Media("text/event-stream", {"type": "string"}))},
    )
    async def create() -> TrioResponse:
        who, asked = principal(), await read_body(ResponseRequest)
        row, model = await calls.create(who, asked)
        more = {
            "instructions": asked.instructions,
            "metadata": asked.metadata or {},
            "previous_response_id": asked.previous_response_id,
        }
        if asked.stream:
            events = ResponseEvents(row, model, **more)
            return _streamed(EventStream(timers, await calls.listen(who, row), events))
        if not asked.background:
            await calls.until_ended(who, row)
        return reply({**await calls.retrieve(who, row.id), **more})

    @blueprint.get("/<response_id>")
    @describes("A response as it is now", answers=RESPONSE)
    async def retrieve(response_id: str) -> TrioResponse:
        return reply(await calls.retrieve(principal(), _subtask(response_id)))

    @blueprint.post("/<response_id>/cancel")
    @describes("Ask a response to end", answers=RESPONSE)
    async def cancel(response_id: str) -> TrioResponse:
        return reply(await calls.cancel(principal(), _subtask(response_id)))

    return blueprint


class EventStream(ResponseBody):
    """A response's events as server-sent events, until the run or the connection ends."""

    def __init__(self, timers: Timers, listener: Listener, events: ResponseEvents) -> None:
        self._timers = timers
        self._listener = listener
        self._events = events
        self._abort = abort_request()

    async def __aenter__(self) -> AsyncIterable[bytes]:
        return self._lines()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """What was opened is let go of at the request's end."""

    async def _lines(self) -> AsyncIterator[bytes]:
        yield _spelled(list(self._events.begin()))
        while not self._events.over:
            found = await self._listener.next(KEEP_ALIVE)
            if found is None and self._listener.closed:
                return
            stalled = self._timers.after(STALLED, self._abort)
            yield b":\n\n" if found is None else _spelled(list(self._events.take(found.event, _data(found.data))))
            stalled.cancel()


def _spelled(events: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event)) for event in events)


def _data(spelled: bytes) -> dict[str, Any]:
    found: dict[str, Any] = decode(spelled[spelled.index(b"data: ") + 6 :])
    return found


def _streamed(body: ResponseBody) -> TrioResponse:
    response = TrioResponse(b"", content_type="text/event-stream; charset=utf-8")
    response.response = body
    response.timeout = None
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers.pop("Content-Length", None)
    return response


async def _answer_error(error: WegentError) -> TrioResponse:
    """An error in OpenAI's form, so that its clients raise what fits."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    told = {"message": error.sentence, "type": kind, "param": None, "code": error.code.lower()}
    return headers_of(error, reply({"error": told, "code": error.code}, error.status))


def _refuse_what_is_not_there(asked: ResponseRequest) -> None:
    if asked.tools:
        message = "`tools`: a team brings its own tools, and takes none from a request"
        raise InvalidPayload(message)
    if asked.store is False:
        message = "`store`: every response is a message of a task and is kept; delete the task to be rid of it"
        raise InvalidPayload(message)
    if asked.stream and asked.background:
        message = "`background`: either that or `stream`; a response can be followed at /tasks/{id}/stream too"
        raise InvalidPayload(message)


def _place(unit: Unit, who: Principal, asked: ResponseRequest) -> tuple[int, str, int | None]:
    """The team that is asked, its name here, and the task that goes on."""
    namespace, mark, name = asked.model.partition("#")
    if not mark:
        namespace, name = "default", asked.model
    team = named_kind(unit, who, Kind.TEAM, None, namespace, name)
    task_id = None
    if asked.previous_response_id is not None:
        row, _ = _readable(unit, who, _subtask(asked.previous_response_id))
        task_id = row.task_id
    return team.id, f"{team.namespace}#{team.name}", task_id


def _message(asked: ResponseRequest, team_id: int, task_id: int | None) -> ChatSend:
    """The last message is what is sent; what came before it, and instructions, go along for the model to read."""
    contexts = []
    text = asked.input
    if not isinstance(text, str):
        *before, last = (item for item in asked.input if isinstance(item, InputMessage))
        text = last.content
        if before:
            said = "\n\n".join(f"{item.role}: {item.content}" for item in before)
            contexts.append(TextContext(title="The conversation so far", text=said))
    if asked.instructions:
        contexts.append(TextContext(title="Instructions", text=asked.instructions))
    return ChatSend(task_id=task_id, team_id=team_id, message=text, contexts=tuple(contexts) or None)


def _readable(unit: Unit, who: Principal, subtask_id: int) -> tuple[Subtask, str]:
    """The answer, if its task is open to them, and its team's name; of others nobody learns that there are any."""
    try:
        row = visible_answer(unit, who, subtask_id)
    except AccessDenied:
        row = None
    if row is None:
        raise _no_such(subtask_id)
    task = readable_task(unit, who, row.task_id)
    team = unit.kind(task.team_id)
    return row, task.team_name if team is None else f"{team.namespace}#{team.name}"


def _subtask(text: str) -> int:
    match = _ID.fullmatch(text)
    if match is None or int(match[1]) > MAX_ID:
        message = "there is no such response: an id is resp_ and a number"
        raise NotFound(message)
    return int(match[1])


def _no_such(subtask_id: int) -> NotFound:
    return NotFound(f"you have no response {response_id(subtask_id)}")

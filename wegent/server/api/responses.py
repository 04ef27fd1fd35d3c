"""OpenAI's Responses API over teams: create, stream, go on, retrieve, cancel (protocol §10)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from quart import Blueprint
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
from wegent.server.api import query
from wegent.server.api.calls import PREFIX, principal, protect, read_body, reply
from wegent.server.api.describing import Free, describes, flag
from wegent.server.api.errors import headers_of
from wegent.server.api.event_stream import EVENT_STREAM, KEEP_ALIVE, event_stream
from wegent.server.api.kinds import named_kind
from wegent.server.api.pacing import at_request_end
from wegent.server.following import Followed, Followers
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask
from wegent.server.responses import ResponseEvents, response_object
from wegent.server.sending import Sending
from wegent.server.sse import Listener, ServerSent
from wegent.server.stopping import Cancelling

RESPONSE = Free("OpenAI's object of type response; their document describes it")
_ID = re.compile(r"resp_([1-9][0-9]{0,15})")
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Unfinished(Overloaded):
    """The message was sent, but its answer can't be given here. OpenAI's clients would send it again at a 503."""

    def __init__(self, subtask_id: int) -> None:
        super().__init__(f"the answer goes on without this connection; retrieve {response_id(subtask_id)}")


class ResponseCalls:
    """What the calls do."""

    def __init__(self, store: Store, sending: Sending, cancelling: Cancelling, followers: Followers) -> None:
        self._store = store
        self._sending = sending
        self._cancelling = cancelling
        self._followers = followers

    async def send(self, who: Principal, asked: ResponseRequest) -> int:
        """Send it; the run that answers."""
        _refuse_what_is_not_there(asked)
        team_id, task_id = await self._store.read(lambda unit: _place(unit, who, asked))
        acks: list[ChatSendAck] = []
        await self._sending.send(who, _message(asked, team_id, task_id), ack=acks.append)
        answer = acks[0].assistant_subtask_id
        if answer is None:
            message = "nobody answers there: in a group chat the message has to mention the team"
            raise Conflict(message)
        return answer

    async def find(self, who: Principal, subtask_id: int) -> tuple[Subtask, str]:
        """The row of an answer, and the team as it is called here."""
        return await self._store.read(lambda unit: _readable(unit, who, subtask_id))

    async def retrieve(self, who: Principal, subtask_id: int) -> dict[str, Any]:
        """The response as it is now."""
        return response_object(*await self.find(who, subtask_id))

    async def cancel(self, who: Principal, subtask_id: int) -> dict[str, Any]:
        """Ask it to end."""
        await self.find(who, subtask_id)
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
            Unfinished: the server stops, or the caller has lost their place, before that.
        """
        listener = await self.listen(who, row)
        try:
            while (found := await listener.next(KEEP_ALIVE)) is None or not found.last:
                if found is None and listener.closed:
                    raise Unfinished(row.id)
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
        answers={200: (RESPONSE, EVENT_STREAM)},
    )
    async def create() -> TrioResponse:
        who, asked = principal(), await read_body(ResponseRequest)
        subtask_id = await calls.send(who, asked)
        try:
            return await _answer(calls, timers, who, asked, subtask_id)
        except WegentError as error:
            if error.status < 500:
                raise
            raise Unfinished(subtask_id) from error

    @blueprint.get("/<response_id>")
    @describes(
        "A response as it is now, or followed from its beginning",
        answers={200: (RESPONSE, EVENT_STREAM)},
        query=(flag("stream", "follow it"),),
    )
    async def retrieve(response_id: str) -> TrioResponse:
        who, subtask_id = principal(), _subtask(response_id)
        if not query.flag("stream"):
            return reply(await calls.retrieve(who, subtask_id))
        row, model = await calls.find(who, subtask_id)
        return await _followed(calls, timers, who, row, ResponseEvents(row, model))

    @blueprint.post("/<response_id>/cancel")
    @describes("Ask a response to end", answers=RESPONSE)
    async def cancel(response_id: str) -> TrioResponse:
        return reply(await calls.cancel(principal(), _subtask(response_id)))

    return blueprint


async def _answer(
    calls: ResponseCalls, timers: Timers, who: Principal, asked: ResponseRequest, subtask_id: int
) -> TrioResponse:
    """The answer to what has been sent: as it comes, once it is whole, or as far as it is."""
    row, model = await calls.find(who, subtask_id)
    more = {
        "instructions": asked.instructions,
        "metadata": asked.metadata or {},
        "previous_response_id": asked.previous_response_id,
    }
    if asked.stream:
        return await _followed(calls, timers, who, row, ResponseEvents(row, model, **more))
    if not asked.background:
        await calls.until_ended(who, row)
    return reply({**await calls.retrieve(who, subtask_id), **more})


async def _followed(
    calls: ResponseCalls, timers: Timers, who: Principal, row: Subtask, events: ResponseEvents
) -> TrioResponse:
    listener = await calls.listen(who, row)
    return event_stream(timers, listener, _spelled(list(events.begin())), partial(_spell, events))


def _spell(events: ResponseEvents, found: ServerSent) -> tuple[bytes, bool]:
    return _spelled(list(events.take(found.event, _data(found.data)))), events.over


def _spelled(events: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event)) for event in events)


def _data(spelled: bytes) -> dict[str, Any]:
    found: dict[str, Any] = decode(spelled[spelled.index(b"data: ") + 6 :])
    return found


async def _answer_error(error: WegentError) -> TrioResponse:
    """An error in OpenAI's form, so that its clients raise what fits."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    told = {"message": error.sentence, "type": kind, "param": None, "code": error.code.lower()}
    response = headers_of(error, reply({"error": told, "code": error.code}, error.status))
    if isinstance(error, Unfinished):
        response.headers["X-Should-Retry"] = "false"
        response.headers.pop("Retry-After", None)
    return response


def _refuse_what_is_not_there(asked: ResponseRequest) -> None:
    form = (asked.text or {}).get("format") or {"type": "text"}
    missing = {
        "tools": (asked.tools, "a team brings its own tools, and takes none from a request"),
        "store": (asked.store is False, "every response is a message of a task and is kept; delete the task instead"),
        "background": (
            asked.stream and asked.background,
            "either that or `stream`; GET /responses/{id}?stream=true follows a response",
        ),
        "text.format": (form != {"type": "text"}, "a team answers with text; ask for another form in the message"),
        "conversation": (asked.conversation is not None, "go on with `previous_response_id`"),
        "prompt": (asked.prompt is not None, "there are no stored prompts; send `instructions`"),
    }
    for name, (given, why) in missing.items():
        if given:
            message = f"`{name}`: {why}"
            raise InvalidPayload(message)


def _place(unit: Unit, who: Principal, asked: ResponseRequest) -> tuple[int, int | None]:
    """The team that is asked, and the task that goes on."""
    namespace, mark, name = asked.model.partition("#")
    if not mark:
        namespace, name = "default", asked.model
    team = named_kind(unit, who, Kind.TEAM, None, namespace, name)
    if asked.previous_response_id is None:
        return team.id, None
    return team.id, _readable(unit, who, _subtask(asked.previous_response_id))[0].task_id


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

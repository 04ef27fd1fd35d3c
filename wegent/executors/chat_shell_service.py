"""The Chat Shell as a service of its own: engines behind HTTP and server-sent events (protocol §9)."""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

import trio
from attrs import define, field, frozen
from quart import Response, request
from quart.wrappers.response import ResponseBody
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from wegent.codec import CodecError, decode_as, encode
from wegent.core.errors import Conflict, InvalidPayload, NotAuthenticated, NotFound, Overloaded, RunFailed, WegentError
from wegent.engines.choice import EngineChoice
from wegent.executors.chat_shell_feed import EventFeed
from wegent.protocol.chat_shell import (
    ResponseCancel,
    ResponseCancelled,
    ResponseDone,
    ResponseError,
    ResponseRequest,
    ResponseStart,
)
from wegent.protocol.limits import MAX_CONCURRENT_CHATS
from wegent.server.ports.engine import Engine

T = TypeVar("T")
_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class ServiceConfig:
    """`token`: what callers must send as a bearer token; None: anybody may call. Times are in seconds.

    Attributes:
        max_body: bytes of a request.
        retry_after_s: what a caller that comes while all chats are taken is asked to wait.
        ping_s: how often a stream that says nothing shows that it is alive.
        stall_s: how long a reader may stop reading before the answer is given up.
    """

    default_engine: str = "offline"
    max_concurrent_chats: int = MAX_CONCURRENT_CHATS
    token: str | None = field(default=None, repr=False)
    max_body: int = 16_000_000
    retry_after_s: int = 1
    ping_s: float = 15.0
    stall_s: float = 300.0


@define(eq=False, slots=False)
class _Chat:
    """One answer being given."""

    feed: EventFeed
    scope: trio.CancelScope = field(factory=trio.CancelScope)


class ChatShellService:
    """Chats that are on, and the application that serves them. No two have the same `request_id`."""

    def __init__(self, engines: Mapping[str, Engine], config: ServiceConfig | None = None) -> None:
        self.config = config or ServiceConfig()
        self._choice = EngineChoice(engines, self.config.default_engine)
        self._chats: dict[str, _Chat] = {}

    @property
    def chats(self) -> int:
        """How many answers are being given."""
        return len(self._chats)

    def check(self, asked: ResponseRequest) -> Engine:
        """The engine that answers.

        Raises:
            InvalidPayload: nothing to answer, or an engine that is not here.
            Conflict: a chat of this id is on.
            Overloaded: as many chats are on as may be.
        """
        if not asked.messages:
            raise InvalidPayload("`messages`: expected at least one message, got none")
        try:
            engine = self._choice.of(asked.model_config)
        except RunFailed as error:
            raise InvalidPayload(error.sentence) from error
        if asked.metadata.request_id in self._chats:
            raise Conflict("A chat with this request_id is on already.")
        if self.chats >= self.config.max_concurrent_chats:
            raise Overloaded(f"{self.chats} chats are on, which is as many as this Chat Shell takes.")
        return engine

    def cancel(self, request_id: str) -> None:
        """Stop a chat; its stream ends with `response.cancelled`.

        Raises:
            NotFound: no chat of this id is on.
        """
        chat = self._chats.get(request_id)
        if chat is None:
            raise NotFound("No chat with this request_id is on.")
        chat.scope.cancel()

    async def answer(self, asked: ResponseRequest, feed: EventFeed) -> None:
        """Have the answer given into the feed, from its start to its one ending. Never raises an Exception."""
        chat, chat_id = _Chat(feed), asked.metadata.request_id
        try:
            engine = self.check(asked)
        except WegentError as error:
            feed.end(ResponseError(code=error.code, message=error.sentence))
            return
        self._chats[chat_id] = chat
        try:
            with chat.scope:
                await self._run(engine, asked, feed)
            if chat.scope.cancelled_caught:
                feed.end(ResponseCancelled(id=chat_id, partial_content=feed.partial))
        finally:
            del self._chats[chat_id]

    async def _run(self, engine: Engine, asked: ResponseRequest, feed: EventFeed) -> None:
        try:
            done = await engine.run(asked, feed)
        except RunFailed as error:
            feed.end(ResponseError(code=error.type, message=error.sentence))
        except WegentError as error:
            feed.end(ResponseError(code=error.code, message=error.sentence))
        except Exception:
            _log.exception("an engine failed")
            feed.end(ResponseError(code="internal", message="The engine failed; the service's log says how."))
        else:
            feed.end(
                ResponseDone(
                    id=asked.metadata.request_id,
                    usage=done.usage or None,
                    stop_reason=done.stop_reason,
                    tool_calls=done.tool_calls or None,
                    carried=done.carried,
                )
            )


class _Stream(ResponseBody):
    """The body of a reply: while it is open the engine runs, and leaving it ends the engine, whatever happened."""

    def __init__(self, service: ChatShellService, asked: ResponseRequest) -> None:
        self._service = service
        self._asked = asked
        start = ResponseStart(id=asked.metadata.request_id, model=asked.model_config.model_id)
        self._feed = EventFeed(start, stall_s=service.config.stall_s)
        self._manager: AbstractAsyncContextManager[trio.Nursery] = trio.open_nursery()

    async def __aenter__(self) -> Self:
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._service.answer, self._asked, self._feed)
        self._nursery.start_soon(self._ping)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(exc_type, exc_value, tb)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        taken = await self._feed.take()
        if taken is None:
            raise StopAsyncIteration
        return taken

    async def _ping(self) -> None:
        while True:
            await trio.sleep(self._service.config.ping_s)
            self._feed.ping()


def make_app(service: ChatShellService) -> QuartTrio:
    """The application: `POST /v1/response`, `POST /v1/response/cancel`, `GET /v1/health`."""
    app = QuartTrio("wegent.chat_shell")
    app.config["MAX_CONTENT_LENGTH"] = service.config.max_body

    @app.post("/v1/response")
    async def respond() -> Response:
        _authenticate(service.config.token)
        asked = await _body(ResponseRequest)
        service.check(asked)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        response = Response(_Stream(service, asked), content_type="text/event-stream", headers=headers)
        response.timeout = None
        return response

    @app.post("/v1/response/cancel")
    async def cancel() -> Response:
        _authenticate(service.config.token)
        service.cancel((await _body(ResponseCancel)).request_id)
        return _json({"success": True})

    @app.get("/v1/health")
    async def health() -> Response:
        await trio.lowlevel.checkpoint()
        config = service.config
        return _json({"status": "ok", "chats": service.chats, "max_concurrent_chats": config.max_concurrent_chats})

    @app.errorhandler(WegentError)
    async def refuse(error: WegentError) -> Response:
        await trio.lowlevel.checkpoint()
        response = _json(error.as_payload(), error.status)
        if isinstance(error, Overloaded):
            response.headers["retry-after"] = str(service.config.retry_after_s)
        if isinstance(error, NotAuthenticated):
            response.headers["www-authenticate"] = "Bearer"
        return response

    @app.errorhandler(HTTPException)
    async def refuse_http(error: HTTPException) -> Response:
        await trio.lowlevel.checkpoint()
        code = "NOT_FOUND" if error.code == 404 else "INVALID_PAYLOAD"
        return _json({"error": f"{error.name}.", "code": code}, error.code or 500)

    return app


def _authenticate(token: str | None) -> None:
    if token is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise NotAuthenticated("Send the Chat Shell's token as `Authorization: Bearer …`.")


async def _body(kind: type[T]) -> T:
    data = await request.get_data()
    try:
        return decode_as(data, kind)
    except CodecError as error:
        raise InvalidPayload(f"The body is not as it should be: {error.sentence}.") from error


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(encode(body), status=status, content_type="application/json")

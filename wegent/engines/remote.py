"""An engine that is somewhere else: the client of a Chat Shell service (protocol §9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
from attrs import field, frozen

from wegent.codec import CodecError, decode_loose, encode
from wegent.core.errors import InvalidPayload, RunFailed
from wegent.core.ports.executor import Sink
from wegent.engines.deltas import Deltas
from wegent.engines.failures import Refusal, message_of, said
from wegent.engines.handover import Handover
from wegent.engines.http import Pool, PoolConfig, Reply, endpoint, open_pool, post, retry_after
from wegent.engines.silence import watched
from wegent.engines.sse import EventParser, ServerSentEvent
from wegent.protocol.chat_shell import ResponseCancel, ResponseRequest, ToolCall
from wegent.protocol.status import ErrorType
from wegent.server.ports.engine import Completion, Engine

_AWAY = ErrorType.ENGINE_AWAY.value
_TYPES = frozenset(each.value for each in ErrorType)


@frozen(kw_only=True)
class RemoteConfig:
    """Where the service is. Times are in seconds.

    Attributes:
        queue_s: how long to try again while the service is full.
        silence_s: without a byte; the service writes at least every 15 seconds.
        cancel_s: how long a cancelled answer takes at most to tell the service.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    connect_s: float = 10.0
    silence_s: float = 60.0
    queue_s: float = 60.0
    cancel_s: float = 2.0
    pool: PoolConfig = field(factory=PoolConfig)


class RemoteEngine(Engine):
    """Has a Chat Shell service answer. Made by `open`.

    Cancelled: the connection is closed, which cancels the answer there, and the cancel is sent besides, since a
    proxy between may keep its own connection to the service open.
    """

    __slots__ = ("_config", "_pool")

    def __init__(self, pool: Pool, config: RemoteConfig) -> None:
        self._pool = pool
        self._config = config

    @classmethod
    @asynccontextmanager
    async def open(cls, config: RemoteConfig) -> AsyncIterator[RemoteEngine]:
        """An engine with a pool of its own, which is closed on leaving."""
        async with open_pool(config.pool) as pool:
            yield cls(pool, config)

    async def run(self, request: ResponseRequest, sink: Sink) -> Completion:
        """Answer; see `Engine.run`."""
        give_up = trio.current_time() + self._config.queue_s
        while True:
            answer = _RemoteAnswer(request.model_config.model_id)
            try:
                await self._exchange(request, answer, sink)
                return answer.completion()
            except _Full as full:
                if trio.current_time() + full.wait > give_up:
                    raise RunFailed(f"{full.sentence} Try again later.", type=_AWAY) from full
                await trio.sleep(full.wait)
            except Refusal as refusal:
                await answer.deltas.flush(sink)
                kind = refusal.type if answer.told else _AWAY
                raise RunFailed(refusal.sentence, type=kind) from refusal
            except Exception:
                raise
            except BaseException:
                # Cancelled, by itself or in a group.
                with trio.move_on_after(self._config.cancel_s, shield=True):
                    await self._cancel(request.metadata.request_id)
                raise

    async def _exchange(self, request: ResponseRequest, answer: _RemoteAnswer, sink: Sink) -> None:
        async with watched(self._config.silence_s) as silence:
            silence.listen()
            async with self._post("/v1/response", encode(request)) as (host, reply):
                if reply.status != 200:
                    raise await _refusal(host, reply)
                try:
                    await reply.events(EventParser(), answer.take, Handover(answer.deltas, sink, silence))
                except InvalidPayload as error:
                    raise Refusal(f"The Chat Shell at {host} sent too much at once. {error.sentence}") from error
        if silence.broken and answer.end is None:
            raise Refusal(f"The Chat Shell fell silent for {self._config.silence_s:g} seconds. Try again.")
        await answer.deltas.flush(sink)

    async def _cancel(self, request_id: str) -> None:
        try:
            async with self._post("/v1/response/cancel", encode(ResponseCancel(request_id=request_id))) as (_, reply):
                await reply.body()
        except Refusal:
            return  # the connection is closed; that is what cancels

    @asynccontextmanager
    async def _post(self, path: str, body: bytes) -> AsyncIterator[tuple[str, Reply]]:
        url, host = endpoint(self._config.url, path)
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        if self._config.token:
            headers["authorization"] = f"Bearer {self._config.token}"
        async with post(
            self._pool, url, host=host, headers=headers, body=body, connect_timeout=self._config.connect_s
        ) as reply:
            yield host, reply


class _Full(Refusal):
    """The service takes no further chat for now; ask again after `wait` seconds."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence, type=_AWAY, passing=True)
        self.wait = wait


async def _refusal(host: str, reply: Reply) -> Refusal:
    try:
        message, _ = message_of(decode_loose(await reply.body()))
    except CodecError:
        message = ""
    words = said(message) or f"status {reply.status}"
    if reply.status == 503:
        return _Full(f"The Chat Shell at {host} takes no further chat for now: {words}", _wait(reply))
    advice = " Check the Chat Shell's token." if reply.status in (401, 403) else ""
    return Refusal(f"The Chat Shell at {host} refused the request: {words}{advice}")


def _wait(reply: Reply) -> float:
    wait = retry_after(reply.headers)
    return 1.0 if wait is None else min(max(wait, 0.1), 30.0)


class _Event(msgspec.Struct):
    """All that any of the events may hold."""

    text: str = ""
    id: str = ""
    model: str = ""
    name: str = ""
    input: Any = None
    output: Any = None
    error: Any = None
    usage: dict[str, Any] | None = None
    stop_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    carried: Any = None
    code: str = ""
    message: str = ""


_decoder = msgspec.json.Decoder(_Event)


class _RemoteAnswer:
    """Reads the events of one reply.

    Attributes:
        end: the name of the event that ended it.
        told: whether it was the service that said how it failed.
    """

    __slots__ = ("_calls", "_carried", "_model", "_stop_reason", "_usage", "deltas", "end", "told")

    def __init__(self, model: str) -> None:
        self._calls: tuple[ToolCall, ...] = ()
        self._carried: Any = None
        self._model = model
        self._usage: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self.deltas = Deltas()
        self.end: str | None = None
        self.told = False

    def take(self, event: ServerSentEvent) -> None:
        """Take one event; events of unknown names are passed over."""
        if self.end is not None:
            return
        try:
            body = _decoder.decode(event.data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal("The Chat Shell sent an event that can't be read. Check its version.") from error
        self._take_body(event.event, body)

    def _take_body(self, name: str, body: _Event) -> None:
        match name:
            case "content.delta":
                self.deltas.text(body.text)
            case "thinking.delta":
                self.deltas.thinking(body.text)
            case "tool.start":
                tool = {"tool_name": body.name, "tool_input": body.input}
                self.deltas.block({"id": body.id, "type": "tool", **tool, "status": "pending"})
            case "tool.progress":
                self.deltas.block({"id": body.id, "tool_output": body.output, "status": "streaming"})
            case "tool.done":
                failed = body.error is not None
                output = body.error if failed and body.output is None else body.output
                status = "error" if failed else "done"
                self.deltas.block({"id": body.id, "tool_output": output, "status": status})
            case "response.start":
                self._model = body.model or self._model
            case "response.done":
                self._usage, self._stop_reason = body.usage or {}, body.stop_reason
                self._calls, self._carried = body.tool_calls or (), body.carried
                self.end = name
            case "response.cancelled":
                self._fail(name, "The answer was cancelled at the Chat Shell.", _AWAY)
            case "response.error":
                self._fail(name, said(body.message) or "The Chat Shell failed and gave no reason.", body.code)

    def _fail(self, name: str, sentence: str, code: str) -> None:
        self.end, self.told = name, True
        if code == "OVERLOADED" and not self.deltas.begun:
            raise _Full(sentence, 1.0)
        raise Refusal(sentence, type=code if code in _TYPES else "model")

    def completion(self) -> Completion:
        """How it ended, once its stream has.

        Raises:
            Refusal: it was cut off.
        """
        if self.end is None:
            raise Refusal("The Chat Shell closed the stream before the answer was whole. Try again.")
        return Completion(self._model, self._stop_reason, self._usage, self._calls, self._carried)

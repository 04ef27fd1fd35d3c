"""One answer of a provider: the request, as often as it takes, and the reply's events on their way to a sink."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import trio
from attrs import field, frozen

from wegent.codec import CodecError, decode_loose
from wegent.core.errors import InvalidPayload, RunFailed
from wegent.core.ports.executor import Sink
from wegent.engines.answer import Answer
from wegent.engines.failures import Refusal, broken_off, message_of, refused, said
from wegent.engines.handover import Handover
from wegent.engines.http import Pool, PoolConfig, Reply, post, retry_after
from wegent.engines.silence import Silence, watched
from wegent.engines.sse import EventParser
from wegent.protocol.chat_shell import ModelConfig
from wegent.server.ports.engine import Completion


@frozen(kw_only=True)
class ExchangeConfig:
    """Limits of an engine that asks a provider. Times are in seconds.

    Attributes:
        timeout_s: for the whole answer, attempts and waits between them included.
        first_token_s: from the request's sending to the first token.
        idle_s: without a byte, once the answer has begun.
        max_retries: further attempts before the first token; there are none after it.
        backoff_s: about the wait before the second attempt; doubles with each.
        max_backoff_s: no wait is longer; a provider that asks for more has refused.
        linger_s: how long, after the answer, the end of the reply is waited for, so that its connection can be
            used again.
    """

    max_retries: int = 2
    connect_s: float = 10.0
    first_token_s: float = 120.0
    idle_s: float = 60.0
    timeout_s: float = 1800.0
    backoff_s: float = 0.5
    max_backoff_s: float = 20.0
    linger_s: float = 0.5
    max_line: int = 1 << 20
    pool: PoolConfig = field(factory=PoolConfig)


@frozen
class Call:
    """One request as it is sent, as often as it is; `answer` makes what reads a reply to it.

    Raises:
        RunFailed: a header can't be sent.
    """

    url: str
    host: str
    key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    answer: Callable[[], Answer]

    def __attrs_post_init__(self) -> None:
        if not all(value.isascii() and value.isprintable() for value in self.headers.values()):
            raise RunFailed("The API key or a header holds characters that can't be sent.", type="model")


class Exchange:
    """Sends calls and reads their answers, within limits; one serves many side by side."""

    __slots__ = ("_config", "_pool", "_random")

    def __init__(self, pool: Pool, config: ExchangeConfig, jitter: Callable[[], float] = random.random) -> None:
        self._pool = pool
        self._config = config
        self._random = jitter

    async def run(self, call: Call, model: ModelConfig, sink: Sink) -> Completion:
        """Have a call answered into the sink; `model` may name limits of its own.

        Raises:
            RunFailed: as `Engine.run`.
        """
        limit = model.timeout or self._config.timeout_s  # 0 means nothing, as absence does
        with trio.move_on_after(limit):
            return await self._persevere(call, model.max_retries, sink)
        raise RunFailed(f"{call.host} did not finish the answer within {limit:g} seconds.", type="timeout")

    async def _persevere(self, call: Call, max_retries: int | None, sink: Sink) -> Completion:
        retries = self._config.max_retries if max_retries is None else max_retries
        attempt = 0
        while True:
            answer = call.answer()
            try:
                return await self._attempt(call, answer, sink)
            except Refusal as refusal:
                await answer.deltas.flush(sink)
                wait = self._wait(attempt, refusal)
                if attempt >= retries or not refusal.passing or answer.deltas.begun or wait is None:
                    raise
            await trio.sleep(wait)
            attempt += 1

    def _wait(self, attempt: int, refusal: Refusal) -> float | None:
        most = self._config.max_backoff_s
        if refusal.retry_after is not None:
            return None if refusal.retry_after > most else refusal.retry_after
        doubled: float = self._config.backoff_s * 2 ** min(attempt, 30)
        return min(most, doubled) * (0.5 + self._random() / 2)

    async def _attempt(self, call: Call, answer: Answer, sink: Sink) -> Completion:
        async with watched(self._config.first_token_s) as silence:
            silence.listen()
            try:
                await self._exchange(call, answer, sink, silence)
            except Refusal:
                if not answer.whole:
                    raise
        if silence.broken and not answer.whole:
            raise self._silent(call, answer)
        await answer.deltas.flush(sink)
        return answer.completion()

    def _silent(self, call: Call, answer: Answer) -> Refusal:
        if answer.begun:
            words = f"stopped in the middle of the answer: nothing came for {self._config.idle_s:g} seconds. Try again."
        else:
            words = f"said nothing for {self._config.first_token_s:g} seconds. Try again later."
        return Refusal(f"{call.host} {words}", type="timeout")

    async def _exchange(self, call: Call, answer: Answer, sink: Sink, silence: Silence) -> None:
        async with post(
            self._pool,
            call.url,
            host=call.host,
            headers=call.headers,
            body=call.body,
            connect_timeout=self._config.connect_s,
        ) as reply:
            if reply.status != 200 or reply.content_type in ("application/json", "text/html"):
                raise await _refusal(call, reply)
            try:
                parser = EventParser(max_line=self._config.max_line)
                await reply.events(parser, answer.take, _AnswerHandover(answer, sink, silence, self._config))
            except InvalidPayload as error:
                raise Refusal(f"{call.host} sent more than can be held. {error.sentence}") from error


class _AnswerHandover(Handover):
    """Until the first token the silence goes on; after the answer's end only the reply's end is waited for."""

    __slots__ = ("_answer", "_begun", "_config", "_lingering")

    def __init__(self, answer: Answer, sink: Sink, silence: Silence, config: ExchangeConfig) -> None:
        super().__init__(answer.deltas, sink, silence)
        self._answer = answer
        self._config = config
        self._begun = False
        self._lingering = False

    def now(self) -> bool:
        if self._lingering or not (self._deltas.begun or self._answer.ended or self._answer.calls.begun):
            return True
        if not self._deltas.write_now(self._sink):
            return False
        self._listen()
        return True

    async def later(self) -> None:
        self._silence.hear()
        await self._deltas.flush(self._sink)
        self._listen()

    def _listen(self) -> None:
        if self._answer.ended:
            self._lingering = True
            self._silence.expect(self._config.linger_s)
        elif not self._begun:
            self._begun = True
            self._silence.expect(self._config.idle_s)
        self._silence.listen()


def is_own(base_url: str | None, own: str) -> bool:
    """Whether a model's address is the engine's own: only there its own key goes; another brings its own."""
    return base_url is None or base_url == own


def path_below(base_url: str, version: str, path: str) -> str:
    """`path` to append to a base URL that may end with the version of the interface, or leave it out."""
    return path if urlsplit(base_url.strip()).path.rstrip("/").endswith(f"/{version}") else f"/{version}{path}"


async def _refusal(call: Call, reply: Reply) -> Refusal:
    """What a reply that is no event stream says."""
    body = await reply.body()
    try:
        message, code = message_of(decode_loose(body))
    except CodecError:
        plain = reply.content_type == "text/plain"
        message, code = (body.decode("utf-8", "replace") if plain else ""), ""
    if reply.status == 200:
        if message:
            return broken_off(call.host, message, code, secret=call.key)
        kind = reply.content_type or "something"
        return Refusal(f"{call.host} answered with {said(kind)} instead of an event stream. Check the base URL.")
    return refused(call.host, reply.status, message, code, secret=call.key, retry_after=retry_after(reply.headers))

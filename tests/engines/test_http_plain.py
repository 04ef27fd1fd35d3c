"""Connections of our own to endpoints without TLS: when they are used again, and what a provider may do to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat

import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.engines.http import Pool, PoolConfig, Reply, open_pool, post
from wegent.engines.openai import OpenAIConfig, OpenAIEngine
from wegent.protocol.chat_shell import ModelConfig, ModelMessage, ResponseMetadata, ResponseRequest
from wegent.testing.checkpoints import Cut, at_every_checkpoint
from wegent.testing.provider import (
    EVENT_STREAM,
    LAST_CHUNK,
    Call,
    Script,
    ScriptedProvider,
    answer,
    chunk,
    delta,
    finish,
    pours,
    says,
    scripted_provider,
    stalls,
    streams,
    until_closed,
)
from wegent.testing.sinks import MemorySink

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
HELLO = PLAIN + b"content-length: 5\r\n\r\nhello"


@asynccontextmanager
async def pooled(
    *scripts: Script, stay: bool = True, config: PoolConfig | None = None
) -> AsyncIterator[tuple[Pool, ScriptedProvider]]:
    async with scripted_provider(*scripts, stay=stay) as provider, open_pool(config or PoolConfig()) as pool:
        yield pool, provider


@asynccontextmanager
async def asking(pool: Pool, provider: ScriptedProvider) -> AsyncIterator[Reply]:
    url, host = f"{provider.base_url}/x", provider.base_url.split("/")[2]
    async with post(pool, url, host=host, headers={}, body=b"{}", connect_timeout=5) as reply:
        yield reply


async def body_from(pool: Pool, provider: ScriptedProvider) -> bytes:
    async with asking(pool, provider) as reply:
        return await reply.body()


def request_for(provider: ScriptedProvider) -> ResponseRequest:
    return ResponseRequest(
        model_config=ModelConfig(model_id="m", base_url=provider.base_url, api_key="k"),
        messages=(ModelMessage(role="user", content="Hello"),),
        metadata=ResponseMetadata(request_id="r1"),
    )


class PlainSink(MemorySink):
    """Takes text without waiting."""

    __slots__ = ()

    def text_now(self, delta: str) -> bool:
        self.calls.append(("text", delta))
        self.changed.set()
        return True


async def answered(*scripts: Script) -> PlainSink:
    sink = PlainSink()
    async with scripted_provider(*scripts) as provider, OpenAIEngine.open(OpenAIConfig(max_retries=0)) as engine:
        await engine.run(request_for(provider), sink)
    return sink


async def failed(*scripts: Script, **config: float) -> tuple[RunFailed, PlainSink]:
    sink = PlainSink()
    async with (
        scripted_provider(*scripts) as provider,
        OpenAIEngine.open(OpenAIConfig(max_retries=0, **config)) as engine,  # type: ignore[arg-type]
    ):
        with pytest.raises(RunFailed) as caught:
            await engine.run(request_for(provider), sink)
        assert not engine._exchange._pool.connections
    return caught.value, sink


@pytest.mark.parametrize(
    "reply",
    [
        HELLO,
        PLAIN + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nx-trailer: 1\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + HELLO,
    ],
)
async def test_a_connection_is_used_again_after_a_whole_reply(reply: bytes) -> None:
    async with pooled(says(reply)) as (pool, provider):
        assert [await body_from(pool, provider) for _ in range(3)] == [b"hello"] * 3
        assert provider.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        PLAIN + b"connection: keep-alive, Close\r\ncontent-length: 5\r\n\r\nhello",
        HELLO.replace(b"HTTP/1.1", b"HTTP/1.0"),
        HELLO + b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
async def test_a_connection_is_not_used_again_where_something_else_was_told(reply: bytes) -> None:
    async with pooled(says(reply)) as (pool, provider):
        assert [await body_from(pool, provider) for _ in range(2)] == [b"hello"] * 2
        assert provider.connections == 2
        assert not pool.connections


async def test_junk_behind_a_chunked_reply_is_no_text_and_ends_the_connection() -> None:
    script = streams(delta("hi"), finish(), b"HTTP/1.1 200 OK\r\n\r\n" + delta("junk"))
    async with scripted_provider(script, stay=True) as provider, OpenAIEngine.open() as engine:
        for _ in range(2):
            await engine.run(request_for(provider), sink := PlainSink())
            assert sink.content == "hi"
        assert provider.connections == 2


async def test_a_connection_that_ended_or_spoke_while_idle_is_not_used_again() -> None:
    late = trio.Event()

    async def speaks_later(call: Call) -> None:
        await call.send(HELLO)
        await late.wait()
        await call.send(b"surprise")

    async with pooled(says(HELLO), speaks_later, says(HELLO), stay=False) as (pool, provider):
        for expected in (1, 2):
            assert await body_from(pool, provider) == b"hello"
            assert provider.connections == expected
            late.set()
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert await body_from(pool, provider) == b"hello"
        assert provider.connections == 3


async def test_an_idle_connection_expires() -> None:
    async with pooled(says(HELLO), config=PoolConfig(idle_s=0)) as (pool, provider):
        for _ in range(2):
            await body_from(pool, provider)
        assert provider.connections == 2
        assert len(pool.connections) == 1


async def test_idle_connections_are_bounded_and_make_room_for_others() -> None:
    async with (
        pooled(says(HELLO), config=PoolConfig(max_connections=2, max_idle=2)) as (pool, one),
        scripted_provider(says(HELLO), stay=True) as two,
        scripted_provider(says(HELLO), stay=True) as three,
    ):
        for provider in (one, two, three):
            await body_from(pool, provider)
        assert len(pool.connections) == 2
        await body_from(pool, two)
        assert two.connections == 1

    async with pooled(says(HELLO), config=PoolConfig(max_idle=0)) as (pool, provider):
        await body_from(pool, provider)
        assert not pool.connections


async def test_who_finds_no_free_place_in_time_is_told_so() -> None:
    async with (
        pooled(stalls(PLAIN, b"\r\n"), config=PoolConfig(max_connections=1)) as (pool, provider),
        asking(pool, provider),
    ):
        with pytest.raises(RunFailed, match="All connections to models are in use"):
            async with post(
                pool, provider.base_url, host="h", headers={}, body=b"", connect_timeout=0.01
            ):  # pragma: no branch
                pass


async def test_a_body_is_read_up_to_its_limit_and_the_connection_left() -> None:
    async with pooled(pours(repeat(chunk(b"x" * 10_000)))) as (pool, provider):
        async with asking(pool, provider) as reply:
            assert await reply.body(50_000) == b"x" * 50_000
        assert not pool.connections


@pytest.mark.parametrize("piece", [1, 5])
async def test_a_head_may_come_byte_by_byte(piece: int) -> None:
    async with pooled(says(HELLO, piece=piece)) as (pool, provider):
        assert await body_from(pool, provider) == b"hello"


async def test_a_head_without_end_is_an_error() -> None:
    async def endless(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await call.send(b"x-more: " + b"y" * 1000 + b"\r\n")

    error, _ = await failed(endless)
    assert "closed the connection" in error.sentence


async def test_a_head_without_a_reply_is_an_error() -> None:
    error, _ = await failed(says(b"HTTP/1.1 100 Continue\r\n\r\n"))
    assert "closed the connection" in error.sentence


async def test_the_target_and_host_are_the_urls() -> None:
    async with pooled(says(HELLO)) as (pool, provider):
        url = f"{provider.base_url}/a b/ü%20c?q=ä&r=1"
        async with post(pool, url, host="model.example:1", headers={}, body=b"1", connect_timeout=5):
            pass
    head = provider.calls[0].head
    assert head.startswith("POST /v1/a%20b/%C3%BC%20c?q=%C3%A4&r=1 HTTP/1.1")
    assert "host: model.example:1" in head.lower()
    assert "content-length: 1" in head.lower()


async def test_a_refusal_before_the_request_was_read_is_told() -> None:
    async def refuses(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(answer("413 Too Large", b'{"error":"too large"}', "connection: close"))

    async with trio.open_nursery() as nursery, open_pool(PoolConfig()) as pool:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, refuses, listeners)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/x"
        async with post(pool, url, host="h", headers={}, body=b"x" * 100, connect_timeout=5) as reply:
            assert (reply.status, await reply.body()) == (413, b'{"error":"too large"}')
        nursery.cancel_scope.cancel()


async def test_text_goes_to_a_sink_that_takes_it_without_waiting() -> None:
    sink = await answered(streams(*map(delta, "Grüße 👩"), finish()))
    assert sink.content == "Grüße 👩"


async def test_a_provider_that_closes_within_a_chunk_is_an_error_behind_its_text() -> None:
    error, sink = await failed(streams(delta("half"), chunk(b"x" * 100)[:50]))
    assert "before the answer was whole" in error.sentence
    assert sink.content == "half"


async def test_a_chunk_that_is_none_is_an_error_behind_its_text() -> None:
    error, sink = await failed(streams(delta("half"), b"what?\r\n"))
    assert "before the answer was whole" in error.sentence
    assert sink.content == "half"


async def test_a_provider_that_falls_silent_times_out_on_the_plain_way_too() -> None:
    error, sink = await failed(stalls(EVENT_STREAM, delta("half")), idle_s=0.05)
    assert error.type == "timeout"
    assert sink.content == "half"


async def test_what_a_sink_raises_without_waiting_reaches_the_run() -> None:
    class Full(MemorySink):
        def text_now(self, delta: str) -> bool:
            raise RunFailed("too long", type="output_limit")

    async with scripted_provider(stalls(EVENT_STREAM, delta("a"))) as provider, OpenAIEngine.open() as engine:
        with pytest.raises(RunFailed) as caught:
            await engine.run(request_for(provider), Full())
        await provider.calls[0].closed.wait()
    assert caught.value.type == "output_limit"


async def test_a_sink_that_takes_no_more_for_now_is_waited_for_in_order() -> None:
    class Now(MemorySink):
        def text_now(self, delta: str) -> bool:
            if len(self.calls) % 2:
                return False
            self.calls.append(("text", delta))
            return True

    sink = Now()
    parts = [delta("a"), delta(reasoning_content="b"), delta("c"), delta("d")]

    async def script(call: Call) -> None:
        await call.send(EVENT_STREAM)
        for part in parts:
            await call.send(part)
            await trio.testing.wait_all_tasks_blocked(0.001)
        await call.send(finish())

    async with scripted_provider(script) as provider, OpenAIEngine.open() as engine:
        await engine.run(request_for(provider), sink)
    assert "".join(text for _, text in sink.calls) == "abcd"


async def test_cancelled_at_any_checkpoint_nothing_is_said_afterwards_and_the_connection_is_closed() -> None:
    async def script(call: Call) -> None:
        await call.send(EVENT_STREAM)
        for word in ("one ", "two ", "three "):
            await call.send(delta(word))
            await trio.lowlevel.checkpoint()
        await call.send(finish().removesuffix(LAST_CHUNK))
        await until_closed(call)

    async with (
        scripted_provider(script, stay=True) as provider,
        OpenAIEngine.open(OpenAIConfig(linger_s=0.02, max_retries=0)) as engine,
    ):

        async def attempt(cut: Cut) -> None:
            sink, seen = PlainSink(), len(provider.calls)
            with trio.CancelScope() as scope, cut.at(scope.cancel):
                await engine.run(request_for(provider), sink)
            said = list(sink.calls)
            assert not engine._exchange._pool.connections
            with trio.fail_after(10):
                for call in provider.calls[seen:]:
                    await call.closed.wait()
            assert sink.calls == said
            assert cut.done or sink.content == "one two three "

        assert await at_every_checkpoint(attempt) > 5

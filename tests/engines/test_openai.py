"""The engine `openai` against a provider that follows a script, byte by byte."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wegent.core.errors import RunFailed
from wegent.engines.completions import ChatAnswer as Answer
from wegent.engines.failures import Refusal
from wegent.engines.http import PoolConfig
from wegent.engines.openai import OpenAIConfig, OpenAIEngine
from wegent.engines.sse import ServerSentEvent
from wegent.protocol.chat_shell import ModelConfig, ModelMessage, ResponseMetadata, ResponseRequest
from wegent.server.ports.engine import Completion
from wegent.testing.provider import (
    EVENT_STREAM,
    LAST_CHUNK,
    Call,
    Script,
    ScriptedProvider,
    answer,
    chunk,
    delta,
    event,
    finish,
    pours,
    says,
    scripted_provider,
    stalls,
    streams,
    until_closed,
)
from wegent.testing.sinks import MemorySink

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = "Grüße 👩‍👩‍👧‍👦 e\u0301 漢字かな 🇫🇷 — done"
FIELDS = ["choices", "delta", "content", "reasoning", "finish_reason", "index", "usage", "error", "model", "text"]
JSON_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEY = "sk-very-secret-0123456789"


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)


def request_for(provider: ScriptedProvider, **model: Any) -> ResponseRequest:
    config = {"model_id": "scripted-1", "base_url": provider.base_url, "api_key": KEY, **model}
    return ResponseRequest(
        model_config=ModelConfig(**config),
        messages=(ModelMessage(role="user", content="Hello"),),
        system="Be kind.",
        metadata=ResponseMetadata(request_id="r1"),
    )


@asynccontextmanager
async def running(
    *scripts: Script, stay: bool = False, **config: Any
) -> AsyncIterator[tuple[OpenAIEngine, ScriptedProvider]]:
    quick = {"backoff_s": 0.001, "max_backoff_s": 0.5}
    async with (
        scripted_provider(*scripts, stay=stay) as provider,
        OpenAIEngine.open(OpenAIConfig(**(quick | config))) as engine,
    ):
        yield engine, provider


async def answered(*scripts: Script, **config: Any) -> tuple[MemorySink, Completion, ScriptedProvider]:
    sink = MemorySink()
    async with running(*scripts, **config) as (engine, provider):
        return sink, await engine.run(request_for(provider), sink), provider


async def failed(*scripts: Script, **config: Any) -> tuple[RunFailed, MemorySink, ScriptedProvider]:
    sink = MemorySink()
    async with running(*scripts, **config) as (engine, provider):
        with pytest.raises(RunFailed) as caught:
            await engine.run(request_for(provider), sink)
    assert KEY not in str(caught.value)
    return caught.value, sink, provider


async def test_the_answer_arrives_whole_with_model_usage_and_reason() -> None:
    parts = [delta("", role="assistant"), *map(delta, TEXT)]
    sink, completion, provider = await answered(streams(*parts, finish("stop", {"total_tokens": 7})))
    assert sink.content == TEXT
    assert completion == Completion("scripted", "stop", {"total_tokens": 7})
    call = provider.calls[0]
    assert call.head.startswith("POST /v1/chat/completions HTTP/1.1")
    assert f"authorization: Bearer {KEY}".lower() in call.head.lower()
    assert call.body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
    ]
    assert call.body["stream"] is True
    assert call.body["stream_options"] == {"include_usage": True}
    assert "max_tokens" not in call.body


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
async def test_bytes_may_be_split_anywhere(piece: int) -> None:
    parts = [delta(reasoning_content="hm 🤔"), *map(delta, TEXT.split(" ")), finish()]
    sink, _, _ = await answered(streams(*parts, piece=piece))
    assert sink.content == TEXT.replace(" ", "")
    assert sink.reasoning == "hm 🤔"


async def test_what_arrives_together_is_one_delta_for_each_stretch_of_a_channel() -> None:
    parts = [
        delta(reasoning_content="a"), delta(reasoning="b"), delta("c"), delta("d"), delta(reasoning_content="e"),
        delta("f"), delta("g"), finish(),
    ]  # fmt: skip
    sink, _, _ = await answered(streams(*parts))
    assert sink.calls == [("thinking", "ab"), ("text", "cd"), ("thinking", "e"), ("text", "fg")]


async def test_content_in_parts_is_told_apart() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "mull"}]},
        {"type": "text", "text": "said"},
        "odd",
        {"type": "image"},
    ]
    sink, _, _ = await answered(streams(delta(content), finish()))
    assert sink.calls == [("thinking", "mull"), ("text", "said")]


async def test_half_a_surrogate_pair_reaches_the_sink() -> None:
    halves = [chunk(b'data: {"choices":[{"delta":{"content":"\\u%s"}}]}\n\n' % half) for half in (b"d83d", b"de00")]
    sink, _, _ = await answered(streams(*halves, finish()))
    assert sink.content == "\ud83d\ude00"


async def test_comments_crlf_and_a_missing_done_are_all_right() -> None:
    last = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"length"}]}\r\n\r\n'
    sink, completion, _ = await answered(streams(chunk(b": waiting\r\n\r\n"), chunk(last), LAST_CHUNK))
    assert (sink.content, completion.stop_reason) == ("hi", "length")


async def test_the_end_may_be_the_close_of_the_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    body = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'
    sink, _, _ = await answered(says(head, body))
    assert sink.content == "hi"


async def test_a_connection_is_used_again() -> None:
    async with running(streams(delta("hi"), finish()), stay=True) as (engine, provider):
        for _ in range(3):
            await engine.run(request_for(provider), MemorySink())
        assert provider.connections == 1
        assert len(provider.calls) == 3


async def test_a_provider_that_stays_silent_after_done_is_left() -> None:
    script = stalls(EVENT_STREAM, delta("hi"), finish().removesuffix(LAST_CHUNK))
    async with running(script, linger_s=0.01) as (engine, provider):
        await engine.run(request_for(provider), sink := MemorySink())
        await provider.calls[0].closed.wait()
    assert sink.content == "hi"


async def test_options_are_sent_and_null_takes_a_field_out() -> None:
    options = {"temperature": 0.5, "stream_options": None}
    async with running(streams(delta("hi"), finish())) as (engine, provider):
        await engine.run(request_for(provider, options=options, max_output_tokens=9), MemorySink())
    body = provider.calls[0].body
    assert (body["temperature"], body["max_tokens"]) == (0.5, 9)
    assert "stream_options" not in body


async def test_the_engines_key_goes_to_the_engines_own_endpoint_only() -> None:
    async with running(streams(delta("hi"), finish()), api_key="engine-key") as (engine, provider):
        await engine.run(request_for(provider, api_key=None), MemorySink())
    assert "authorization" not in provider.calls[0].head.lower()


async def test_what_the_request_does_not_say_is_the_engines() -> None:
    async with scripted_provider(streams(delta("hi"), finish())) as provider:
        config = OpenAIConfig(base_url=provider.base_url, api_key="engine-key", max_output_tokens=5)
        async with OpenAIEngine.open(config) as engine:
            await engine.run(request_for(provider, api_key=None, base_url=None), MemorySink())
    assert "authorization: bearer engine-key" in provider.calls[0].head.lower()
    assert provider.calls[0].body["max_tokens"] == 5


def error_body(message: str, code: Any = None) -> bytes:
    return json.dumps({"error": {"message": message, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("401 Unauthorized", "Check the API key"),
        ("403 Forbidden", "may use this model"),
        ("404 Not Found", "Check the model's name"),
        ("400 Bad Request", "settings"),
    ],
)
async def test_a_refusal_says_what_the_provider_said_and_what_to_do(status: str, words: str) -> None:
    error, sink, provider = await failed(says(answer(status, error_body(f"No good: {KEY}\n at all"))))
    assert error.type == "model"
    assert '"No good: *** at all"' in error.sentence
    assert words in error.sentence
    assert status[:3] in error.sentence
    assert provider.base_url.split("/")[2] in error.sentence
    assert len(provider.calls) == 1
    assert sink.calls == []


@pytest.mark.parametrize("status", ["429 Too Many Requests", "500 Oops", "503 Service Unavailable", "529 Busy"])
async def test_a_passing_refusal_is_tried_again_before_the_first_token(status: str) -> None:
    refuses = says(answer(status, b"busy", content_type="text/plain"))
    sink, _, provider = await answered(refuses, refuses, streams(delta("hi"), finish()))
    assert sink.content == "hi"
    assert len(provider.calls) == 3


async def test_retries_are_bounded() -> None:
    error, _, provider = await failed(says(answer("500 Oops", error_body("broken"))), max_retries=1)
    assert len(provider.calls) == 2
    assert '"broken"' in error.sentence


async def test_a_models_own_retries_count_first() -> None:
    async with running(says(answer("500 Oops", b"{}"))) as (engine, provider):
        with pytest.raises(RunFailed):
            await engine.run(request_for(provider, max_retries=0), MemorySink())
    assert len(provider.calls) == 1


async def test_an_exhausted_quota_is_not_tried_again() -> None:
    body = error_body("You exceeded your quota", "insufficient_quota")
    error, _, provider = await failed(says(answer("429 Too Many Requests", body)))
    assert len(provider.calls) == 1
    assert "credit" in error.sentence


async def test_retry_after_is_honoured() -> None:
    moments: list[float] = []

    async def refuses(call: Call) -> None:
        moments.append(trio.current_time())
        await call.send(answer("429 Slow down", error_body("slow down"), "retry-after: 0.2"))

    async def streams_now(call: Call) -> None:
        moments.append(trio.current_time())
        await streams(delta("hi"), finish())(call)

    sink, _, _ = await answered(refuses, streams_now)
    assert sink.content == "hi"
    assert moments[1] - moments[0] >= 0.2


async def test_a_retry_after_that_is_too_long_is_a_refusal() -> None:
    refuses = says(answer("429 Slow down", error_body("come back tomorrow"), "retry-after: 86400"))
    error, _, provider = await failed(refuses)
    assert len(provider.calls) == 1
    assert "come back tomorrow" in error.sentence


async def test_a_dropped_connection_is_tried_again_before_the_first_token() -> None:
    sink, _, provider = await answered(says(), streams(), streams(delta("hi"), finish()))
    assert sink.content == "hi"
    assert len(provider.calls) == 3


async def test_nothing_is_tried_again_after_the_first_token() -> None:
    error, sink, provider = await failed(streams(delta("half of it")))
    assert sink.content == "half of it"
    assert len(provider.calls) == 1
    assert "before the answer was whole" in error.sentence


async def test_a_stream_that_closes_without_an_end_is_an_error() -> None:
    error, sink, _ = await failed(streams(delta("half"), LAST_CHUNK))
    assert (error.type, sink.content) == ("model", "half")
    assert "before the answer was whole" in error.sentence


@pytest.mark.parametrize("payload", [{"error": {"message": "overheated", "code": 500}}, {"error": "overheated"}])
async def test_an_error_within_the_stream_ends_it_behind_its_text(payload: dict[str, Any]) -> None:
    error, sink, _ = await failed(streams(delta("half"), event(payload), delta("never"), finish()))
    assert sink.content == "half"
    assert '"overheated"' in error.sentence


async def test_an_error_object_with_status_200_is_an_error() -> None:
    error, _, _ = await failed(says(answer("200 OK", error_body("model is gone"))), max_retries=0)
    assert '"model is gone"' in error.sentence


@pytest.mark.parametrize(
    "garbage",
    [
        b"data: {\n\n",
        b"data: 42\n\n",
        b'data: {"choices": 7}\n\n',
        b"data: " + b"[" * 5000 + b"\n\n",
        b"data: \xff\n\n",
    ],
)
async def test_a_malformed_event_is_an_error(garbage: bytes) -> None:
    error, sink, _ = await failed(streams(delta("half"), chunk(garbage), delta("never")))
    assert sink.content == "half"
    assert "no chat completion chunk" in error.sentence


async def test_a_line_without_end_is_an_error() -> None:
    error, _, _ = await failed(pours(repeat(chunk(b"x" * 10_000))), max_line=100_000, max_retries=0)
    assert "100000 bytes" in error.sentence


async def test_a_page_instead_of_a_stream_is_an_error() -> None:
    page = says(answer("200 OK", b"<html>Welcome", content_type="text/html; charset=utf-8"))
    error, _, _ = await failed(page)
    assert "text/html instead of an event stream" in error.sentence


async def test_something_that_is_no_http_is_an_error() -> None:
    error, _, _ = await failed(says(b"SSH-2.0-OpenSSH_9.2\r\n"), max_retries=0)
    assert error.type == "model"


async def test_a_redirect_is_not_followed() -> None:
    error, _, provider = await failed(says(answer("302 Found", b"", "location: http://127.0.0.1:1/")))
    assert "redirected" in error.sentence
    assert len(provider.calls) == 1


async def test_a_content_filter_is_an_error_that_says_so() -> None:
    error, sink, _ = await failed(streams(delta("well"), finish("content_filter")))
    assert "content filter" in error.sentence
    assert sink.content == "well"


async def test_a_refusal_of_any_size_is_bounded() -> None:
    error, _, _ = await failed(says(answer("400 Bad", error_body("blah " * 100_000))))
    assert len(error.sentence) < 600


async def test_an_address_where_nobody_listens_is_an_error() -> None:
    async with OpenAIEngine.open(OpenAIConfig(max_retries=1, backoff_s=0)) as engine:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await listeners[0].aclose()
        nobody = ScriptedProvider(f"http://127.0.0.1:{port}/v1", [])
        with pytest.raises(RunFailed, match="could not be reached"):
            await engine.run(request_for(nobody), MemorySink())


@pytest.mark.parametrize("url", ["ftp://x/v1", "localhost", "http://", "http://x:99999/", "http://[::1", "http://x/\n"])
async def test_a_base_url_that_is_none_is_an_error(url: str) -> None:
    async with OpenAIEngine.open() as engine:
        with pytest.raises(RunFailed, match="base URL"):
            await engine.run(request_for(ScriptedProvider(url, [])), MemorySink())


async def test_a_key_with_line_ends_is_an_error_without_the_key() -> None:
    async with OpenAIEngine.open() as engine:
        with pytest.raises(RunFailed) as caught:
            await engine.run(request_for(ScriptedProvider("http://x/v1", []), api_key="a\r\nb: c"), MemorySink())
    assert "b: c" not in str(caught.value)


async def test_a_provider_without_a_first_token_times_out() -> None:
    error, sink, provider = await failed(stalls(EVENT_STREAM, delta(role="assistant")), first_token_s=0.05)
    assert error.type == "timeout"
    assert "said nothing for 0.05 seconds" in error.sentence
    assert sink.calls == []
    assert provider.calls[0].closed.is_set()


async def test_keepalives_do_not_put_the_first_token_off() -> None:
    async def keepalives(call: Call) -> None:
        await call.send(EVENT_STREAM)
        while True:
            await call.send(chunk(b": ping\n\n"))
            await trio.sleep(0.005)

    error, _, _ = await failed(keepalives, first_token_s=0.1)
    assert error.type == "timeout"


async def test_a_provider_that_falls_silent_times_out_and_its_text_is_kept() -> None:
    error, sink, _ = await failed(stalls(EVENT_STREAM, delta("half")), idle_s=0.05)
    assert error.type == "timeout"
    assert "in the middle of the answer" in error.sentence
    assert sink.content == "half"


async def test_the_whole_answer_has_a_time_limit() -> None:
    async def drips(call: Call) -> None:
        await call.send(EVENT_STREAM)
        while True:
            await call.send(delta("."))
            await trio.sleep(0.005)

    error, sink, _ = await failed(drips, timeout_s=0.7)
    assert error.type == "timeout"
    assert "within 0.7 seconds" in error.sentence
    assert sink.content


async def test_waiting_for_the_sink_is_not_the_providers_silence() -> None:
    sink = MemorySink()
    script = streams(delta("a"), finish())
    async with running(script, idle_s=0.5) as (engine, provider), trio.open_nursery() as nursery:
        sink.hold()
        nursery.start_soon(engine.run, request_for(provider), sink)
        await provider.called.wait()
        await trio.sleep(0.8)
        sink.release()
    assert sink.content == "a"


async def test_what_the_sink_raises_goes_through_and_is_not_tried_again() -> None:
    class Full(MemorySink):
        async def text(self, delta: str) -> None:
            raise RunFailed("too long", type="output_limit")

    async with running(stalls(EVENT_STREAM, delta("a"))) as (engine, provider):
        with pytest.raises(RunFailed) as caught:
            await engine.run(request_for(provider), Full())
        await provider.calls[0].closed.wait()
        assert len(provider.calls) == 1
    assert caught.value.type == "output_limit"


async def test_a_blocked_sink_stops_the_reading_of_the_provider() -> None:
    sent = 0

    async def floods(call: Call) -> None:
        nonlocal sent
        await call.send(EVENT_STREAM)
        part = delta("x" * 1000)
        while True:
            await call.send(part)
            sent += len(part)

    sink = MemorySink()
    async with running(floods) as (engine, provider), trio.open_nursery() as nursery:
        sink.hold()
        nursery.start_soon(engine.run, request_for(provider), sink)
        before = -1
        while sent != before or not sent:
            before = sent
            await trio.sleep(0.2)
        assert sink.calls == []
        sink.release()
        await sink.wait_for("x" * (sent // 1100))
        nursery.cancel_scope.cancel()
    # What the kernel's socket buffers took and one read of the engine; no more however long the sink waits.
    assert before < 16_000_000
    assert max(len(text) for _, text in sink.calls) <= 70_000


async def test_cancelling_closes_the_providers_connection() -> None:
    sink = MemorySink()
    async with running(stalls(EVENT_STREAM, delta("half"))) as (engine, provider):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run, request_for(provider), sink)
            await sink.wait_for("half")
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            await provider.calls[0].closed.wait()
    assert sink.content == "half"


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when its task has been scheduled for the n-th time: that is, at its n-th checkpoint."""

    def __init__(self, scope: trio.CancelScope, task: trio.lowlevel.Task, n: int) -> None:
        self.scope, self.task, self.left = scope, task, n

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def cancelled_at(n: int, engine: OpenAIEngine, request: ResponseRequest) -> bool:
    """Run and cancel at the n-th checkpoint; whether there was one."""
    with trio.CancelScope() as scope:
        instrument = CancelAt(scope, trio.lowlevel.current_task(), n)
        trio.lowlevel.add_instrument(instrument)
        try:
            await engine.run(request, MemorySink())
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return scope.cancelled_caught


async def test_cancelled_at_any_checkpoint_no_connection_stays_open() -> None:
    async def script(call: Call) -> None:
        await call.send(EVENT_STREAM)
        for word in ("one ", "two ", "three "):
            await call.send(delta(word))
            await trio.lowlevel.checkpoint()
        await call.send(finish().removesuffix(LAST_CHUNK))
        await until_closed(call)

    async with running(script, linger_s=0.02) as (engine, provider):
        n, seen = 1, 0
        while await cancelled_at(n, engine, request_for(provider)):
            assert not engine._exchange._pool.connections
            with trio.fail_after(10):
                for call in provider.calls[seen:]:
                    await call.closed.wait()
            seen = len(provider.calls)
            n += 1
        assert n > 10


async def test_more_answers_than_connections_wait_for_their_turn() -> None:
    sinks = [MemorySink() for _ in range(6)]
    script, few = streams(delta("hi"), finish()), PoolConfig(max_connections=2)
    async with running(script, pool=few) as (engine, provider), trio.open_nursery() as nursery:
        for sink in sinks:
            nursery.start_soon(engine.run, request_for(provider), sink)
    assert all(sink.content == "hi" for sink in sinks)


@unhurried
@given(st.binary(max_size=200) | st.recursive(JSON_LEAVES, nested, max_leaves=12).map(lambda v: json.dumps(v).encode()))
def test_any_event_is_understood_or_refused(data: bytes) -> None:
    reader = Answer("host", "m", KEY)
    with suppress(Refusal):
        reader.take(ServerSentEvent(data))
    assert all(isinstance(value, str) for _, value in reader.deltas.take())

"""The Chat Shell service on a real socket, as its own client and as raw bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from wegent.core.errors import RunFailed
from wegent.core.ports.executor import Sink
from wegent.engines.offline import OfflineConfig, OfflineEngine
from wegent.engines.remote import RemoteConfig, RemoteEngine
from wegent.engines.sse import EventParser, ServerSentEvent
from wegent.executors.chat_shell_service import ChatShellService, ServiceConfig, make_app
from wegent.protocol.chat_shell import Features, ModelConfig, ModelMessage, ResponseMetadata, ResponseRequest
from wegent.server.ports.engine import Completion, Engine
from wegent.testing.sinks import MemorySink

TOKEN = "the-token"
TEXT = "Grüße 👩‍👩‍👧‍👦 e\u0301 漢字かな"


class Scripted(Engine):
    """An engine that does as a function says."""

    def __init__(self, script: Callable[[Sink], Awaitable[None]]) -> None:
        self.script = script
        self.cancelled = trio.Event()
        self.started = trio.Event()

    async def run(self, request: ResponseRequest, sink: Sink) -> Completion:
        self.started.set()
        try:
            await self.script(sink)
        except trio.Cancelled:
            self.cancelled.set()
            raise
        return Completion("scripted", "stop", {"total_tokens": 3})


async def speak(sink: Sink) -> None:
    await sink.thinking("hm ")
    await sink.thinking("hm")
    await sink.block({"id": "t1", "type": "tool", "tool_name": "add", "tool_input": {"a": 1}, "status": "pending"})
    await sink.block({"id": "t1", "tool_output": 1, "status": "streaming"})
    await sink.block({"id": "t1", "tool_output": 2, "status": "done"})
    for sign in TEXT:
        await sink.text(sign)
    await sink.progress(50)


async def speak_and_wait(sink: Sink) -> None:
    await sink.text("half of it")
    await trio.sleep_forever()


@asynccontextmanager
async def served(engine: Engine, **config: Any) -> AsyncIterator[tuple[str, ChatShellService]]:
    service = ChatShellService({"offline": engine}, ServiceConfig(**({"token": TOKEN} | config)))
    hypercorn = Config()
    hypercorn.bind, hypercorn.errorlog, hypercorn.graceful_timeout = ["127.0.0.1:0"], None, 0.1
    async with trio.open_nursery() as nursery:
        started = partial(serve, make_app(service), hypercorn, mode="asgi", shutdown_trigger=trio.sleep_forever)
        (url,) = await nursery.start(started)
        yield url, service
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def remote(engine: Engine, **config: Any) -> AsyncIterator[tuple[RemoteEngine, ChatShellService]]:
    options = {name: config.pop(name) for name in ("queue_s", "silence_s") if name in config}
    async with (
        served(engine, **config) as (url, service),
        RemoteEngine.open(RemoteConfig(url=url, token=TOKEN, **options)) as client,
    ):
        yield client, service


def asked(message: str = "Hello", request_id: str = "r1", **model: Any) -> ResponseRequest:
    return ResponseRequest(
        model_config=ModelConfig(**({"model_id": "m"} | model)),
        messages=(ModelMessage(role="user", content=message),),
        features=Features(deep_thinking=True),
        metadata=ResponseMetadata(request_id=request_id),
    )


def body(request_id: str = "r1", **more: Any) -> dict[str, Any]:
    return {
        "model_config": {"model_id": "m"},
        "messages": [{"role": "user", "content": "Hello"}],
        "metadata": {"request_id": request_id},
        **more,
    }


@asynccontextmanager
async def call(
    url: str, path: str = "/v1/response", *, method: str = "POST", token: str | None = TOKEN, **request: Any
) -> AsyncIterator[httpx.Response]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, timeout=10) as client,
        client.stream(method, path, **request) as response,
    ):
        yield response


async def until_idle(service: ChatShellService) -> None:
    with trio.fail_after(20):
        while service.chats:  # noqa: ASYNC110 - what is watched is the service's own count
            await trio.sleep(0.01)


async def events_of(response: httpx.Response) -> list[ServerSentEvent]:
    return EventParser().feed(await response.aread())


async def test_what_an_engine_says_arrives_whole_and_in_order() -> None:
    sink = MemorySink()
    async with remote(Scripted(speak)) as (client, _):
        completion = await client.run(asked(), sink)
    assert (sink.content, sink.reasoning) == (TEXT, "hm hm")
    assert completion == Completion("m", "stop", {"total_tokens": 3})
    assert [(block["status"], block.get("tool_output")) for block in sink.blocks] == [
        ("pending", None),
        ("streaming", 1),
        ("done", 2),
    ]
    kinds = [name for name, _ in sink.calls]
    assert kinds.index("thinking") < kinds.index("block") < kinds.index("text")


async def test_the_offline_engine_says_the_same_there_as_here() -> None:
    here, there = MemorySink(), MemorySink()
    engine = OfflineEngine(OfflineConfig(tokens_per_s=0))
    await engine.run(asked("What is a room?"), here)
    async with remote(engine) as (client, _):
        await client.run(asked("What is a room?"), there)
    assert (there.content, there.reasoning) == (here.content, here.reasoning)
    assert [block["status"] for block in there.blocks] == [block["status"] for block in here.blocks]


async def test_the_events_are_those_of_the_protocol() -> None:
    async with served(Scripted(speak)) as (url, _), call(url, json=body()) as response:
        events = await events_of(response)
        assert response.headers["content-type"] == "text/event-stream"
    told = [(event.event, json.loads(event.data)) for event in events]
    assert told[0] == ("response.start", {"id": "r1", "model": "m"})
    ending, last = told[-1]
    assert ending == "response.done"
    assert last | {"id": "r1", "usage": {"total_tokens": 3}, "stop_reason": "stop"} == last
    assert ("tool.start", {"id": "t1", "name": "add", "input": {"a": 1}}) in told
    (done,) = [data for name, data in told if name == "tool.done"]
    assert done.pop("duration_ms") >= 0
    assert done == {"id": "t1", "output": 2, "error": None}


async def test_deltas_that_come_faster_than_they_are_written_are_joined() -> None:
    async def fast(sink: Sink) -> None:
        for n in range(20_000):
            await sink.text(f"{n} ")

    async with served(Scripted(fast)) as (url, _), call(url, json=body()) as response:
        events = await events_of(response)
    texts = [json.loads(event.data)["text"] for event in events if event.event == "content.delta"]
    assert "".join(texts) == "".join(f"{n} " for n in range(20_000))
    assert len(texts) < 20_000


async def test_a_reader_that_stops_reading_holds_the_engine_back() -> None:
    written = 0

    async def flood(sink: Sink) -> None:
        nonlocal written
        while True:
            await sink.text("x" * 1000)
            written += 1000

    sink = MemorySink()
    async with remote(Scripted(flood)) as (client, _), trio.open_nursery() as nursery:
        sink.hold()
        nursery.start_soon(client.run, asked(), sink)
        before = -1
        while written != before or not written:
            before = written
            await trio.sleep(0.2)
        nursery.cancel_scope.cancel()
    assert before < 16_000_000


async def test_an_engine_whose_reader_never_comes_back_is_given_up() -> None:
    async def flood(sink: Sink) -> None:
        while True:
            await sink.text("x" * 1000)

    sink = MemorySink()
    engine = Scripted(flood)
    async with remote(engine, stall_s=0.1) as (client, service), trio.open_nursery() as nursery:
        sink.hold()
        nursery.start_soon(client.run, asked(), sink)
        await engine.started.wait()
        await until_idle(service)
        nursery.cancel_scope.cancel()


async def test_a_chat_can_be_cancelled_by_its_id() -> None:
    engine = Scripted(speak_and_wait)
    async with served(engine) as (url, service), call(url, json=body("chat-1")) as response:
        pieces = response.aiter_bytes()
        await anext(pieces)
        async with call(url, "/v1/response/cancel", json={"request_id": "chat-1"}) as answer:
            assert json.loads(await answer.aread()) == {"success": True}
        rest = b"".join([piece async for piece in pieces])
        await engine.cancelled.wait()
        assert service.chats == 0
        async with call(url, "/v1/response/cancel", json={"request_id": "chat-1"}) as again:
            assert again.status_code == 404
    (event,) = [event for event in EventParser().feed(rest) if event.event.startswith("response.")]
    assert event.event == "response.cancelled"
    assert json.loads(event.data) == {"id": "chat-1", "partial_content": "half of it"}


async def test_a_client_that_goes_away_cancels_the_engine() -> None:
    engine = Scripted(speak_and_wait)
    async with served(engine) as (url, service):
        content = json.dumps(body()).encode()
        host, port = url.removeprefix("http://").split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        head = f"POST /v1/response HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
        await stream.send_all(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        await engine.started.wait()
        await stream.aclose()
        with trio.fail_after(20):
            await engine.cancelled.wait()
        await until_idle(service)


async def test_cancelling_the_executors_side_cancels_the_engine() -> None:
    engine, sink = Scripted(speak_and_wait), MemorySink()
    async with remote(engine) as (client, service):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run, asked(), sink)
            await sink.wait_for("half of it")
            nursery.cancel_scope.cancel()
        with trio.fail_after(20):
            await engine.cancelled.wait()
        await until_idle(service)


async def test_a_full_service_says_503_and_when_to_come_back() -> None:
    engine = Scripted(speak_and_wait)
    async with served(engine, max_concurrent_chats=1, retry_after_s=7) as (url, _), call(url, json=body()):
        await engine.started.wait()
        async with call(url, json=body("r2")) as full:
            assert (full.status_code, full.headers["retry-after"]) == (503, "7")
            assert json.loads(await full.aread())["code"] == "OVERLOADED"


async def test_a_full_service_is_waited_for() -> None:
    leave = trio.Event()

    async def wait(sink: Sink) -> None:
        await leave.wait()
        await sink.text("now")

    sinks = [MemorySink(), MemorySink()]
    engine = Scripted(wait)
    async with (
        remote(engine, max_concurrent_chats=1, retry_after_s=0) as (client, _),
        trio.open_nursery() as nursery,
    ):
        for n, sink in enumerate(sinks):
            nursery.start_soon(client.run, asked(request_id=f"r{n}"), sink)
        await engine.started.wait()
        await trio.sleep(0.05)
        leave.set()
    assert [sink.content for sink in sinks] == ["now", "now"]


async def test_a_service_that_stays_full_fails_the_run_clearly() -> None:
    engine = Scripted(speak_and_wait)
    async with remote(engine, max_concurrent_chats=1, queue_s=0) as (client, _), trio.open_nursery() as nursery:
        nursery.start_soon(client.run, asked(), MemorySink())
        await engine.started.wait()
        with pytest.raises(RunFailed, match="takes no further chat for now") as caught:
            await client.run(asked(request_id="r2"), MemorySink())
        nursery.cancel_scope.cancel()
    assert caught.value.type == "engine_away"


async def test_a_second_chat_of_the_same_id_is_refused() -> None:
    engine = Scripted(speak_and_wait)
    async with served(engine) as (url, _), call(url, json=body()):
        await engine.started.wait()
        async with call(url, json=body()) as second:
            assert second.status_code == 409


@pytest.mark.parametrize("token", [None, "wrong", "the-tokenn", "ü"])
async def test_without_the_token_there_is_no_answer(token: str | None) -> None:
    async with served(Scripted(speak)) as (url, _):
        for path in ("/v1/response", "/v1/response/cancel"):
            headers = [] if token is None else [(b"authorization", b"Bearer " + token.encode())]
            async with call(url, path, token=None, headers=headers, json=body()) as response:
                assert response.status_code == 401
                assert json.loads(await response.aread())["code"] == "NOT_AUTHENTICATED"


async def test_health_needs_no_token() -> None:
    async with served(Scripted(speak)) as (url, _), call(url, "/v1/health", method="GET", token=None) as response:
        assert json.loads(await response.aread()) == {"status": "ok", "chats": 0, "max_concurrent_chats": 50}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"\xff", "JSON"),
        (b'{"messages": "\xff"}', "UTF-8"),
        (b"[" * 100_000, "deeper"),
        (json.dumps({"messages": []}).encode(), "model_config"),
        (json.dumps(body(messages=[])).encode(), "messages"),
        (json.dumps(body(messages=[{"role": "user"}])).encode(), "content"),
        (json.dumps(body(metadata={"request_id": ""})).encode(), "request_id"),
        (json.dumps(body(model_config={"model_id": "m", "engine": "magic"})).encode(), "magic"),
    ],
)
async def test_a_bad_body_is_answered_with_400_and_what_is_wrong(content: bytes, field: str) -> None:
    async with served(Scripted(speak)) as (url, _), call(url, content=content) as response:
        assert response.status_code == 400
        told = json.loads(await response.aread())
    assert told["code"] == "INVALID_PAYLOAD"
    assert field in told["error"]


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with served(Scripted(speak), max_body=1000) as (url, _), call(url, content=b"x" * 2000) as response:
        assert response.status_code == 413


async def test_an_unknown_path_is_answered_as_json() -> None:
    async with served(Scripted(speak)) as (url, _), call(url, "/v1/nothing", method="GET") as response:
        assert response.status_code == 404
        assert json.loads(await response.aread())["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (RunFailed("The provider is gone.", type="timeout"), "timeout", "The provider is gone."),
        (ValueError("secret inside"), "internal", "The engine failed"),
    ],
)
async def test_a_failing_engine_ends_the_stream_with_its_error(error: Exception, kind: str, words: str) -> None:
    async def fail(sink: Sink) -> None:
        await sink.text("half of it")
        raise error

    sink = MemorySink()
    async with remote(Scripted(fail)) as (client, _):
        with pytest.raises(RunFailed) as caught:
            await client.run(asked(), sink)
    assert caught.value.type == kind
    assert words in caught.value.sentence
    assert "secret" not in caught.value.sentence
    assert sink.content == "half of it"


async def test_text_that_is_not_valid_unicode_is_made_valid() -> None:
    async def halves(sink: Sink) -> None:
        await sink.text("a\ud83d")
        await sink.text("\ude00 b\x00 \ud83d")
        await sink.block({"id": "t", "type": "tool", "tool_name": "x", "tool_input": "\ud83d", "status": "done"})

    sink = MemorySink()
    async with remote(Scripted(halves)) as (client, _):
        await client.run(asked(), sink)
    assert sink.content == "a\U0001f600 b\ufffd \ufffd"
    assert sink.blocks[-1]["status"] == "done"


async def test_a_silent_engine_is_shown_to_be_alive() -> None:
    async def ponder(sink: Sink) -> None:
        await trio.sleep(1.5)
        await sink.text("done")

    sink = MemorySink()
    async with remote(Scripted(ponder), ping_s=0.05, silence_s=0.8) as (client, _):
        await client.run(asked(), sink)
    assert sink.content == "done"


async def test_a_wrong_token_fails_the_run_clearly() -> None:
    async with (
        served(Scripted(speak), token="another") as (url, _),
        RemoteEngine.open(RemoteConfig(url=url, token=TOKEN)) as client,
    ):
        with pytest.raises(RunFailed, match="Check the Chat Shell's token") as caught:
            await client.run(asked(), MemorySink())
    assert TOKEN not in str(caught.value)
    assert caught.value.type == "engine_away"

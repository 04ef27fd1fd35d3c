"""The client of a Chat Shell service against a service that misbehaves."""

from __future__ import annotations

import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.engines.remote import RemoteConfig, RemoteEngine
from wegent.engines.sse import encode_event
from wegent.protocol.chat_shell import ModelConfig, ModelMessage, ResponseMetadata, ResponseRequest
from wegent.testing.provider import (
    EVENT_STREAM,
    LAST_CHUNK,
    Call,
    Script,
    ScriptedProvider,
    answer,
    chunk,
    says,
    scripted_provider,
    stalls,
    streams,
    until_closed,
)
from wegent.testing.sinks import MemorySink

REQUEST = ResponseRequest(
    model_config=ModelConfig(model_id="m", api_key="sk-model-key-123"),
    messages=(ModelMessage(role="user", content="Hello"),),
    metadata=ResponseMetadata(request_id="r1"),
)
HALF = chunk(encode_event(b'{"text":"half"}', "content.delta"))
START = chunk(encode_event(b'{"id":"r1","model":"m2"}', "response.start"))


def ends(name: str, data: bytes) -> bytes:
    return chunk(encode_event(data, name)) + LAST_CHUNK


async def failed(
    *scripts: Script, sink: MemorySink | None = None, **config: float
) -> tuple[RunFailed, ScriptedProvider]:
    async with scripted_provider(*scripts) as provider:
        url = provider.base_url.removesuffix("/v1")
        async with RemoteEngine.open(RemoteConfig(url=url, token="t0ken-of-service", **config)) as engine:
            with pytest.raises(RunFailed) as caught:
                await engine.run(REQUEST, sink or MemorySink())
    assert "t0ken" not in caught.value.sentence
    return caught.value, provider


async def test_the_request_is_the_protocols() -> None:
    _, provider = await failed(says(answer("500 Oops", b"")))
    call = provider.calls[0]
    assert call.head.startswith("POST /v1/response HTTP/1.1")
    assert call.body["model_config"]["api_key"] == "sk-model-key-123"
    assert call.body["metadata"] == {"request_id": "r1"}
    assert call.body["messages"] == [{"role": "user", "content": "Hello"}]


async def test_a_stream_without_an_end_is_an_error_behind_its_text() -> None:
    sink = MemorySink()
    error, _ = await failed(streams(START, HALF, LAST_CHUNK), sink=sink)
    assert (error.type, sink.content) == ("engine_away", "half")


async def test_a_connection_that_is_cut_is_an_error_behind_its_text() -> None:
    sink = MemorySink()
    error, _ = await failed(streams(START, HALF), sink=sink)
    assert (error.type, sink.content) == ("engine_away", "half")


async def test_an_error_of_the_answer_keeps_its_type() -> None:
    error, _ = await failed(streams(START, HALF, ends("response.error", b'{"code":"timeout","message":"Too slow."}')))
    assert (error.type, error.sentence) == ("timeout", "Too slow.")


async def test_an_error_of_another_kind_is_the_models() -> None:
    error, _ = await failed(streams(START, ends("response.error", b'{"code":"odd","message":"Odd."}')))
    assert (error.type, error.sentence) == ("model", "Odd.")


async def test_an_answer_that_somebody_else_cancelled_is_an_error() -> None:
    error, _ = await failed(streams(START, ends("response.cancelled", b'{"id":"r1","partial_content":""}')))
    assert "cancelled at the Chat Shell" in error.sentence


@pytest.mark.parametrize("garbage", [b"{", b"7", b'{"text":7}', b"\xff"])
async def test_an_event_that_cannot_be_read_is_an_error(garbage: bytes) -> None:
    sink = MemorySink()
    error, _ = await failed(streams(START, HALF, chunk(encode_event(garbage, "content.delta"))), sink=sink)
    assert "can't be read" in error.sentence
    assert sink.content == "half"


async def test_events_of_unknown_names_are_passed_over() -> None:
    extra = chunk(encode_event(b'{"sources":[1]}', "sources.update") + encode_event(b"{}", "new.event"))
    done = ends("response.done", b'{"id":"r1","usage":null,"stop_reason":null}')
    async with (
        scripted_provider(streams(START, extra, HALF, done)) as provider,
        RemoteEngine.open(RemoteConfig(url=provider.base_url.removesuffix("/v1"))) as engine,
    ):
        completion = await engine.run(REQUEST, sink := MemorySink())
    assert (sink.content, completion.model, completion.usage) == ("half", "m2", {})


async def test_a_service_that_is_away_is_an_error_that_says_so() -> None:
    async with RemoteEngine.open(RemoteConfig(url="http://127.0.0.1:1")) as engine:
        with pytest.raises(RunFailed, match="could not be reached") as caught:
            await engine.run(REQUEST, MemorySink())
    assert caught.value.type == "engine_away"


async def test_a_service_that_falls_silent_is_an_error() -> None:
    sink = MemorySink()
    error, _ = await failed(stalls(EVENT_STREAM, START, HALF), sink=sink, silence_s=1)
    assert "fell silent" in error.sentence
    assert sink.content == "half"


async def test_cancelling_closes_the_connection_and_tells_the_service() -> None:
    async def hang(call: Call) -> None:
        await call.send(EVENT_STREAM + START + HALF)
        await until_closed(call)

    sink = MemorySink()
    async with scripted_provider(hang, says(answer("200 OK", b"{}"))) as provider:
        async with (
            RemoteEngine.open(RemoteConfig(url=provider.base_url.removesuffix("/v1"))) as engine,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(engine.run, REQUEST, sink)
            await sink.wait_for("half")
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            await provider.calls[0].closed.wait()
        assert provider.calls[1].head.startswith("POST /v1/response/cancel HTTP/1.1")
        assert provider.calls[1].body == {"request_id": "r1"}


async def test_a_cancel_that_gets_no_answer_is_not_waited_for_long() -> None:
    async def hang(call: Call) -> None:
        await until_closed(call)

    async with scripted_provider(hang) as provider:
        config = RemoteConfig(url=provider.base_url.removesuffix("/v1"), cancel_s=0.05)
        async with RemoteEngine.open(config) as engine, trio.open_nursery() as nursery:
            nursery.start_soon(engine.run, REQUEST, MemorySink())
            await provider.called.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            await provider.calls[0].closed.wait()

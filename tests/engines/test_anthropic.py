"""The engine `anthropic` against a provider that follows a script, byte by byte."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.asking import CALLED, KEY, TEXT, WEATHER, Asked, ask
from wegent.engines.anthropic import AnthropicEngine
from wegent.engines.failures import Refusal
from wegent.engines.messages import MessagesAnswer
from wegent.engines.sse import EventParser, ServerSentEvent
from wegent.protocol.chat_shell import ModelMessage, ToolCall
from wegent.testing.provider import LAST_CHUNK, Script, answer, chunk, says, stalls, streams

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def told(kind: str, **fields: Any) -> bytes:
    payload = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return f"event: {kind}\ndata: {payload}\n\n".encode()


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        told("content_block_start", index=index, content_block=start),
        *(told("content_block_delta", index=index, delta=delta) for delta in deltas),
        told("content_block_stop", index=index),
    ]


def text_block(index: int, *texts: str) -> list[bytes]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in texts))


START = told("message_start", message={"id": "m1", "model": "scripted", "usage": {"input_tokens": 3}})


def end(reason: str = "end_turn") -> list[bytes]:
    last = told("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 4})
    return [told("ping"), last, told("message_stop")]


def replies(*events: bytes, piece: int | None = None) -> Script:
    return streams(*map(chunk, events), LAST_CHUNK, piece=piece)


async def asked(*scripts: Script, **more: Any) -> Asked:
    return await ask(AnthropicEngine, *scripts, **more)


@pytest.mark.parametrize("piece", [None, 1, 7])
async def test_the_answer_arrives_whole_however_its_bytes_are_split(piece: int | None) -> None:
    done = await asked(replies(START, *text_block(0, *TEXT), *end(), piece=piece))
    assert done.sink.content == TEXT
    assert done.completion is not None
    assert (done.completion.model, done.completion.stop_reason) == ("scripted", "end_turn")
    assert done.completion.usage == {"input_tokens": 3, "output_tokens": 4}
    assert done.completion.tool_calls == ()


async def test_the_request_is_what_the_interface_wants() -> None:
    done = await asked(replies(START, *text_block(0, "hi"), *end()), tools=(WEATHER,), thinking={"type": "adaptive"})
    call = done.calls[0]
    assert call.head.startswith("POST /v1/messages HTTP/1.1")
    assert f"x-api-key: {KEY}" in call.head.lower()
    assert "anthropic-version: 2023-06-01" in call.head.lower()
    assert call.body == {
        "model": "scripted-1",
        "max_tokens": 8192,
        "system": "Be kind.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        "stream": True,
        "tools": [
            {"name": "weather", "description": "Tells the weather.", "input_schema": dict(WEATHER.parameters)},
        ],
        "thinking": {"type": "adaptive"},
    }


async def test_people_and_model_take_turns_and_a_person_begins() -> None:
    said = [("assistant", "Hi"), ("user", "One"), ("user", "Two"), ("assistant", ""), ("user", "Three")]
    messages = tuple(ModelMessage(role=role, content=content) for role, content in said)
    done = await asked(replies(START, *text_block(0, "hi"), *end()), messages=messages)
    turns = [(turn["role"], [part["text"] for part in turn["content"]]) for turn in done.calls[0].body["messages"]]
    assert turns == [("user", ["…"]), ("assistant", ["Hi"]), ("user", ["One", "Two", "Three"])]


async def test_thinking_is_told_apart_from_the_answer() -> None:
    thinking = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm "},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "abc"},
    )
    done = await asked(replies(START, *thinking, *text_block(1, "so"), *end()))
    assert (done.sink.reasoning, done.sink.content) == ("hm hm", "so")


async def test_a_tool_is_called_and_its_turn_goes_back_as_it_came() -> None:
    thinking = block(
        0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "rain?"},
        {"type": "signature_delta", "signature": "s1"},
    )  # fmt: skip
    hidden = block(1, {"type": "redacted_thinking", "data": "xyz"})
    use = block(
        3, {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
        *({"type": "input_json_delta", "partial_json": piece} for piece in ('{"ci', 'ty": "Paris"}')),
    )  # fmt: skip
    parts = [*thinking, *hidden, *text_block(2, "Let me see."), *use]
    first = await asked(replies(START, *parts, *end("tool_use")), tools=(WEATHER,))
    assert first.completion is not None
    calls = first.completion.tool_calls
    assert calls == (ToolCall(id="c1", name="weather", arguments='{"city": "Paris"}'),)

    turn = ModelMessage(role="assistant", content="Let me see.", tool_calls=calls, carried=first.completion.carried)
    output = ModelMessage(role="tool", content="no such city", tool_call_id="c1", failed=True)
    messages = (ModelMessage(role="user", content="Hello"), turn, output)
    second = await asked(replies(START, *text_block(0, "Rain."), *end()), messages=messages, tools=(WEATHER,))
    assert second.calls[0].body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "rain?", "signature": "s1"},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "no such city", "is_error": True},
            ],
        },
    ]


async def test_calls_of_another_engine_are_understood() -> None:
    done = await asked(replies(START, *text_block(0, "Rain."), *end()), messages=CALLED)
    assert done.calls[0].body["messages"][1]["content"] == [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": 1}},
    ]


async def test_a_call_that_was_cut_at_the_most_tokens_is_none() -> None:
    use = block(
        0, {"type": "tool_use", "id": "c1", "name": "weather"}, {"type": "input_json_delta", "partial_json": "{"}
    )
    done = await asked(replies(START, *use, *end("max_tokens")))
    assert done.completion is not None
    assert (done.completion.tool_calls, done.completion.stop_reason) == ((), "max_tokens")


async def test_an_overload_before_the_first_token_is_tried_again() -> None:
    overloaded = told("error", error={"type": "overloaded_error", "message": "Overloaded"})
    busy = says(answer("529 Busy", b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'))
    done = await asked(replies(overloaded), busy, replies(START, *text_block(0, "hi"), *end()))
    assert done.sink.content == "hi"
    assert len(done.calls) == 3


async def test_an_error_within_the_answer_ends_it_behind_its_text() -> None:
    overloaded = told("error", error={"type": "overloaded_error", "message": f"Overloaded {KEY}"})
    done = await asked(replies(START, *text_block(0, "half"), overloaded, *text_block(1, "never"), *end()))
    assert done.sink.content == "half"
    assert done.error is not None
    assert '"Overloaded ***"' in done.error.sentence
    assert len(done.calls) == 1


async def test_a_refusal_says_what_the_provider_said_and_what_to_do() -> None:
    body = b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'
    done = await asked(says(answer("401 Unauthorized", body)))
    assert done.error is not None
    assert '"invalid x-api-key"' in done.error.sentence
    assert "Check the API key" in done.error.sentence


async def test_an_answer_that_the_provider_stopped_says_so() -> None:
    done = await asked(replies(START, *text_block(0, "well"), *end("refusal")))
    assert done.error is not None
    assert "content filter" in done.error.sentence


async def test_a_stream_that_is_cut_is_an_error() -> None:
    done = await asked(replies(START, *text_block(0, "half")))
    assert (done.sink.content, done.error and done.error.type) == ("half", "model")


async def test_a_provider_that_falls_silent_times_out() -> None:
    script = stalls(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", START, *text_block(0, "half"))
    done = await asked(script, idle_s=0.05)
    assert done.error is not None
    assert (done.error.type, done.sink.content) == ("timeout", "half")


async def test_a_base_url_may_end_with_the_version() -> None:
    done = await asked(replies(START, *text_block(0, "hi"), *end()))
    assert "/v1/v1/" not in done.calls[0].head


@unhurried
@given(st.data())
def test_any_chunking_gives_the_same_answer(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text(max_size=8), max_size=6))
    use = block(1, {"type": "tool_use", "id": "c", "name": "n"}, {"type": "input_json_delta", "partial_json": "{}"})
    whole = b"".join([START, *text_block(0, *texts), *use, *end("tool_use")])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=20)))
    parser, reader = EventParser(), MessagesAnswer("host", "m", None)
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        for event in parser.feed(whole[start:stop]):
            reader.take(event)
    assert "".join(value for _, value in reader.deltas.take()) == "".join(texts)
    assert reader.completion().tool_calls == (ToolCall(id="c", name="n", arguments="{}"),)


FIELDS = ["type", "index", "delta", "content_block", "text", "thinking", "error", "usage", "message", "stop_reason"]
LEAVES = st.none() | st.integers() | st.text(max_size=4) | st.sampled_from(
    ["content_block_delta", "message_start", "message_delta", "content_block_start", "tool_use", "error"]
)  # fmt: skip


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)


@unhurried
@given(st.binary(max_size=100) | st.recursive(LEAVES, nested, max_leaves=12).map(lambda v: json.dumps(v).encode()))
def test_any_event_is_understood_or_refused(data: bytes) -> None:
    reader = MessagesAnswer("host", "m", KEY)
    with suppress(Refusal):
        reader.take(ServerSentEvent(data))
        reader.take(ServerSentEvent(data))
    with suppress(Refusal):
        reader.completion()
    assert all(isinstance(value, str) for _, value in reader.deltas.take())

"""The responses format of the engine `openai`, against a provider that follows a script; and its calls of tools."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.asking import CALLED, KEY, TEXT, WEATHER, Asked, ask
from wegent.engines.completions import ChatAnswer
from wegent.engines.failures import Refusal
from wegent.engines.openai import OpenAIEngine
from wegent.engines.responses import ResponsesAnswer
from wegent.engines.sse import EventParser, ServerSentEvent
from wegent.protocol.chat_shell import ApiFormat, ModelMessage, ToolCall
from wegent.testing.provider import LAST_CHUNK, Script, chunk, delta, finish, streams

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
WHEN = ToolCall(id="c1", name="weather", arguments='{"city": "Paris"}')


def told(kind: str, **fields: Any) -> bytes:
    payload = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return f"event: {kind}\ndata: {payload}\n\n".encode()


def text(*texts: str) -> list[bytes]:
    return [told("response.output_text.delta", delta=each, output_index=0) for each in texts]


def item(index: int, **fields: Any) -> bytes:
    return told("response.output_item.done", output_index=index, item=fields)


CREATED = told("response.created", response={"id": "r", "model": "scripted", "usage": None})
COMPLETED = told("response.completed", response={"model": "scripted", "usage": {"total_tokens": 7}})
CALLS = item(1, type="function_call", id="fc", call_id=WHEN.id, name=WHEN.name, arguments=WHEN.arguments)


def replies(*events: bytes, piece: int | None = None) -> Script:
    return streams(*map(chunk, events), LAST_CHUNK, piece=piece)


async def asked(*scripts: Script, **more: Any) -> Asked:
    return await ask(OpenAIEngine, *scripts, model={"api_format": ApiFormat.RESPONSES}, **more)


@pytest.mark.parametrize("piece", [None, 1, 7])
async def test_the_answer_arrives_whole_however_its_bytes_are_split(piece: int | None) -> None:
    thoughts = [
        told("response.reasoning_summary_part.added", summary_index=0),
        told("response.reasoning_summary_text.delta", delta="hm"),
        told("response.reasoning_summary_part.added", summary_index=1),
        told("response.reasoning_summary_text.delta", delta="so"),
    ]
    done = await asked(replies(CREATED, *thoughts, *text(*TEXT), COMPLETED, piece=piece))
    assert (done.sink.content, done.sink.reasoning) == (TEXT, "hm\n\nso")
    assert done.completion is not None
    assert (done.completion.model, done.completion.stop_reason) == ("scripted", "stop")
    assert done.completion.usage == {"total_tokens": 7}


async def test_the_request_is_what_the_interface_wants() -> None:
    done = await asked(replies(CREATED, *text("hi"), COMPLETED), tools=(WEATHER,), max_output_tokens=5)
    assert done.calls[0].head.startswith("POST /v1/responses HTTP/1.1")
    assert done.calls[0].body == {
        "model": "scripted-1",
        "instructions": "Be kind.",
        "input": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "store": False,
        "max_output_tokens": 5,
        "tools": [
            {
                "type": "function",
                "name": "weather",
                "description": "Tells the weather.",
                "parameters": dict(WEATHER.parameters),
            }
        ],
    }


async def test_a_tool_is_called_and_its_turn_goes_back_with_the_output() -> None:
    reasoning = item(0, type="reasoning", id="rs", encrypted_content="xyz", summary=[])
    begun = told("response.function_call_arguments.delta", delta='{"', output_index=1)
    first = await asked(replies(CREATED, reasoning, begun, CALLS, COMPLETED), tools=(WEATHER,))
    assert first.completion is not None
    assert first.completion.tool_calls == (WHEN,)
    turn = ModelMessage(role="assistant", content="", tool_calls=(WHEN,), carried=first.completion.carried)
    messages = (CALLED[0], turn, ModelMessage(role="tool", content="rain", tool_call_id="c1"))
    second = await asked(replies(CREATED, *text("Rain."), COMPLETED), messages=messages)
    assert second.calls[0].body["input"][1:] == [
        {"type": "reasoning", "id": "rs", "encrypted_content": "xyz", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": WHEN.arguments},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]


async def test_an_incomplete_answer_says_why_and_makes_no_calls() -> None:
    last = told("response.incomplete", response={"incomplete_details": {"reason": "max_output_tokens"}})
    done = await asked(replies(CREATED, *text("half"), CALLS, last))
    assert done.completion is not None
    assert (done.completion.stop_reason, done.completion.tool_calls) == ("max_output_tokens", ())


@pytest.mark.parametrize(
    "failure",
    [
        told("response.failed", response={"error": {"code": "server_error", "message": f"broken {KEY}"}}),
        told("error", code="server_error", message=f"broken {KEY}"),
    ],
)
async def test_a_failure_within_the_answer_ends_it_behind_its_text(failure: bytes) -> None:
    done = await asked(replies(CREATED, *text("half"), failure, *text("never"), COMPLETED))
    assert done.sink.content == "half"
    assert done.error is not None
    assert '"broken ***"' in done.error.sentence


async def test_a_stream_that_is_cut_is_an_error() -> None:
    done = await asked(replies(CREATED, *text("half")))
    assert (done.sink.content, done.error and done.error.type) == ("half", "model")


async def test_a_chat_completion_calls_tools_in_pieces_whole_or_all_numbered_alike() -> None:
    pieces = [
        delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"city":'}}]),
        delta(tool_calls=[{"index": 1, "id": "c2", "function": {"name": "weather", "arguments": "{}"}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ' "Paris"}'}}]),
        delta(tool_calls=[{"index": 0, "id": "c3", "function": {"name": "weather", "arguments": "{}"}}]),
    ]
    done = await ask(OpenAIEngine, streams(*pieces, finish("tool_calls")), tools=(WEATHER,))
    assert done.completion is not None
    calls = [(call.id, call.arguments) for call in done.completion.tool_calls]
    assert calls == [("c1", '{"city": "Paris"}'), ("c2", "{}"), ("c3", "{}")]
    assert done.calls[0].body["tools"][0]["function"]["name"] == "weather"


async def test_a_chat_completion_is_told_of_calls_and_outputs() -> None:
    done = await ask(OpenAIEngine, streams(delta("Rain."), finish()), messages=CALLED)
    assert done.calls[0].body["messages"][2:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": 1}'}},
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
    ]


async def test_arguments_without_end_are_an_error() -> None:
    pieces = [delta(tool_calls=[{"index": 0, "function": {"name": "w", "arguments": "x" * 100_000}}])] * 12
    done = await ask(OpenAIEngine, streams(*pieces, finish("tool_calls")))
    assert done.error is not None
    assert "than can be held" in done.error.sentence


async def test_a_call_under_way_is_no_silence_before_the_first_token() -> None:
    piece = delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "w", "arguments": " "}}])

    async def slowly(call: Any) -> None:
        await streams(piece)(call)
        await call.send(piece)
        await call.send(finish("tool_calls"))

    done = await ask(OpenAIEngine, slowly, first_token_s=5)
    assert done.completion is not None
    assert len(done.completion.tool_calls) == 1


@unhurried
@given(st.data())
def test_any_chunking_gives_the_same_answer(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text(max_size=8), max_size=6))
    whole = b"".join([CREATED, *text(*texts), CALLS, COMPLETED])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=20)))
    parser, reader = EventParser(), ResponsesAnswer("host", "m", None)
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        for event in parser.feed(whole[start:stop]):
            reader.take(event)
    assert "".join(value for _, value in reader.deltas.take()) == "".join(texts)
    assert reader.completion().tool_calls == (WHEN,)


FIELDS = ["type", "delta", "item", "response", "error", "usage", "output_index", "tool_calls", "choices", "function"]
LEAVES = st.none() | st.integers() | st.text(max_size=4) | st.sampled_from(
    ["response.completed", "response.failed", "response.output_item.done", "function_call", "error"]
)  # fmt: skip


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)


@unhurried
@given(st.binary(max_size=100) | st.recursive(LEAVES, nested, max_leaves=12).map(lambda v: json.dumps(v).encode()))
def test_any_event_is_understood_or_refused(data: bytes) -> None:
    for reader in (ResponsesAnswer("host", "m", KEY), ChatAnswer("host", "m", KEY)):
        with suppress(Refusal):
            reader.take(ServerSentEvent(data))
        with suppress(Refusal):
            reader.completion()
        assert all(isinstance(value, str) for _, value in reader.deltas.take())

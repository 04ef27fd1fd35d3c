"""The official client of OpenAI's Responses API, unchanged, talks to a team."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.serving import Server, serving, until

MODEL = "default#assistant"
MESSAGE_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("responses"), "offline.tokens_per_s=200") as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/api/v1", api_key=server.login(), max_retries=0, timeout=30) as found:
        yield found


def test_an_answer_is_created_and_retrieved(client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="/long 5", metadata={"a": "b"})
    assert (made.status, made.model, made.metadata) == ("completed", MODEL, {"a": "b"})
    assert len(made.output_text) > 20
    found = client.responses.retrieve(made.id)
    assert (found.id, found.output_text, found.status) == (made.id, made.output_text, "completed")


def test_a_stream_has_every_event_in_its_order(client: openai.OpenAI) -> None:
    text, kinds, numbers = "", [], []
    for event in client.responses.create(model="assistant", input="/long 8", stream=True):
        numbers.append(event.sequence_number)
        if not kinds or kinds[-1] != event.type:
            kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            assert event.response.output_text == text
    assert kinds == MESSAGE_EVENTS
    assert numbers == list(range(len(numbers)))


def test_the_helper_that_gathers_a_stream_gathers_thinking_too(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="/think") as stream:
        kinds = {event.type for event in stream}
        gathered = stream.get_final_response()
    assert {"response.reasoning_text.delta", "response.reasoning_text.done"} <= kinds
    assert [item.type for item in gathered.output] == ["reasoning", "message"]
    found = client.responses.retrieve(gathered.id)
    assert found.output_text == gathered.output_text
    assert [item.id for item in found.output] == [item.id for item in gathered.output]
    assert found.output[0] == gathered.output[0]


def test_a_response_is_followed_from_its_beginning_whether_it_runs_or_has_ended(client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="/long 30", background=True)
    for _ in range(2):
        events = list(client.responses.retrieve(made.id, stream=True))
        assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert text == client.responses.retrieve(made.id).output_text


def test_a_conversation_goes_on(client: openai.OpenAI, server: Server) -> None:
    first = client.responses.create(model=MODEL, input="/long 1")
    second = client.responses.create(model=MODEL, input="/long 2", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    items: Any = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "two"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "/long 3"}]},
    ]
    third = client.responses.create(model=MODEL, input=items, instructions="Be brief.", previous_response_id=second.id)
    assert third.output_text
    tasks = server.get("/tasks", client.api_key)["items"]
    rows = server.get(f"/tasks/{tasks[0]['id']}", client.api_key)["subtasks"]
    said = [row["prompt"] for row in rows if row["role"] == "USER"]
    assert said == ["/long 1", "/long 2", "/long 3"]


def test_a_response_is_cancelled_while_it_streams(client: openai.OpenAI) -> None:
    kinds = []
    for event in client.responses.create(model=MODEL, input="/long 2000", stream=True):
        kinds.append(event.type)
        if kinds.count("response.output_text.delta") == 3 and event.type == "response.output_text.delta":
            cancelled = client.responses.cancel(f"resp_{event.item_id.removeprefix('msg_')}")
            assert cancelled.status in ("in_progress", "cancelled")
    assert kinds[-1] == "response.incomplete"
    assert client.responses.retrieve(cancelled.id).status == "cancelled"


def test_work_in_the_background_and_a_connection_that_is_cut(client: openai.OpenAI, server: Server) -> None:
    made = client.responses.create(model=MODEL, input="/long 3", background=True)
    assert made.status in ("queued", "in_progress", "completed")
    until(lambda: client.responses.retrieve(made.id).status == "completed")
    stream = client.responses.create(model=MODEL, input="/long 20", stream=True)
    cut = next(iter(stream)).response.id
    stream.close()
    until(lambda: client.responses.retrieve(cut).status == "completed")
    metrics = f"{server.url}/metrics"
    until(lambda: 'transport="sse"} 0.0' in httpx.get(metrics).text)


@pytest.mark.parametrize(
    ("wrong", "error", "word"),
    [
        ({"model": "default#nobody"}, openai.NotFoundError, "team"),
        ({"previous_response_id": "resp_999999"}, openai.NotFoundError, "resp_999999"),
        ({"previous_response_id": "chat_1"}, openai.NotFoundError, "resp_"),
        ({"input": ""}, openai.BadRequestError, "input"),
        ({"input": [{"role": "assistant", "content": "x"}]}, openai.BadRequestError, "role user"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            openai.BadRequestError,
            "input_text",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]},
            openai.BadRequestError,
            "message",
        ),
        ({"tools": [{"type": "web_search"}]}, openai.BadRequestError, "tools"),
        ({"store": False}, openai.BadRequestError, "store"),
    ],
)
def test_what_can_not_be_done_is_told(client: openai.OpenAI, wrong: Any, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        client.responses.create(**{"model": MODEL, "input": "hi", **wrong})


def test_strangers_learn_nothing(client: openai.OpenAI, server: Server) -> None:
    made = client.responses.create(model=MODEL, input="/long 1")
    command = [
        sys.executable,
        "-m",
        "wegent.cli.main",
        "user",
        "add",
        "eve",
        "--data",
        str(server.data),
        "--password-stdin",
    ]
    subprocess.run(command, input="a long enough word\n", text=True, check=True, capture_output=True)
    eve = client.with_options(api_key=server.login("eve", "a long enough word"))
    for call in (eve.responses.retrieve, eve.responses.cancel):
        with pytest.raises(openai.NotFoundError, match=f"you have no response {made.id}"):
            call(made.id)
    with pytest.raises(openai.NotFoundError):
        eve.responses.create(model=MODEL, input="hi", previous_response_id=made.id)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="nonsense").responses.retrieve(made.id)

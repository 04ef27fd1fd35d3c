"""A run followed over server-sent events by a plain HTTP client, and by a stock client on the same positions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio

from tests.e2e.serving import Server, serving, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("sse"), "offline.tokens_per_s=200") as found:
        yield found


def send(server: Server, token: str, text: str, **more: Any) -> dict[str, Any]:
    body = {"team_id": server.team(token), "message": text, **more}
    answer = httpx.post(f"{server.url}/api/v1/tasks", json=body, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


class Reader:
    """What came, and where it stands."""

    def __init__(self, text: str = "", last: str = "") -> None:
        self.text = text
        self.last = last
        self.events: list[str] = []
        self.status: int | None = None

    def read(self, server: Server, token: str, task_id: int, *, most: int = 10_000, **query: Any) -> Reader:
        """Follow to the end, or for `most` events."""
        headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": self.last} if self.last else {})
        url = f"{server.url}/api/v1/tasks/{task_id}/stream"
        with httpx.stream("GET", url, params=query, headers=headers, timeout=30) as answer:
            self.status = answer.status_code
            if answer.status_code != 200:
                answer.read()
                self.text = answer.text
                return self
            assert answer.headers["content-type"].startswith("text/event-stream")
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "event" in fields:
                    self._take(fields)
                    fields = {}
                    if len(self.events) >= most:
                        break
        return self

    def _take(self, fields: dict[str, str]) -> None:
        data = json.loads(fields["data"])
        self.events.append(fields["event"])
        if "id" in fields:
            self.last = fields["id"]
        if fields["event"] == "chat:chunk":
            assert data["offset"] == len(self.text), "a gap or a repeat"
            self.text += data["content"]
            assert fields["id"] == f"{data['subtask_id']}.{data['attempt']}.{len(self.text)}"
        elif fields["event"] == "chat:done":
            assert data["result"]["value"] == self.text


def test_a_run_is_followed_to_its_end(server: Server) -> None:
    token = server.login()
    sent = send(server, token, "/long 30")
    reader = Reader().read(server, token, sent["task_id"])
    assert reader.events[-1] == "chat:done"
    assert len(reader.text) > 150
    again = Reader().read(server, token, sent["task_id"], subtask_id=sent["assistant_subtask_id"])
    assert (again.text, again.events[-1]) == (reader.text, "chat:done")


def test_a_stream_that_broke_goes_on_where_it_was(server: Server) -> None:
    token = server.login()
    sent = send(server, token, "/emoji")
    reader, parts = Reader(), 0
    while "chat:done" not in reader.events:
        reader.events.clear()
        reader.read(
            server, token, sent["task_id"], most=3, **({} if parts else {"subtask_id": sent["assistant_subtask_id"]})
        )
        parts += 1
    assert parts > 2


def test_a_position_of_a_socket_is_one_here_and_the_other_way_round(server: Server) -> None:
    token = server.login()
    chunks: list[dict[str, Any]] = []
    done: list[dict[str, Any]] = []
    client = socketio.Client(reconnection=False)
    client.on("chat:chunk", chunks.append, namespace="/chat")
    client.on("chat:done", done.append, namespace="/chat")
    client.connect(server.url, namespaces=["/chat"], auth={"token": token}, transports=["websocket"])
    sent = client.call("chat:send", {"team_id": server.team(token), "message": "/long 60"}, namespace="/chat")
    until(lambda: len(chunks) >= 5)
    client.disconnect()
    text = "".join(chunk["content"] for chunk in chunks)
    reader = Reader(text)
    reader.read(
        server, token, sent["task_id"], most=8, subtask_id=sent["assistant_subtask_id"], attempt=1, offset=len(text)
    )
    assert len(reader.text) > len(text)

    subtask_id, attempt, offset = map(int, reader.last.split("."))
    chunks.clear()
    client = socketio.Client(reconnection=False)
    client.on("chat:chunk", chunks.append, namespace="/chat")
    client.on("chat:done", done.append, namespace="/chat")
    client.connect(server.url, namespaces=["/chat"], auth={"token": token}, transports=["websocket"])
    position = {"task_id": sent["task_id"], "subtask_id": subtask_id, "attempt": attempt, "offset": offset}
    assert client.call("chat:resume", position, namespace="/chat")["offset"] == len(reader.text)
    until(lambda: done)
    client.disconnect()
    assert done[0]["result"]["value"] == reader.text + "".join(chunk["content"] for chunk in chunks)


def test_a_reader_goes_on_after_the_server_was_stopped_and_started(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "offline.tokens_per_s=100", "kernel.drain_timeout=1") as server:
        token = server.login()
        task_id = send(server, token, "/long 300")["task_id"]
        reader = Reader()
        reading = threading.Thread(target=reader.read, args=[server, token, task_id])
        reading.start()
        until(lambda: len(reader.text) > 100)
        server.end()
        reading.join(10)
        assert not reading.is_alive(), "the stream did not end with the server"
        assert reader.events[-1] in ("chat:chunk", "chat:error")
        server.start()
        reader.read(server, token, task_id)
        assert reader.events[-1] == "chat:error", "its run had ended with the server"


def test_without_a_run_the_next_one_is_followed(server: Server) -> None:
    token = server.login()
    sent = send(server, token, "/long 1")
    task_id = sent["task_id"]
    Reader().read(server, token, task_id, subtask_id=sent["assistant_subtask_id"])
    reader = Reader()
    waiting = threading.Thread(target=reader.read, args=[server, token, task_id])
    waiting.start()
    metrics = f"{server.url}/metrics"
    until(lambda: 'wegent_connections{namespace="/chat",transport="sse"} 1.0' in httpx.get(metrics).text)
    answer = httpx.post(
        f"{server.url}/api/v1/tasks/{task_id}/messages",
        json={"message": "/long 5"},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 201
    waiting.join(20)
    assert (reader.events[0], reader.events[-1]) == ("chat:start", "chat:done")
    until(lambda: 'wegent_connections{namespace="/chat",transport="sse"} 0.0' in httpx.get(metrics).text)


@pytest.mark.parametrize(
    ("query", "last", "status", "word"),
    [
        ({"offset": 3}, "", 400, "subtask_id"),
        ({"subtask_id": "x"}, "", 400, "subtask_id"),
        ({}, "1.2", 400, "SUBTASK.ATTEMPT.OFFSET"),
        ({}, "0.1.0", 400, "SUBTASK.ATTEMPT.OFFSET"),
        ({"subtask_id": 999_999}, "", 404, "999999"),
    ],
)
def test_a_place_that_is_none_is_refused(
    server: Server, query: dict[str, Any], last: str, status: int, word: str
) -> None:
    token = server.login()
    task_id = send(server, token, "/long 1")["task_id"]
    reader = Reader(last=last).read(server, token, task_id, **query)
    assert reader.status == status
    assert word in reader.text


def test_nobody_follows_what_is_not_theirs(server: Server, tmp_path: Path) -> None:
    token = server.login()
    task_id = send(server, token, "/long 1")["task_id"]
    for wrong, status in (("nonsense", 401), (token, 404)):
        reader = Reader().read(server, wrong, task_id if status == 401 else task_id + 1_000)
        assert reader.status == status

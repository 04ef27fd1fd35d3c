"""Clients that people have already, unchanged, against the real server."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import socketio
from websockets.sync.client import connect

from tests.e2e.serving import Server

NODE = Path(__file__).parent.parent / "node"
ENDINGS = ("chat:done", "chat:error", "chat:cancelled")
TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]]


def judge(events: list[tuple[str, Any]], subtask_id: int) -> str:
    """The text that the events of one run make, checked to come in order, once and whole; its ending is COMPLETED."""
    text, names = "", [name for name, payload in events if payload.get("subtask_id") == subtask_id]
    for name, payload in events:
        if payload.get("subtask_id") == subtask_id and name == "chat:chunk":
            assert payload["offset"] == len(text)
            text += payload["content"]
        elif payload.get("subtask_id") == subtask_id and name in ENDINGS:
            assert name == "chat:done"
            assert payload["result"]["value"] == text
            assert payload["offset"] == len(text)
    assert names[0] == "chat:start"
    assert names[-1] == "chat:done"
    return text


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
def test_python_socketio_client_sends_and_streams(server: Server, transports: list[str]) -> None:
    token = server.login()
    events: queue.Queue[tuple[str, Any]] = queue.Queue()
    client = socketio.Client(reconnection=False)
    client.on("*", lambda name, payload: events.put((name, payload)), namespace="/chat")
    client.connect(server.url, namespaces=["/chat"], auth={"token": token}, transports=transports)
    try:
        sent = client.call(
            "chat:send", {"team_id": server.team(token), "message": "/emoji"}, namespace="/chat", timeout=10
        )
        got = []
        while not got or not (got[-1][0] == "task:status" and got[-1][1]["status"] == "COMPLETED"):
            got.append(events.get(timeout=20))
        text = judge([each for each in got if each[0].startswith("chat:")], sent["assistant_subtask_id"])
        assert not text.isascii()
        joined = client.call("task:join", {"task_id": sent["task_id"]}, namespace="/chat", timeout=10)
        assert joined["subtasks"][-1]["result"]["value"] == text
    finally:
        client.disconnect()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
def test_socket_io_client_of_node_sends_and_streams(server: Server, transports: list[str]) -> None:
    if not (NODE / "node_modules/socket.io-client").is_dir():
        pytest.skip("tests/node has no packages: make test installs them")
    token = server.login()
    command = ["node", "stock_client.js", server.url, token, str(server.team(token)), ",".join(transports)]
    told = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr + told.stdout
    answer = json.loads(told.stdout.splitlines()[-1])
    assert answer["transport"] == transports[-1]
    text = judge([(name, payload) for name, payload in answer["events"]], answer["ack"]["assistant_subtask_id"])
    assert not text.isascii()
    assert answer["refused"] == {"message": "Invalid or expired token", "code": "NOT_AUTHENTICATED"}


def test_websockets_client_sends_and_streams_over_the_raw_transport(server: Server) -> None:
    token = server.login()
    with connect(f"ws://127.0.0.1:{server.port}/ws/chat") as client:
        client.send(json.dumps({"auth": {"token": token}}))
        ready = json.loads(client.recv(10))["ready"]
        assert ready["ping_interval"] == 25
        payload = {"team_id": server.team(token), "message": "/emoji"}
        client.send(json.dumps({"event": "chat:send", "data": payload, "id": 1}))
        events: list[tuple[str, Any]] = []
        ack = None
        while not events or events[-1][0] not in ENDINGS:
            message = json.loads(client.recv(20))
            if "ack" in message:
                ack = message["data"]
            else:
                events.append((message["event"], message["data"]))
        assert ack is not None
        assert not judge(events, ack["assistant_subtask_id"]).isascii()


def test_a_position_left_on_one_transport_resumes_on_the_other(server: Server) -> None:
    token = server.login()
    client = socketio.SimpleClient(reconnection=False)
    client.connect(server.url, namespace="/chat", auth={"token": token}, transports=["websocket"])
    sent = client.call("chat:send", {"team_id": server.team(token), "message": "/long 600"}, timeout=10)
    text = ""
    while len(text) < 50:
        name, *payload = client.receive(timeout=10)
        text += payload[0]["content"] if name == "chat:chunk" else ""
    client.disconnect()
    with connect(
        f"ws://127.0.0.1:{server.port}/ws/chat", additional_headers={"Authorization": f"Bearer {token}"}
    ) as raw:
        assert "ready" in json.loads(raw.recv(10))
        payload = {"task_id": sent["task_id"], "subtask_id": sent["assistant_subtask_id"], "offset": len(text)}
        raw.send(json.dumps({"event": "chat:resume", "data": payload, "id": "r"}))
        ack = json.loads(raw.recv(10))
        assert ack["ack"] == "r"
        assert ack["data"]["offset"] == len(text)
        while True:
            message = json.loads(raw.recv(20))
            if message["event"] == "chat:chunk":
                assert message["data"]["offset"] == len(text)
                text += message["data"]["content"]
            elif message["event"] == "chat:done":
                assert message["data"]["result"]["value"] == text
                return

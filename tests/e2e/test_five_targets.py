"""One agent on every target: a stock client is told the same, whether it runs in the server, a process, a container, on
an executor host or on a device.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest
import socketio

from tests.e2e.serving import Server
from tests.e2e.targets import DEVICE, agents, device, hosting, serving_targets, team_of
from tests.executors.docker_engine import DockerDaemon
from wegent.testing.executor_contract import AGENT, CONTRACT

TARGETS = ("local", "process", "docker", "host", "device")
CONTENT = "Grüß 👋🏽 You are in Zürich. Nobody answered."


@pytest.fixture(scope="module")
def server(docker_session: DockerDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with all executors, a host and a device."""
    docker_session.start()
    home = tmp_path_factory.mktemp("targets")
    setting = agents("process", CONTRACT, AGENT)
    with (
        serving_targets(docker_session, home, CONTRACT, agent=AGENT) as running,
        hosting(running, home, setting),
        device(running, home, setting),
    ):
        yield running


def chat(server: Server, target: str) -> list[tuple[str, Any]]:
    """All that a stock client is told of one run, which it helps with a skill and refuses another."""
    heard: queue.Queue[tuple[str, Any]] = queue.Queue()
    client = socketio.Client(reconnection=False)

    def hear(name: str, payload: Any) -> None:
        heard.put((name, payload))
        if name == "skill:request":
            helped = payload["action"] == "where"
            answer = {"result": {"city": "Zürich"}} if helped else {"error": "Nobody is there."}
            response = {"request_id": payload["request_id"], "success": helped, **answer}
            client.emit("skill:response", response, namespace="/chat")

    client.on("*", hear, namespace="/chat")
    client.connect(server.url, namespaces=["/chat"], auth={"token": server.login()}, transports=["websocket"])
    try:
        asked = {"team_id": team_of(server, target), "message": "everything"}
        where = {"device_id": DEVICE} if target == "device" else {}
        client.call("chat:send", {**asked, **where}, namespace="/chat", timeout=10)
        events = []
        while not events or events[-1][1].get("status") != "COMPLETED":
            events.append(heard.get(timeout=30))
            assert events[-1][0] != "chat:error", events[-1]
        return events
    finally:
        client.disconnect()


class Told:
    """Events of a run without what is of one run alone: ids, times, into how many chunks its words were put, and which
    forms of a value nobody was told, since it was changed while they waited to be sent.
    """

    def __init__(self, events: list[tuple[str, Any]]) -> None:
        self.said: list[tuple[str, Any]] = []
        for name, payload in events:
            if name == "chat:chunk":
                self._chunk(payload)
            elif name == "skill:request":
                self.said.append((name, {key: payload[key] for key in ("skill_name", "action", "data")}))
            elif name.startswith("chat:"):
                self.said.append((name, _without_ids(payload)))
            elif name == "task:status":
                self.said.append((name, payload["status"]))

    def _chunk(self, payload: dict[str, Any]) -> None:
        result = payload.get("result", {})
        self._text("thinking", result.get("thinking", {}).get("content"))
        self._text("content", payload["content"])
        for block in result.get("blocks", ()):
            self._value("block", {key: item for key, item in block.items() if key not in ("version", "timestamp")})
        for kind in ("app", "progress"):
            if kind in result:
                self._value(kind, result[kind])

    def _text(self, channel: str, text: str | None) -> None:
        if text:
            before = self.said.pop()[1] if self.said[-1][0] == channel else ""
            self.said.append((channel, before + text))

    def _value(self, kind: str, value: Any) -> None:
        """Values between two pieces of text are told in any number of chunks, of which each has no order."""
        if self.said[-1][0] != "values":
            self.said.append(("values", {}))
        self.said[-1][1][kind] = value


def _without_ids(payload: dict[str, Any]) -> dict[str, Any]:
    result = dict(payload.get("result", {}))
    result["blocks"] = [each["tool_output"] for each in result.get("blocks", ())]
    return {"attempt": payload["attempt"], "offset": payload.get("offset"), "result": result}


@pytest.fixture(scope="module")
def expected(server: Server) -> list[tuple[str, Any]]:
    return Told(chat(server, "process")).said


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_tells_the_same_in_the_same_order(
    server: Server, expected: list[tuple[str, Any]], target: str
) -> None:
    told = Told(chat(server, target)).said
    assert told == expected
    names = [name for name, _ in told]
    assert names == [
        *("task:status", "chat:start", "task:status", "thinking", "content", "values", "skill:request", "content"),
        *("skill:request", "content", "values", "chat:done", "task:status"),
    ]
    assert set(told[5][1]) == {"block", "progress", "app"}
    assert "".join(what for name, what in told if name == "content") == CONTENT
    assert dict(told)["chat:done"]["result"]["value"] == CONTENT

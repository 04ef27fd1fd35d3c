"""A server that is killed, or stopped in order, with a stream under way."""

from __future__ import annotations

import gc
import queue
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import socketio

from tests.e2e.serving import Server, serving, until

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning"
)  # the stock client's, see `leftovers`


class Viewer:
    """A stock client that reconnects by itself and joins its task again, as front ends do."""

    def __init__(self, server: Server, token: str) -> None:
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.task_id: int | None = None
        self.joined: list[dict[str, Any]] = []
        self.client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.3)
        self.client.on("*", lambda name, payload: self.events.put((name, payload)), namespace="/chat")
        self.client.on("connect", self._connected, namespace="/chat")
        self.client.connect(server.url, namespaces=["/chat"], auth={"token": token}, transports=["websocket"])

    def _connected(self) -> None:
        if self.task_id is not None:
            self.joined.append(self.call("task:join", {"task_id": self.task_id}))

    def call(self, event: str, payload: Any) -> Any:
        return self.client.call(event, payload, namespace="/chat", timeout=10)

    def text(self, length: int) -> str:
        """The text that streams in, until it has at least this length."""
        text = ""
        while len(text) < length:
            name, payload = self.events.get(timeout=20)
            if name == "chat:chunk":
                assert payload["offset"] == len(text)
                text += payload["content"]
        return text


@pytest.fixture(autouse=True)
def leftovers() -> Iterator[None]:
    """The stock client leaves its socket to the garbage collector when the server is killed."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with serving(tmp_path / "data", "offline.tokens_per_s=100", "kernel.drain_timeout=1") as running:
        yield running


def test_killed_server_ends_its_runs_at_the_next_start_with_what_was_written(server: Server) -> None:
    token = server.login()
    viewer = Viewer(server, token)
    try:
        sent = viewer.call("chat:send", {"team_id": server.team(token), "message": "/long 2000"})
        viewer.task_id = sent["task_id"]
        started = time.monotonic()
        text = viewer.text(600)
        rate = len(text) / (time.monotonic() - started)
        server.end(signal.SIGKILL)
        server.start()
        started = time.monotonic()
        joined = until(lambda: viewer.joined, within=15)[0]
        assert time.monotonic() - started < 5.0
        row = next(row for row in joined["subtasks"] if row["id"] == sent["assistant_subtask_id"])
        assert (row["status"], row["error_type"]) == ("FAILED", "worker_lost")
        kept = row["result"]["value"]
        assert kept.startswith(text[: len(kept)]) or text.startswith(kept)
        assert len(kept) >= len(text) - 2.5 * rate, "saved at least once a second"
        assert joined["streaming"] is None
        again = viewer.call(
            "chat:send", {"task_id": sent["task_id"], "team_id": server.team(token), "message": "/emoji"}
        )
        assert again["message_id"] == 3
    finally:
        viewer.client.disconnect()


def test_stopped_server_tells_its_clients_to_come_back_and_gives_up_its_runs(server: Server) -> None:
    token = server.login()
    viewer = Viewer(server, token)
    try:
        sent = viewer.call("chat:send", {"team_id": server.team(token), "message": "/long 3000"})
        viewer.task_id = sent["task_id"]
        viewer.text(100)
        assert server.end(signal.SIGTERM) == 0
        ending = next(payload for name, payload in iter(viewer.events.get, None) if name == "chat:error")
        assert ending["type"] == "worker_lost"
        server.start()
        joined = until(lambda: viewer.joined, within=15)[0]
        row = next(row for row in joined["subtasks"] if row["id"] == sent["assistant_subtask_id"])
        assert row["result"]["value"] == ending["result"]["value"]
    finally:
        viewer.client.disconnect()


def test_second_server_on_the_same_data_is_refused(server: Server) -> None:
    with pytest.raises(AssertionError, match="is used by another process"):
        Server(server.data).start()

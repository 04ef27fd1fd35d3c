"""Redis away while two workers serve one task's viewers: local ones see no pause, remote ones catch up (protocol §6.6).

For longer: WEGENT_TEST_AWAY=30 pytest tests/e2e/test_workers_without_redis.py
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from tests.e2e.serving import Server, serving, until
from tests.e2e.test_workers import ask, opened, owner_of, settings
from tests.fanout.redis_server import RedisServer, serve

AWAY = float(os.environ.get("WEGENT_TEST_AWAY", "2"))
RATE = 50


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    yield from serve()


@pytest.fixture
def server(redis_server: RedisServer, tmp_path: Path) -> Iterator[Server]:
    chosen = settings(redis_server.url("1"), f"offline.tokens_per_s={RATE}", "redis.timeout=0.5")
    with serving(tmp_path / "data", *chosen, workers=2) as found:
        yield found


class Viewer(threading.Thread):
    """Follows a stream to its end; the text, the longest time between two chunks, and the ending."""

    def __init__(self, client: ClientConnection, text: str) -> None:
        super().__init__()
        self.client = client
        self.text = text
        self.gap = 0.0
        self.ending: Any = None

    def run(self) -> None:
        last = time.monotonic()
        while self.ending is None:
            message = json.loads(self.client.recv(AWAY + 60))
            data = message.get("data")
            if message.get("event") == "chat:chunk":
                assert data["offset"] == len(self.text), "a chunk that does not continue the text"
                self.text += data["content"]
                self.gap, last = max(self.gap, time.monotonic() - last), time.monotonic()
            elif message.get("event") in ("chat:done", "chat:error"):
                self.ending = message["event"], data["result"]["value"]


@pytest.mark.parametrize("how", ["stopped", "suspended"])
def test_local_viewers_see_no_pause_and_remote_ones_miss_nothing(
    server: Server, redis_server: RedisServer, how: str
) -> None:
    token = server.login()
    with ExitStack() as stack:
        at: dict[str, ClientConnection] = {}
        while len(at) < 2:
            client, worker = stack.enter_context(opened(server, token))
            at.setdefault(worker, client)
        writer = next(iter(at.values()))
        asked = {"team_id": server.team(token), "message": f"/long {int(RATE * (AWAY + 4))}"}
        sent, _ = ask(writer, "chat:send", asked)
        local = until(lambda: owner_of(server, sent["assistant_subtask_id"]))
        viewers = {}
        for worker, client in at.items():
            joined, _ = ask(client, "task:join", {"task_id": sent["task_id"]})
            viewers[worker] = Viewer(client, (joined["streaming"] or {}).get("cached_content", ""))
        for viewer in viewers.values():
            viewer.start()
        time.sleep(0.5)
        if how == "stopped":
            redis_server.stop(signal.SIGTERM)
        else:
            redis_server.pause()
        time.sleep(AWAY)
        if how == "stopped":
            redis_server.start()
        else:
            redis_server.resume()
        for viewer in viewers.values():
            viewer.join(AWAY + 60)
        near = viewers.pop(local)
        [far] = viewers.values()
        assert near.ending == ("chat:done", near.text)
        assert near.gap < 1.0
        assert (far.text, far.ending) == (near.text, near.ending)
        assert far.gap > AWAY / 2, "the other worker can't have heard it meanwhile"

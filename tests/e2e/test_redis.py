"""One server with Redis in place of `memory`: it chats and streams, and goes on while Redis is away (protocol §6.6)."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.e2e.serving import Server, serving, until
from tests.fanout.redis_server import RedisServer, serve

RATE = 50
"""Tokens a second of the stream."""
AWAY = 1.5
"""Seconds that Redis is away."""


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    yield from serve()


def settings(url: str) -> list[str]:
    chosen = ['plugins.add=["redis"]', 'plugins.remove=["memory"]', f"redis.url={url}", "redis.timeout=0.5"]
    return [*chosen, f"offline.tokens_per_s={RATE}"]


@pytest.fixture
def server(redis_server: RedisServer, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "data", *settings(redis_server.url("1"))) as found:
        yield found


@contextmanager
def opened(server: Server, token: str) -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {token}"}
    with connect(f"ws://127.0.0.1:{server.port}/ws/chat", additional_headers=headers) as client:
        assert "ready" in json.loads(client.recv(10))
        yield client


def stream(client: ClientConnection, team: int, prompt: str, on_text: Callable[[str], None]) -> tuple[str, float]:
    """Send and follow to the end; the text, and the longest time between two chunks."""
    client.send(json.dumps({"event": "chat:send", "data": {"team_id": team, "message": prompt}, "id": 1}))
    text, last, gap = "", 0.0, 0.0
    while True:
        message = json.loads(client.recv(30))
        if message.get("event") == "chat:chunk":
            assert message["data"]["offset"] == len(text)
            text += message["data"]["content"]
            now = time.monotonic()
            gap = max(gap, now - (last or now))
            last = now
            on_text(text)
        elif message.get("event") in ("chat:done", "chat:error"):
            assert message["event"] == "chat:done"
            assert message["data"]["result"]["value"] == text
            return text, gap


def kept(redis_server: RedisServer) -> list[tuple[str, bool]]:
    """The texts of all streams in Redis, and whether they are sealed."""
    found = []
    for key in redis_server.do("KEYS", "wegent:{task:*:content", db=1):
        sealed = redis_server.do("HEXISTS", key.removesuffix(b":content"), "e", db=1)
        found.append((redis_server.do("GET", key, db=1).decode(), bool(sealed)))
    return found


def ready(server: Server) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(f"{server.url}/ready")
    return answer.status_code, answer.json()["details"]


def redis_up(server: Server) -> bool:
    [line] = [
        line for line in httpx.get(f"{server.url}/metrics").text.splitlines() if line.startswith("wegent_redis_up")
    ]
    return float(line.split()[1]) == 1


def test_a_server_chats_and_streams_over_redis(server: Server, redis_server: RedisServer) -> None:
    token = server.login()
    with opened(server, token) as client:
        for prompt in ("/emoji", "/long 40"):
            text, _ = stream(client, server.team(token), prompt, lambda _: None)
            until(lambda text=text: (text, True) in kept(redis_server))
    assert ready(server) == (200, {"redis": "ok", "storage": "ok"})
    assert redis_up(server)
    for key in redis_server.do("KEYS", "*", db=1):
        assert redis_server.do("PTTL", key, db=1) > 0, key


class Outage(threading.Thread):
    """Takes Redis away and brings it back; what the server says of itself meanwhile."""

    def __init__(self, server: Server, redis_server: RedisServer, how: str) -> None:
        super().__init__()
        self._server = server
        self._redis_server = redis_server
        self._how = how
        self.status, self.details = 0, dict[str, Any]()
        self.up = True

    def run(self) -> None:
        if self._how == "hung":
            self._redis_server.pause()
        else:
            self._redis_server.stop(signal.SIGKILL)
        try:
            time.sleep(AWAY)
            self.status, self.details = ready(self._server)
            self.up = redis_up(self._server)
        finally:
            if self._how == "hung":
                self._redis_server.resume()
            else:
                self._redis_server.start()


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_viewers_see_no_pause_while_redis_is_away_and_its_log_is_whole_afterwards(
    server: Server, redis_server: RedisServer, how: str
) -> None:
    token = server.login()
    outage = Outage(server, redis_server, how)

    def begin(text: str) -> None:
        if len(text) > 40 and outage.ident is None:
            outage.start()

    with opened(server, token) as client:
        text, gap = stream(client, server.team(token), f"/long {int(RATE * (AWAY + 2))}", begin)
        outage.join(30)
        assert gap < 1.0
        assert outage.status == 200
        assert outage.details["redis"].startswith("Redis is away")
        assert not outage.up
        until(lambda: (text, True) in kept(redis_server))
        until(lambda: redis_up(server))
        text, _ = stream(client, server.team(token), "/emoji", lambda _: None)
        until(lambda: (text, True) in kept(redis_server))


def test_a_server_starts_and_chats_without_redis_and_uses_it_when_it_comes(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.stop()
    with serving(tmp_path / "data", *settings(redis_server.url("1"))) as server:
        token = server.login()
        with opened(server, token) as client:
            text, _ = stream(client, server.team(token), "/emoji", lambda _: None)
        assert not redis_up(server)
        redis_server.start()
        until(lambda: (text, True) in kept(redis_server))


def test_a_server_that_was_killed_starts_again_over_the_same_redis(server: Server, redis_server: RedisServer) -> None:
    token = server.login()
    with opened(server, token) as client:
        client.send(
            json.dumps({"event": "chat:send", "data": {"team_id": server.team(token), "message": "/long 500"}, "id": 1})
        )
        until(lambda: any(len(text) > 100 for text, _ in kept(redis_server)))
        server.end(signal.SIGKILL)
    server.start()
    with opened(server, token) as client:
        text, _ = stream(client, server.team(token), "/emoji", lambda _: None)
    until(lambda: (text, True) in kept(redis_server))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:wrong@127.0.0.1:{port}", "refuses the user, password or database"),
        ("redis+cluster://127.0.0.1:{port}", "Redis Cluster is not supported"),
    ],
)
def test_a_url_that_will_never_do_is_told_at_the_start(
    redis_server: RedisServer, tmp_path: Path, url: str, words: str
) -> None:
    server = Server(tmp_path / "data", *settings(url.format(port=redis_server.port)))
    with pytest.raises(AssertionError, match=words) as raised:
        server.start()
    assert "Traceback" not in str(raised.value)
    assert "wrong@" not in str(raised.value)


def test_a_server_that_is_killed_loses_nothing_that_a_viewer_has_seen(server: Server) -> None:
    """Beside the rows text is saved once a second; the log is told first, and has all of it."""
    token = server.login()
    seen = [""]

    def enough(text: str) -> None:
        seen[0] = text
        if len(text) > 400:
            server.end(signal.SIGKILL)

    with pytest.raises(ConnectionClosed), opened(server, token) as client:
        stream(client, server.team(token), "/long 2000", enough)
    server.start()
    [task] = server.get("/tasks", token)["items"]
    row = server.get(f"/tasks/{task['id']}", token)["subtasks"][-1]
    assert (row["status"], row["error_type"]) == ("FAILED", "worker_lost")
    assert row["result"]["value"].startswith(seen[0])

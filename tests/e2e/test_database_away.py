"""The database stopped in the middle of a stream (protocol §6.7): the stream goes on, its ending waits."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.e2e.serving import Server, serving
from tests.storage.databases import Database, MariaDb, Missing, PostgreSql, running

AWAY = float(os.environ.get("WEGENT_TEST_AWAY", "6"))
"""Seconds that the database is away."""
RATE = 30
"""Tokens a second of the stream."""


@pytest.fixture(params=[MariaDb, PostgreSql], ids=["mariadb", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    try:
        with running(request.param) as found:
            yield found
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def server(database: Database, tmp_path: Path) -> Iterator[Server]:
    url = database.fresh()
    with serving(tmp_path / "data", f"storage.url={url}", f"offline.tokens_per_s={RATE}") as found:
        yield found


@contextmanager
def opened(server: Server, token: str) -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {token}"}
    with connect(f"ws://127.0.0.1:{server.port}/ws/chat", additional_headers=headers) as client:
        assert "ready" in json.loads(client.recv(10))
        yield client


def asked(client: ClientConnection, event: str, payload: dict[str, object]) -> dict[str, object]:
    client.send(json.dumps({"event": event, "data": payload, "id": 1}))
    while True:
        message = json.loads(client.recv(20))
        if message.get("ack") == 1:
            return dict(message["data"])


class Outage(threading.Thread):
    """Stops the database, tries to send, and starts it again after a while."""

    def __init__(self, database: Database, client: ClientConnection, team: int) -> None:
        super().__init__()
        self._database = database
        self._client = client
        self._team = team
        self.began = self.over = 0.0
        self.refused: dict[str, object] = {}

    def run(self) -> None:
        self._database.stop()
        self.began = time.monotonic()
        self.refused = asked(self._client, "chat:send", {"team_id": self._team, "message": "hello"})
        time.sleep(max(0.0, AWAY - (time.monotonic() - self.began)))
        self.over = time.monotonic()
        self._database.start()


def test_stream_goes_on_without_the_database_and_ends_after_its_return(server: Server, database: Database) -> None:
    token = server.login()
    team = server.team(token)
    with opened(server, token) as client, opened(server, token) as other:
        outage = Outage(database, other, team)
        sent = asked(client, "chat:send", {"team_id": team, "message": f"/long {int(RATE * AWAY * 0.5)}"})
        text, ended, last, gap, late = "", None, 0.0, 0.0, 0
        while ended is None:
            message = json.loads(client.recv(AWAY + 40))
            now = time.monotonic()
            if message["event"] == "chat:chunk":
                assert message["data"]["offset"] == len(text)
                text += message["data"]["content"]
                if outage.began:
                    gap, late = max(gap, now - last), late + 1
                last = now
                if len(text) > 40 and outage.ident is None:
                    outage.start()
            elif message["event"] in ("chat:done", "chat:error"):
                ended = message
        outage.join(60)
        assert outage.refused["code"] == "OVERLOADED"
        assert late > 5
        assert gap < 2.0
        assert ended["event"] == "chat:done"
        assert ended["data"]["subtask_id"] == sent["assistant_subtask_id"]
        assert ended["data"]["result"]["value"] == text
        assert time.monotonic() >= outage.over
        again = {"task_id": sent["task_id"], "team_id": team, "message": "/emoji"}
        assert "error" not in asked(client, "chat:send", again)
    rows = server.get(f"/tasks/{sent['task_id']}", token)["subtasks"]
    assert rows[1]["status"] == "COMPLETED"
    assert rows[1]["result"]["value"] == text

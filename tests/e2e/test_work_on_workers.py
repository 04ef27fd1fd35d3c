"""Background work, files and corrections where several processes share a port, a database and a data folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.e2e.serving import Server, serving, until
from tests.e2e.test_workers import alive, settings
from tests.fanout.redis_server import RedisServer

FAST = "offline.tokens_per_s=0"  # the last one counts


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("workers")
    with serving(folder, *settings(redis_server.url("1")), FAST, workers=3) as found:
        yield found


def call(server: Server, token: str, method: str, path: str, **given: Any) -> httpx.Response:
    """On a connection of its own: which worker gets it is chance."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.request(method, f"{server.url}/api/v1{path}", headers=headers, timeout=30, **given)
    assert answer.is_success, answer.text
    return answer


def test_what_one_worker_keeps_all_others_give(server: Server) -> None:
    token, data = server.login(), os.urandom(300_000)
    made = call(server, token, "POST", "/attachments", files={"file": ("a.bin", data)}).json()
    assert all(call(server, token, "GET", f"/attachments/{made['id']}").content == data for _ in range(12))


def test_a_correction_is_made_once_and_found_by_all(server: Server) -> None:
    token = server.login()
    message = {"team_id": server.team(token), "message": "/echo 6 * 7 = 41"}
    sent = call(server, token, "POST", "/tasks", json=message).json()
    row = sent["assistant_subtask_id"]
    until(lambda: server.get(f"/tasks/{sent['task_id']}", token)["status"] == "COMPLETED")
    call(server, token, "POST", "/chat/correct", json={"task_id": sent["task_id"], "subtask_id": row})
    path = f"/subtasks/{row}/correction"
    until(lambda: call(server, token, "GET", path).json()["status"] == "DONE")
    kept = [call(server, token, "GET", path).json()["result"]["improved_answer"] for _ in range(9)]
    assert kept == ["6 * 7 = 42"] * 9


def test_what_is_due_is_done_once_although_a_worker_is_killed_meanwhile(server: Server) -> None:
    token = server.login()
    soon = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
    asked = {"team_id": server.team(token), "prompt": "/echo done", "run_at": soon}
    before = len(server.get("/tasks?limit=200", token)["items"])
    for _ in range(24):
        call(server, token, "POST", "/executions", json=asked)
    until(lambda: any(item["runs"] for item in server.get("/executions", token)["items"]))
    os.kill(alive(server)[1], signal.SIGKILL)

    def over() -> list[Any] | None:
        items = server.get("/executions", token)["items"]
        return items if all(item["status"] in ("COMPLETED", "FAILED") for item in items) else None

    items = until(over, within=40)
    assert [item["runs"] for item in items] == [1] * 24
    assert any(item["status"] == "COMPLETED" for item in items)
    assert len(server.get("/tasks?limit=200", token)["items"]) - before == 24
    assert len({item["task_id"] for item in items}) == 24

"""Background work outlives the server that was asked for it."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.serving import serving, until


def test_what_was_due_while_the_server_was_dead_is_done_once_when_it_is_back(tmp_path: Path) -> None:
    with serving(tmp_path, "offline.tokens_per_s=0") as server:
        token = server.login()
        soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
        later = {"team_id": server.team(token), "prompt": "/echo later", "run_at": soon}
        headers = {"Authorization": f"Bearer {token}"}
        made = [httpx.post(f"{server.url}/api/v1/executions", json=later, headers=headers).json() for _ in range(3)]
        server.end(signal.SIGKILL)
        until(lambda: datetime.now(UTC).isoformat() > soon)
        server.start()

        def done() -> list[Any] | None:
            items = server.get("/executions", token)["items"]
            return items if all(item["status"] == "COMPLETED" for item in items) else None

        items = until(done)
        assert [item["id"] for item in items] == [each["id"] for each in reversed(made)]
        assert [(item["runs"], item["result_summary"]) for item in items] == [(1, "later")] * 3
        assert len(server.get("/tasks", token)["items"]) == 3

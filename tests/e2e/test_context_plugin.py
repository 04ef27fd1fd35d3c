"""The example of a context that a plugin provides works as it is documented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.serving import serving, until

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_message_is_read_with_what_a_plugin_provides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))
    settings = ("offline.tokens_per_s=0", 'plugins.add=["clock_context:ClockPlugin"]')
    with serving(tmp_path, *settings) as server:
        token = server.login()
        headers = {"Authorization": f"Bearer {token}"}

        def send(**context: Any) -> httpx.Response:
            body = {"team_id": server.team(token), "message": "Is it late?", "contexts": [{"type": "clock", **context}]}
            return httpx.post(f"{server.url}/api/v1/tasks", json=body, headers=headers)

        refused = send(timezone="Mars/Olympus")
        assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_PAYLOAD")
        task_id = send(timezone="Asia/Tokyo").json()["task_id"]
        task = until(lambda: (task := server.get(f"/tasks/{task_id}", token))["status"] == "COMPLETED" and task)
        assert task["subtasks"][0]["contexts"][0]["title"] == "The time in Asia/Tokyo"
        assert "The time in Asia/Tokyo" in task["subtasks"][1]["result"]["value"]

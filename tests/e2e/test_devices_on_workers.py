"""A device where several processes share a port: whichever worker it and its people get, by chance, all works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.serving import Server, serving, until
from tests.e2e.test_devices import Device
from tests.e2e.test_workers import settings
from tests.fanout.redis_server import RedisServer

MOVES = 8


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("workers")
    with serving(folder, *settings(redis_server.url("3")), workers=3) as found:
        yield found


def send(server: Server, token: str, text: str) -> Any:
    """A message to the device, over a connection of its own."""
    message = {"team_id": server.team(token), "message": text, "device_id": "box"}
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{server.url}/api/v1/tasks", headers=headers, json=message, timeout=30)
    assert answer.is_success, answer.text
    return answer.json()


def test_a_device_that_registers_again_and_again_has_one_connection_and_loses_no_word(server: Server) -> None:
    token = server.login()
    box = Device(server, "box")
    box.register()
    sent = send(server, token, "hi")
    row = box.wait_for("task:execute")["subtask_id"]
    assert row == sent["assistant_subtask_id"]
    box.call("task:progress", subtask_id=row, offset=0, delta="0")
    said = "0"
    for number in range(1, MOVES):
        old, box = box, Device(server, "box")
        assert [run["offset"] for run in box.register()["running"]] == [len(said)]
        old.wait_for("device:replaced")
        old.client.disconnect()
        answer = box.call("task:progress", subtask_id=row, attempt=1, offset=len(said), delta=str(number))
        said += str(number)
        assert answer["offset"] == len(said)
    assert box.call("task:complete", subtask_id=row, attempt=1, status="COMPLETED")["success"]
    assert text_of(server, token, sent) == said
    later = send(server, token, "again")
    assert box.wait_for("task:execute")["subtask_id"] == later["assistant_subtask_id"]
    box.client.disconnect()


def text_of(server: Server, token: str, sent: Any) -> Any:
    def done() -> Any:
        rows = server.get(f"/tasks/{sent['task_id']}/subtasks", token)["subtasks"]
        [row] = [row for row in rows if row["id"] == sent["assistant_subtask_id"]]
        return row if row["status"] == "COMPLETED" else None

    return until(done)["result"]["value"]

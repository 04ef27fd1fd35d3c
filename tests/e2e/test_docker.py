"""Containers of a whole server: what becomes of them when it is killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.serving import Server, serving, until
from tests.executors.docker_engine import DockerDaemon

KINDS = [
    {"kind": "Ghost", "metadata": {"name": "box"}, "spec": {}},
    {"kind": "Shell", "metadata": {"name": "box"}, "spec": {"shellType": "Command", "executor": "docker"}},
    {"kind": "Bot", "metadata": {"name": "box"}, "spec": {"ghostRef": {"name": "box"}, "shellRef": {"name": "box"}}},
    {"kind": "Team", "metadata": {"name": "box"}, "spec": {"members": [{"botRef": {"name": "box"}}]}},
]


@pytest.fixture
def server(tmp_path: Path, docker_daemon: DockerDaemon) -> Iterator[Server]:
    with serving(tmp_path, 'plugins.add=["docker"]', f"docker.socket={docker_daemon.socket}") as running:
        yield running


def post(server: Server, token: str, path: str, body: Any) -> Any:
    answer = httpx.post(f"{server.url}/api/v1{path}", json=body, headers={"Authorization": f"Bearer {token}"})
    assert answer.is_success, answer.text
    return answer.json()


def test_a_killed_server_leaves_no_container_running_once_it_is_back(
    server: Server, docker_daemon: DockerDaemon, tmp_path: Path
) -> None:
    token = server.login()
    post(server, token, "/kinds/apply", KINDS)
    team = next(kind["id"] for kind in server.get("/kinds/team", token)["items"] if kind["metadata"]["name"] == "box")
    instance = f"wegent.instance={(tmp_path / 'docker-instance').read_text()}"

    def states() -> list[str]:
        return [container["State"] for container in docker_daemon.containers(instance)]

    def answer() -> Any:
        return server.get(f"/tasks/{task_id}", token)["subtasks"][-1]

    message = "echo kept > note; echo up; sleep 1000"
    task_id = post(server, token, "/tasks", {"team_id": team, "message": message})["task_id"]
    until((tmp_path / "workspaces" / str(task_id) / "note").exists)
    server.end(signal.SIGKILL)
    assert states() == ["running"]
    server.start()
    until(lambda: states() == [])
    assert answer()["error_type"] == "worker_lost"
    post(server, token, f"/tasks/{task_id}/messages", {"message": "cat note"})
    until(lambda: answer()["status"] == "COMPLETED")
    assert answer()["result"]["value"] == "kept\n"
    assert states() == ["exited"]

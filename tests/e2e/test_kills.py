"""What runs is killed in the middle, one thing at a time: the attempt ends once and says why, and nothing is left."""

from __future__ import annotations

import os
import queue
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio

from tests.e2e.serving import Server, until
from tests.e2e.targets import DEVICE, device, hosting, serving_targets, team_of
from tests.executors.docker_engine import DockerDaemon
from tests.executors.processes import processes_of

ENDINGS = ("chat:done", "chat:error", "chat:cancelled")
UP = "echo up; sleep 1000"
LINES = 'for n in $(seq 80); do echo "line $n"; sleep 0.1; done'
WHOLE = "".join(f"line {n}\n" for n in range(1, 81))
LAPSES = ("chat.lapses.host=4", "chat.lapses.device=7", "docker.limits.memory=67108864")

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the stock client's, of a kill


@pytest.fixture(scope="module")
def server(docker_session: DockerDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    docker_session.start()
    with serving_targets(docker_session, tmp_path_factory.mktemp("kills"), "Command", *LAPSES) as running:
        yield running


class Run:
    """One run, as a stock client sees it that comes back by itself."""

    def __init__(self, server: Server, target: str, command: str, **asked: Any) -> None:
        self._heard: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.3)
        self._client.on("*", lambda name, payload: self._heard.put((name, payload)), namespace="/chat")
        self._client.on("connect", self._connected, namespace="/chat")
        self.task_id = 0
        auth = {"token": server.login()}
        self._client.connect(server.url, namespaces=["/chat"], auth=auth, transports=["websocket"])
        where = {"device_id": DEVICE} if target == "device" else {}
        payload = {"team_id": team_of(server, target), "message": command, **where, **asked}
        ack = self._client.call("chat:send", payload, namespace="/chat", timeout=10)
        self.task_id, self.subtask_id = ack["task_id"], ack["assistant_subtask_id"]
        self.endings: list[tuple[str, Any]] = []

    def _connected(self) -> None:
        if self.task_id:
            asked = {"task_id": self.task_id}
            self._client.emit("task:join", asked, namespace="/chat", callback=lambda ack: self._heard.put(("ack", ack)))

    def speaks(self) -> None:
        """Wait until it has said something."""
        while True:
            name, payload = self._heard.get(timeout=20)
            assert name not in ENDINGS, payload
            if name == "chat:chunk" and payload["content"]:
                return

    def ends(self) -> tuple[str, Any]:
        """Its ending, once the task says the same; where it ended while nobody was connected, as the rows say."""
        while True:
            name, payload = self._heard.get(timeout=40)
            if name in ENDINGS:
                self.endings.append((name, payload))
            elif name == "ack" and (ended := self._ended(payload)) is not None:
                return ended
            elif self.endings and name == "task:status" and payload["status"] not in ("PENDING", "RUNNING"):
                return self.endings[0]

    def _ended(self, ack: dict[str, Any]) -> tuple[str, Any] | None:
        row = next(each for each in ack["subtasks"] if each["id"] == self.subtask_id)
        ending = {"COMPLETED": "chat:done", "FAILED": "chat:error"}.get(row["status"])
        return None if ending is None else (ending, {**row, "type": row["error_type"]})

    def close(self) -> None:
        self._client.disconnect()
        ends = {(payload["attempt"], name) for name, payload in [*self.endings, *self._heard.queue] if name in ENDINGS}
        assert len(ends) <= 1, ends


@contextmanager
def running(server: Server, target: str, command: str = UP) -> Iterator[Run]:
    """A run that speaks; when the block is over nothing is left of it."""
    run = Run(server, target, command)
    try:
        run.speaks()
        yield run
    finally:
        run.close()
    until(lambda: processes_of(run.task_id) == [])
    with closing(sqlite3.connect(server.data / "wegent.db")) as database:
        rows = database.execute("SELECT status, owner FROM subtasks WHERE task_id = ?", [run.task_id]).fetchall()
    assert {owner for _, owner in rows} == {None}
    assert {status for status, _ in rows} <= {"COMPLETED", "FAILED"}
    assert [each["slot_used"] for each in server.get("/devices", server.login())["items"]] in ([], [0])


def assert_failed(run: Run, type: str, text: str = "up\n") -> None:
    name, payload = run.ends()
    assert (name, payload.get("type"), payload["result"]["value"]) == ("chat:error", type, text), payload


def test_a_killed_runner(server: Server) -> None:
    with running(server, "process") as run:
        found = [each for each in processes_of(run.task_id) if "wegent.runner" in each and "keeper" not in each]
        (runner,) = [int(each.split()[0]) for each in found]
        os.kill(runner, signal.SIGKILL)
        assert_failed(run, "killed")


def test_a_killed_container(server: Server, docker_daemon: DockerDaemon) -> None:
    with running(server, "docker") as run:
        (container,) = docker_daemon.of_task(run.task_id)
        docker_daemon.kill(container["Id"])
        assert_failed(run, "killed")
        until(lambda: _that_run(docker_daemon, run) == [])


def test_a_container_out_of_memory(server: Server, docker_daemon: DockerDaemon) -> None:
    with running(server, "docker", "echo up; python3 -c 'x = bytearray(10 ** 9)'") as run:
        assert_failed(run, "out_of_memory")
        until(lambda: _that_run(docker_daemon, run) == [])


def test_a_stopped_engine(server: Server, docker_daemon: DockerDaemon) -> None:
    with running(server, "docker") as run:
        docker_daemon.stop()
        try:
            assert_failed(run, "engine_away")
        finally:
            docker_daemon.start()
        until(lambda: _that_run(docker_daemon, run) == [])


def _that_run(engine: DockerDaemon, run: Run) -> list[str]:
    return [each["Status"] for each in engine.of_task(run.task_id) if each["State"] == "running"]


def test_a_killed_host(server: Server, tmp_path: Path) -> None:
    with hosting(server, tmp_path) as host, running(server, "host") as run:
        host.end(signal.SIGKILL)
        assert_failed(run, "executor_lost")


def test_a_killed_device(server: Server, tmp_path: Path) -> None:
    with device(server, tmp_path) as laptop, running(server, "device") as run:
        laptop.end(signal.SIGKILL)
        assert_failed(run, "device_lost")


def test_a_killed_server_loses_its_own_runs_and_no_others(server: Server, tmp_path: Path) -> None:
    with hosting(server, tmp_path), device(server, tmp_path), running(server, "process") as own:
        others = [Run(server, target, LINES) for target in ("host", "device")]
        for run in others:
            run.speaks()
        server.end(signal.SIGKILL)
        server.start()
        name, payload = own.ends()
        assert (name, payload["type"]) == ("chat:error", "worker_lost")
        assert "up\n".startswith(payload["result"]["value"])  # saved once a second
        for run in others:
            name, payload = run.ends()
            assert (name, payload["attempt"], payload["result"]["value"]) == ("chat:done", 1, WHOLE)
            run.close()

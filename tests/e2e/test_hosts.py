"""Executor hosts made of a plain HTTP client, against the real server."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.serving import Server, serving, until

TARGET = "chat_shell"
MINE = "chat.max_concurrent=0"  # the server takes no runs itself


class Host:
    """A host as a script would be one. `user` is a person's token, `token` the host's."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = httpx.Client(base_url=f"{server.url}/api/v1", limits=httpx.Limits(max_connections=32))
        self.user = server.login()
        self.token = self.new_token()["token"]
        self.team_id = server.team(self.user)

    def new_token(self) -> dict[str, Any]:
        return dict(self.post("/tokens", {"scope": "executor", "targets": [TARGET]}, self.user).json())

    def post(self, path: str, body: Any, token: str = "", *, timeout: float = 40) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return self.client.post(path, json=body, headers=headers, timeout=timeout)

    def send(self, message: str = "hello") -> int:
        return int(self.post("/tasks", {"team_id": self.team_id, "message": message}, self.user).json()["task_id"])

    def fetch(self, wait_s: int = 10, *, limit: int = 1, timeout: float = 40) -> httpx.Response:
        body = {"executor": "desk", "targets": [TARGET], "limit": limit, "wait_s": wait_s}
        return self.post("/tasks/fetch", body, timeout=timeout)

    def job(self, message: str = "hello") -> dict[str, Any]:
        self.send(message)
        (job,) = self.fetch().json()["tasks"]
        return dict(job)

    def report(self, job: dict[str, Any], **said: Any) -> httpx.Response:
        body = {name: job[name] for name in ("subtask_id", "attempt", "lease")} | said
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.client.put(f"/tasks/{job['task_id']}/status", json=body, headers=headers)

    def answer(self, task_id: int) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.user}"}
        return dict(self.client.get(f"/tasks/{task_id}", headers=headers).json()["subtasks"][-1])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with serving(tmp_path_factory.mktemp("hosts"), MINE) as server:
        host = Host(server)
        with closing(host.client):
            yield host


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Host]:
    """A host of a server that may be killed."""
    with serving(tmp_path / "data", MINE) as server:
        host = Host(server)
        with closing(host.client):
            yield host


def test_a_run_is_done_by_a_plain_http_client(host: Host) -> None:
    job = host.job("draw a map")
    assert job["prompt"] == "draw a map"
    said = host.report(job, events=[{"type": "chunk", "content": "Hello", "offset": 0}])
    assert said.json() == {
        "subtask_id": job["subtask_id"],
        "status": "RUNNING",
        "offset": 5,
        "cancel": False,
        "skills": [],
    }
    host.report(job, events=[{"type": "chunk", "content": " there", "offset": 5}, {"type": "done"}])
    answer = host.answer(job["task_id"])
    assert (answer["status"], answer["result"]["value"]) == ("COMPLETED", "Hello there")


def test_many_hosts_at_once_share_the_runs_and_no_run_is_given_twice(host: Host) -> None:
    given: Counter[int] = Counter()
    count = 24
    done = threading.Semaphore(0)
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            for job in host.fetch(1, limit=2).json()["tasks"]:
                given[job["subtask_id"]] += 1
                assert host.report(job, status="COMPLETED", result={"value": "x"}).status_code == 200
                done.release()

    with ThreadPoolExecutor(8) as pool:
        hosts = [pool.submit(work) for _ in range(6)]
        tasks = list(pool.map(lambda _: host.send(), range(count)))
        for _ in range(count):
            assert done.acquire(timeout=20)
        over.set()
        for each in hosts:
            each.result(20)
    assert sorted(given.values()) == [1] * count
    assert {host.answer(task_id)["status"] for task_id in tasks} == {"COMPLETED"}


def test_a_host_that_hangs_up_takes_no_run_with_it(host: Host) -> None:
    for _ in range(5):
        with pytest.raises(httpx.ReadTimeout):
            host.fetch(30, timeout=0.3)
    host.send()
    began = time.monotonic()
    (job,) = host.fetch(5).json()["tasks"]
    assert time.monotonic() - began < 2
    assert job["attempt"] == 1
    host.report(job, status="COMPLETED")


def test_a_revoked_token_is_refused_within_three_seconds(host: Host) -> None:
    made = host.new_token()
    body = {"executor": "desk", "targets": [TARGET], "limit": 1}
    assert host.post("/tasks/fetch", body, made["token"]).json() == {"tasks": []}
    headers = {"Authorization": f"Bearer {host.user}"}
    host.client.delete(f"/tokens/{made['id']}", headers=headers).raise_for_status()
    until(lambda: host.post("/tasks/fetch", body, made["token"]).status_code == 401, within=3)


def restart(server: Server) -> bool:
    """Kill it, and start it again on the same data."""
    server.end(signal.SIGKILL)
    server.start()
    return True


def test_a_run_goes_on_with_a_server_that_was_killed(own: Host) -> None:
    whole = "Grüße 👋🏽 " * 40
    job = own.job()
    length, killed = 0, False
    while length < len(whole):
        events = [{"type": "chunk", "content": whole[length : length + 30], "offset": length}]
        answer = own.report(job, events=events)
        assert answer.status_code == 200 or answer.json()["code"] == "OFFSET_MISMATCH"
        length = answer.json()["offset"]
        if length >= 150 and not killed:
            killed = restart(own.server)
    for again in (False, True):
        if again:
            restart(own.server)
        last = own.report(job, events=[{"type": "done", "result": {"value": whole}}])
        assert (last.status_code, last.json()["status"], last.json()["offset"]) == (200, "COMPLETED", len(whole))
    answer = own.answer(job["task_id"])
    assert (answer["status"], answer["attempt"], answer["result"]["value"]) == ("COMPLETED", 1, whole)


def test_a_server_that_stops_lets_waiting_hosts_go_at_once(own: Host) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(own.fetch, 30)
        until(lambda: "wegent_fetches_waiting 1.0" in httpx.get(f"{own.server.url}/metrics").text)
        began = time.monotonic()
        assert own.server.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 5
        assert waiting.result(5).json() == {"tasks": []}

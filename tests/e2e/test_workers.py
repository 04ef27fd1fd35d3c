"""Several workers on one port, with a real Redis: any of them serves any request, and what one says all others tell."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio
from websockets.sync.client import ClientConnection, connect

from tests.e2e.serving import Server, serving, until
from tests.fanout.redis_server import RedisServer

WORKERS = 4


def settings(url: str, *more: str) -> list[str]:
    return ['plugins.add=["redis"]', 'plugins.remove=["memory"]', f"redis.url={url}", "offline.tokens_per_s=100", *more]


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("workers"), *settings(redis_server.url("1")), workers=WORKERS) as found:
        yield found


def alive(server: Server) -> dict[int, int]:
    """The workers' process ids by slot."""
    found = {}
    children = [each.read_text() for each in Path(f"/proc/{server.pid}/task").glob("*/children")]
    for line in " ".join(children).split():
        command = Path(f"/proc/{line}/cmdline").read_bytes().split(b"\0")
        if b"--slot" in command:
            found[json.loads(command[command.index(b"--slot") + 1])[0]] = int(line)
    return found


class Poller:
    """Long-polling by hand, each request on a connection of its own: which worker gets it is chance."""

    def __init__(self, server: Server, token: str) -> None:
        self.url = f"{server.url}/socket.io/"
        self.query = {"EIO": "4", "transport": "polling"}
        self.query["sid"] = json.loads(self.get()[1:])["sid"]
        self.post("40/chat," + json.dumps({"token": token}))
        assert self.get().startswith("40/chat,")

    @property
    def sid(self) -> str:
        return self.query["sid"]

    def get(self) -> str:
        answer = httpx.get(self.url, params=self.query, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, packet: str) -> None:
        answer = httpx.post(self.url, params=self.query, content=packet.encode(), timeout=30)
        assert (answer.status_code, answer.text) == (200, "ok")

    def events(self) -> Iterator[tuple[str, Any]]:
        """Events and acks (of an empty name) as they come."""
        while True:
            for packet in self.get().split("\x1e"):
                if packet == "2":
                    self.post("3")
                elif packet.startswith("42/chat,"):
                    name, data = json.loads(packet[len("42/chat,") :])
                    yield name, data
                elif packet.startswith("43/chat,"):
                    yield "", json.loads(packet[packet.index("[") :])[0]


def test_long_polling_needs_no_stickiness(server: Server) -> None:
    token = server.login()
    poller = Poller(server, token)
    poller.post('42/chat,1["chat:send",' + json.dumps({"team_id": server.team(token), "message": "/long 40"}) + "]")
    text = ""
    for name, data in poller.events():
        if name == "chat:chunk":
            assert data["offset"] == len(text)
            text += data["content"]
        if name == "chat:done":
            assert data["result"]["value"] == text
            break
    assert len(text) > 200


def test_an_upgrade_finds_its_session(server: Server) -> None:
    token = server.login()
    for _ in range(8):  # three of four of them arrive at a worker that has not got the session
        sid = Poller(server, token).sid
        address = f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket&sid={sid}"
        with connect(address) as upgrade:
            upgrade.send("2probe")
            assert upgrade.recv(10) == "3probe"
            upgrade.send("5")
            upgrade.send("42/chat,7" + json.dumps(["history:sync", {"task_id": 123456}]))
            answer = upgrade.recv(10)
            while not str(answer).startswith("43/chat,7"):
                answer = upgrade.recv(10)
            assert "NOT_FOUND" in str(answer)


def test_sessions_that_nobody_has_are_refused_as_ever(server: Server) -> None:
    known = Poller(server, server.login()).sid
    for sid in ("9-deadbeef.x", "..", "../../etc.x", known + "x", "a" * 300, "1-.x"):
        answer = httpx.get(f"{server.url}/socket.io/", params={"EIO": "4", "transport": "polling", "sid": sid})
        assert (answer.status_code, answer.json()["code"]) == (400, 1), sid
        assert answer.json()["message"].startswith("Session ID unknown"), sid


@contextmanager
def opened(server: Server, token: str) -> Iterator[tuple[ClientConnection, str]]:
    """A raw connection, and the worker that it is at."""
    headers = {"Authorization": f"Bearer {token}"}
    with connect(f"ws://127.0.0.1:{server.port}/ws/chat", additional_headers=headers) as client:
        yield client, json.loads(client.recv(10))["ready"]["sid"].partition(".")[0]


def ask(client: ClientConnection, event: str, data: Any) -> tuple[Any, list[Any]]:
    """The ack, and what came before it."""
    client.send(json.dumps({"event": event, "data": data, "id": 1}))
    before = []
    while "ack" not in (message := json.loads(client.recv(20))):
        before.append(message)
    return message["data"], before


def follow(client: ClientConnection, text: str) -> str:
    """The text from there on to the ending, which must say the same."""
    while True:
        message = json.loads(client.recv(30))
        if message["event"] == "chat:chunk":
            assert message["data"]["offset"] == len(text)
            text += message["data"]["content"]
        elif message["event"] == "chat:done":
            assert message["data"]["result"]["value"] == text
            return text


def test_viewers_on_all_workers_see_the_same(server: Server) -> None:
    token = server.login()
    team = server.team(token)
    with ExitStack() as stack:
        at: dict[str, ClientConnection] = {}
        while len(at) < WORKERS:
            client, worker = stack.enter_context(opened(server, token))
            at.setdefault(worker, client)
        writer, *viewers = at.values()
        sent, _ = ask(writer, "chat:send", {"team_id": team, "message": "/long 60"})
        starts = []
        for viewer in viewers:
            joined, _ = ask(viewer, "task:join", {"task_id": sent["task_id"]})
            starts.append((joined["streaming"] or {}).get("cached_content", ""))
        texts = [follow(viewer, start) for viewer, start in zip(viewers, starts, strict=True)]
        assert set(texts) == {follow(writer, "")}


def test_server_sent_events_come_from_any_worker(server: Server) -> None:
    token = server.login()
    headers = {"Authorization": f"Bearer {token}"}
    ask_for = {"team_id": server.team(token), "message": "/long 60"}
    sent = httpx.post(f"{server.url}/api/v1/tasks", json=ask_for, headers=headers).json()
    url = f"{server.url}/api/v1/tasks/{sent['task_id']}/stream"
    with ExitStack() as stack:  # each on a connection of its own
        place = {"subtask_id": sent["assistant_subtask_id"]}
        readers = [stack.enter_context(httpx.stream("GET", url, params=place, headers=headers)) for _ in range(8)]
        texts = set()
        for reader in readers:
            chunks = [json.loads(line[6:]) for line in reader.iter_lines() if line.startswith("data: ")]
            texts.add("".join(chunk.get("content", "") for chunk in chunks))
            assert chunks[-1]["result"]["value"] in texts
    assert len(texts) == 1


def test_a_killed_worker_is_replaced_and_its_run_has_an_ending(redis_server: RedisServer, tmp_path: Path) -> None:
    with serving(tmp_path / "data", *settings(redis_server.url("2")), workers=2) as server:
        token = server.login()
        team = server.team(token)
        with ExitStack() as stack:
            connections = [stack.enter_context(opened(server, token)) for _ in range(12)]
            by_worker = {worker: client for client, worker in connections}
            writer = next(iter(by_worker.values()))
            sent, _ = ask(writer, "chat:send", {"team_id": team, "message": "/long 600"})
            runner = until(lambda: owner_of(server, sent["assistant_subtask_id"]))
            slot = int(runner.partition("-")[0])
            viewer = next(client for worker, client in by_worker.items() if worker != runner)
            ask(viewer, "task:join", {"task_id": sent["task_id"]})
            os.kill(alive(server)[slot], signal.SIGKILL)
            ending = None
            while ending is None:
                message = json.loads(viewer.recv(20))
                ending = message["data"] if message.get("event") == "chat:error" else None
            assert ending["type"] == "worker_lost"
        until(lambda: len(alive(server)) == 2)
        with opened(server, token) as (client, _):
            again, _ = ask(client, "chat:send", {"team_id": team, "message": "/emoji"})
            assert "task_id" in again


def owner_of(server: Server, subtask_id: int) -> str:
    """Which worker does the run, as the database says."""
    with sqlite3.connect(f"file:{server.data}/wegent.db?mode=ro", uri=True) as database:
        [row] = database.execute("SELECT owner FROM subtasks WHERE id = ?", [subtask_id])
    return str(row[0] or "")


def test_a_stock_polling_client_survives_a_replaced_worker(redis_server: RedisServer, tmp_path: Path) -> None:
    with serving(tmp_path / "data", *settings(redis_server.url("3")), workers=WORKERS) as server:
        token = server.login()
        client, connected = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.5), []
        client.on("connect", lambda: connected.append(client.get_sid("/chat")), namespace="/chat")
        client.connect(server.url, auth={"token": token}, namespaces=["/chat"], transports=["polling"])
        until(lambda: connected)
        slot = int(str(client.eio.sid).partition("-")[0])
        os.kill(alive(server)[slot], signal.SIGKILL)
        until(lambda: len(connected) == 2, within=20)
        acks: list[Any] = []
        asked = {"team_id": server.team(token), "message": "/emoji"}
        client.emit("chat:send", asked, namespace="/chat", callback=acks.append)
        assert "task_id" in until(lambda: acks)[0]
        client.disconnect()


def test_workers_end_with_their_supervisor(redis_server: RedisServer, tmp_path: Path) -> None:
    server = Server(tmp_path / "data", *settings(redis_server.url("4")), workers=2)
    server.start()
    workers = list(alive(server).values())
    server.end(signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), within=20)


def test_a_signal_ends_all_in_order(redis_server: RedisServer, tmp_path: Path) -> None:
    server = Server(tmp_path / "data", *settings(redis_server.url("5")), workers=2)
    server.start()
    workers = list(alive(server).values())
    assert server.end() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert "Traceback" not in "".join(server.output)


@pytest.mark.parametrize(("options", "word"), [(["--workers", "2"], "need Redis"), (["--workers", "0"], "1 to 64")])
def test_workers_that_cannot_be_are_refused(tmp_path: Path, options: list[str], word: str) -> None:
    command = [sys.executable, "-m", "wegent.cli.main", "serve", "--data", str(tmp_path / "data"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert word in done.stderr


def test_a_worker_that_can_not_start_ends_all(redis_server: RedisServer, tmp_path: Path) -> None:
    environment = {**os.environ, "WEGENT_ADMIN_PASSWORD": "short"}
    command = [sys.executable, "-m", "wegent.cli.main", "serve", "--data", str(tmp_path / "data"), "--workers", "3"]
    for setting in settings(redis_server.url("6"), "listener.bind=127.0.0.1:0"):
        command += ["--set", setting]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode in (1, 2)
    assert "A password has 8" in done.stderr
    assert "starts again" not in done.stderr
    assert time.monotonic() - began < 30


def test_figures_and_readiness_are_those_of_all_workers(server: Server) -> None:
    token = server.login()
    with ExitStack() as stack:
        seen = {stack.enter_context(opened(server, token))[1] for _ in range(12)}
        assert len(seen) > 1
        for _ in range(4):  # whoever answers
            text = httpx.get(f"{server.url}/metrics").text
            lines = [each for each in text.splitlines() if each.startswith("wegent_connections{") and "/chat" in each]
            assert sum(float(line.split()[-1]) for line in lines) >= 12  # a line a transport
            assert f"wegent_redis_up {WORKERS}.0" in text
            answer = httpx.get(f"{server.url}/ready")
            assert (answer.status_code, answer.json()["ready"]) == (200, True)
            assert set(answer.json()["workers"].values()) == {"ready"}
            assert len(answer.json()["workers"]) == WORKERS - 1

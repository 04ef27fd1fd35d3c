"""Devices made of clients that people have already, against the real server."""

from __future__ import annotations

import json
import queue
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import socketio
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.e2e.serving import Server, serving, until

REFERENCE = Path(__file__).parents[2] / "docs/reference/devices.md"
TRANSPORTS = [["websocket"], ["polling"]]


@cache
def token_of(server: Server) -> str:
    """One login is enough, also over restarts: it takes a while by design."""
    return server.login()


class Device:
    """A stock Socket.IO client as a device: it accepts what it is given, and keeps what it is told."""

    def __init__(self, server: Server, device_id: str, transports: list[str] | None = None) -> None:
        self.device_id = device_id
        self.told: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.client = socketio.Client(reconnection=False)
        self.client.on("*", self._hear, namespace="/local-executor")
        token = token_of(server)
        options = {"transports": transports or ["websocket"]}
        self.client.connect(server.url, namespaces=["/local-executor"], auth={"token": token}, **options)

    def _hear(self, event: str, payload: Any = None) -> dict[str, Any]:
        self.told.put((event, payload))
        return {"accepted": True} if event == "task:execute" else {"success": True}

    def call(self, event: str, **payload: Any) -> Any:
        return self.client.call(event, payload, namespace="/local-executor", timeout=10)

    def register(self, **more: Any) -> Any:
        return self.call("device:register", **{"device_id": self.device_id, "name": "My laptop", **more})

    def wait_for(self, event: str) -> Any:
        while True:
            name, payload = self.told.get(timeout=20)
            if name == event:
                return payload


class RawDevice:
    """The same over the raw WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[Any] = []
        assert "ready" in json.loads(socket.recv(10))

    def read(self) -> Any:
        message = json.loads(self.socket.recv(20))
        if "id" in message:
            answer = {"accepted": True} if message["event"] == "task:execute" else {"success": True}
            self.socket.send(json.dumps({"ack": message["id"], "data": answer}))
        return message

    def call(self, event: str, **payload: Any) -> Any:
        self.socket.send(json.dumps({"event": event, "data": payload, "id": 1}))
        while "ack" not in (message := self.read()):
            self.told.append(message)
        return message["data"]

    def wait_for(self, event: str) -> Any:
        while True:
            message = self.told.pop(0) if self.told else self.read()
            if message.get("event") == event:
                return message["data"]


@contextmanager
def raw_device(server: Server) -> Any:
    headers = {"Authorization": f"Bearer {token_of(server)}"}
    with connect(f"ws://127.0.0.1:{server.port}/ws/local-executor", additional_headers=headers) as socket:
        yield RawDevice(socket)


class Person:
    """Somebody who sends to a device and reads."""

    def __init__(self, server: Server) -> None:
        self.token = token = token_of(server)
        self.team = server.team(token)
        self.client = socketio.SimpleClient(reconnection=False)
        self.client.connect(server.url, namespace="/chat", auth={"token": token}, transports=["websocket"])

    def send(self, device_id: str, **more: Any) -> Any:
        payload = {"team_id": self.team, "message": "hi", "device_id": device_id} | more
        return self.client.call("chat:send", payload, timeout=10)

    def wait_for(self, event: str) -> Any:
        while True:
            name, *payload = self.client.receive(timeout=20)
            if name == event:
                return payload[0]


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
def test_python_socketio_client_is_a_device(server: Server, transports: list[str]) -> None:
    device, person = Device(server, f"stock-{transports[0]}", transports), Person(server)
    assert device.register() == {
        "success": True,
        "device_id": device.device_id,
        "heartbeat_interval": 30,
        "running": [],
    }
    sent = person.send(device.device_id)
    job = device.wait_for("task:execute")
    assert job["subtask_id"] == sent["assistant_subtask_id"]
    seen = server.get(f"/tasks/{job['task_id']}/subtasks", job["auth_token"])
    assert [row["prompt"] for row in seen["subtasks"]] == ["hi", ""]
    run = {"subtask_id": job["subtask_id"], "attempt": job["attempt"]}
    assert device.call("task:progress", **run, offset=0, delta="Grüß ") == {"success": True, "offset": 5}
    assert device.call("task:progress", **run, offset=7, delta="x")["code"] == "OFFSET_MISMATCH"
    assert device.call("device:heartbeat", device_id=device.device_id, running_task_ids=[job["task_id"]])["success"]
    assert device.call("task:complete", **run, status="COMPLETED", result={"value": "Grüß 👋🏽"}) == {"success": True}
    assert person.wait_for("chat:done")["result"]["value"] == "Grüß 👋🏽"
    device.client.disconnect()
    assert person.wait_for("device:offline")["device_id"] == device.device_id
    person.client.disconnect()


def test_a_raw_websocket_is_a_device(server: Server) -> None:
    person = Person(server)
    with raw_device(server) as device:
        assert device.call("device:register", device_id="raw", name="Raw")["success"]
        sent = person.send("raw")
        job = device.wait_for("task:execute")
        assert device.call("task:progress", subtask_id=job["subtask_id"], delta="half")["offset"] == 4
        person.client.call("chat:cancel", {"subtask_id": sent["assistant_subtask_id"]}, timeout=10)
        assert device.wait_for("task:cancel")["subtask_id"] == job["subtask_id"]
        assert device.call("task:complete", subtask_id=job["subtask_id"], status="cancelled") == {"success": True}
        assert person.wait_for("chat:cancelled")["result"]["value"] == "half"
    person.client.disconnect()


def test_the_device_in_the_documentation_works(server: Server) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", REFERENCE.read_text(encoding="utf-8"), re.DOTALL)
    code = code.replace("http://127.0.0.1:8000", server.url).replace("TOKEN", repr(token_of(server)))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    person = Person(server)
    try:
        until(lambda: [each for each in server.get("/devices", person.token)["items"] if each["device_id"] == "laptop"])
        person.send("laptop", message="grüß dich, 👋🏽")
        assert person.wait_for("chat:done")["result"]["value"] == "GRÜSS DICH, 👋🏽 "
    finally:
        process.kill()
        assert process.communicate()[1] == ""
        person.client.disconnect()


def test_surrogate_pairs_that_a_device_splits_are_joined_on_either_transport(server: Server) -> None:
    person = Person(server)
    stock = Device(server, "halves")
    with raw_device(server) as raw:
        raw.call("device:register", device_id="raw-halves", name="Raw")
        stock.register()
        for device, device_id in ((stock, "halves"), (raw, "raw-halves")):
            person.send(device_id)
            row = device.wait_for("task:execute")["subtask_id"]
            assert device.call("task:progress", subtask_id=row, offset=0, delta="a\ud83d") == {
                "success": True,
                "offset": 1,
            }
            assert device.call("task:progress", subtask_id=row, offset=2, delta="\ude00")["offset"] == 2
            assert device.call("task:complete", subtask_id=row, status="FAILED", error_message="\udfff") == {
                "success": True
            }
            told = person.wait_for("chat:error")
            assert (told["result"]["value"], told["error"]) == ("a😀", "\ufffd")
    stock.client.disconnect()
    person.client.disconnect()


def test_a_newer_registration_closes_the_older_connection_for_good(server: Server) -> None:
    with raw_device(server) as older:
        older.call("device:register", device_id="twice", name="Older")
        newer = Device(server, "twice")
        newer.register()
        assert older.wait_for("device:replaced")["device_id"] == "twice"
        with pytest.raises(ConnectionClosed) as caught:
            older.read()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 4403
        with raw_device(server) as newest:
            newest.call("device:register", device_id="twice", name="Newest")
            newer.client.wait()  # the stock client stays away
            assert not newer.client.connected
            newer.client.eio.ws.shutdown()  # it leaves its socket open where the server closed first


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_server_that_stops_loses_nothing_of_what_the_device_keeps(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as server:
        person = Person(server)
        with raw_device(server) as device:
            device.call("device:register", device_id="box", name="Box")
            sent = person.send("box")
            job = device.wait_for("task:execute")
            run = {"subtask_id": job["subtask_id"], "attempt": job["attempt"]}
            assert device.call("task:progress", **run, offset=0, delta="one ")["offset"] == 4
            person.client.disconnect()
            server.end(number)
        server.start()
        person = Person(server)
        with raw_device(server) as device:
            (known,) = device.call("device:register", device_id="box", name="Box")["running"]
            assert (known["subtask_id"], known["attempt"], known["status"]) == (*run.values(), "RUNNING")
            assert known["offset"] in ((0, 4) if number == signal.SIGKILL else (4,))
            person.client.call("task:join", {"task_id": sent["task_id"]}, timeout=10)
            assert device.call("task:progress", **run, offset=0, delta="one two")["offset"] == 7
            assert device.call("task:complete", **run, status="COMPLETED") == {"success": True}
            assert person.wait_for("chat:done")["result"]["value"] == "one two"
        person.client.disconnect()

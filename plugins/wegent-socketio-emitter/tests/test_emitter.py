"""A stock RedisManager that only writes emits into rooms of a real server; hostile messages harm nobody."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import socketio
from wegent_socketio_emitter.messages import Emit, NotUnderstood, read

from tests.e2e.serving import Server, serving, until
from tests.fanout.redis_server import RedisServer, serve

SOURCE = Path(__file__).parents[1] / "src"


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    yield from serve()


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{SOURCE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        plugin = 'plugins.add=["wegent_socketio_emitter.plugin:EmitterPlugin"]'
        with serving(tmp_path_factory.mktemp("data"), plugin, f"socketio-emitter.url={redis_server.url('0')}") as found:
            until(lambda: redis_server.do("PUBSUB", "NUMSUB", "socketio")[1] == 1)
            yield found


class Client:
    """A stock client, and what it hears."""

    def __init__(self, server: Server) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.io = socketio.Client(reconnection=False)
        self.io.on("*", lambda event, *data: self.heard.append((event, *data)), namespace="/chat")
        token = server.login()
        self.io.connect(server.url, auth={"token": token}, namespaces=["/chat"], transports=["websocket"])
        self.sid = str(self.io.get_sid("/chat"))

    def hears(self, *expected: Any) -> None:
        until(lambda: expected in self.heard)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    client = Client(server)
    yield client
    client.io.disconnect()


@pytest.fixture
def manager(redis_server: RedisServer) -> Iterator[socketio.RedisManager]:
    manager = socketio.RedisManager(redis_server.url("0"), write_only=True)
    yield manager
    if manager.redis is not None:
        manager.redis.close()


def test_a_room_hears_what_a_manager_emits(client: Client, manager: socketio.RedisManager) -> None:
    manager.emit("notice", {"text": "hällo 👋"}, namespace="/chat", room="user:1")
    client.hears("notice", {"text": "hällo 👋"})


def test_a_session_all_of_a_namespace_and_several_rooms(client: Client, manager: socketio.RedisManager) -> None:
    manager.emit("one", 1, namespace="/chat", room=client.sid)
    manager.emit("all", [1, 2], namespace="/chat")
    manager.emit("some", None, namespace="/chat", room=["nobody", "user:1", client.sid])
    for expected in (("one", 1), ("all", [1, 2]), ("some", None)):
        client.hears(*expected)
    assert sum(event == "some" for event, *_ in client.heard) == 1


def test_who_is_to_be_skipped_hears_nothing(server: Server, client: Client, manager: socketio.RedisManager) -> None:
    other = Client(server)
    manager.emit("but", "you", namespace="/chat", room="user:1", skip_sid=client.sid)
    manager.emit("last", 0, namespace="/chat", room="user:1")
    client.hears("last", 0)
    other.hears("but", "you")
    assert not [event for event, *_ in client.heard if event == "but"]
    other.io.disconnect()


def test_binary_data_arrives_as_such(client: Client, manager: socketio.RedisManager) -> None:
    manager.emit("file", {"name": "x", "data": b"\x00\xff"}, namespace="/chat", room="user:1")
    client.hears("file", {"name": "x", "data": b"\x00\xff"})


def test_rooms_are_entered_left_and_closed(client: Client, manager: socketio.RedisManager) -> None:
    manager.enter_room(client.sid, "/chat", "extra")
    manager.emit("in", 1, namespace="/chat", room="extra")
    manager.leave_room(client.sid, "/chat", "extra")
    manager.emit("in", 2, namespace="/chat", room="extra")
    manager.emit("end", 0, namespace="/chat", room="user:1")
    client.hears("end", 0)
    assert [data for event, *data in client.heard if event == "in"] == [[1]]


def test_a_session_is_disconnected(server: Server, redis_server: RedisServer) -> None:
    client = Client(server)
    order = {"method": "disconnect", "sid": client.sid, "namespace": "/chat", "host_id": "elsewhere"}
    redis_server.do("PUBLISH", "socketio", json.dumps(order))
    until(lambda: not client.io.connected)


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


NO_ATTACHMENT = {"method": "emit", "event": "x", "binary": True, "data": [{"_placeholder": True, "num": 7}]}
NOBODY = {"method": "enter_room", "sid": "nobody", "namespace": "/chat", "room": "x"}


def test_hostile_messages_harm_nobody(
    client: Client, manager: socketio.RedisManager, redis_server: RedisServer, tmp_path: Path
) -> None:
    bomb = Bomb(tmp_path / "was-here")
    bodies: list[Any] = [b"", b"{", b"[]", b"null", b'{"method":1}', b'{"method":"emit"}', b"\x80\x04", b"\xff\xfe"]
    bodies += [pickle.dumps(bomb), pickle.dumps({"method": "emit", "event": bomb}), b"x" * 2_000_000]
    bodies += [json.dumps(NO_ATTACHMENT), json.dumps(NOBODY)]
    for body in bodies:
        redis_server.do("PUBLISH", "socketio", body)
    manager.emit("still", "here", namespace="/chat", room="user:1")
    client.hears("still", "here")
    assert not bomb.path.exists()


def test_pickles_of_plain_data_are_read_and_others_are_not(tmp_path: Path) -> None:
    message = {"method": "emit", "event": "e", "data": [1], "namespace": "/chat", "room": "r", "skip_sid": None}
    assert read(pickle.dumps(message)) == Emit("/chat", "e", 1, ("r",), frozenset())
    with pytest.raises(NotUnderstood, match="only plain data"):
        read(pickle.dumps({"method": "emit", "event": Bomb(tmp_path)}))

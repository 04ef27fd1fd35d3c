"""Two hosts with one Redis and one database, and long-polling that reaches either of them."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.serving import Server, serving
from tests.e2e.test_workers import Poller, settings
from tests.fanout.redis_server import RedisServer
from tests.storage.databases import free_port
from wegent.core.errors import ConfigError
from wegent.transports.otherhosts import parse_address


@contextmanager
def hosts(folder: Path, redis: str, *, advertise: bool, workers: int = 1) -> Iterator[tuple[Server, Server]]:
    """Two of them; with `advertise` each tells the other where it is."""
    rows = f'storage.url="sqlite:///{folder / "one" / "wegent.db"}"'
    (folder / "two").mkdir(parents=True)
    ports = [free_port(), free_port()]

    def own(port: int) -> list[str]:
        found = [f'front-door.advertise="http://127.0.0.1:{port}"'] if advertise else []
        return [*settings(redis), rows, *found]

    with serving(folder / "one", *own(ports[0]), workers=workers, port=ports[0]) as one:
        shutil.copy(folder / "one/secret", folder / "two/secret")
        with serving(folder / "two", *own(ports[1]), workers=workers, port=ports[1]) as two:
            yield one, two


class Wanderer(Poller):
    """Asks one host after the other."""

    def __init__(self, servers: tuple[Server, ...], token: str) -> None:
        self.turns = itertools.cycle(servers)
        super().__init__(servers[0], token)

    def get(self) -> str:
        self.url = f"{next(self.turns).url}/socket.io/"
        return super().get()


def test_a_session_is_polled_at_any_host_until_its_own_is_gone(redis_server: RedisServer, tmp_path: Path) -> None:
    with hosts(tmp_path, redis_server.url("1"), advertise=True, workers=2) as servers:
        one, two = servers
        token = one.login()
        poller = Wanderer(servers, token)
        message = {"team_id": two.team(token), "message": "/long 30"}
        poller.post('42/chat,1["chat:send",' + json.dumps(message) + "]")
        text, ended = "", False
        events: Iterator[tuple[str, Any]] = poller.events()
        while not ended:
            name, data = next(events)
            if name == "chat:chunk":
                assert data["offset"] == len(text)
                text += data["content"]
            ended = name == "chat:done"
        assert len(text) > 150
        one.end(signal.SIGKILL)  # it stays in the registry for a while
        answer = httpx.get(f"{two.url}/socket.io/", params=poller.query)
        assert (answer.status_code, answer.json()["code"]) == (400, 1)


def test_a_host_that_knows_no_way_names_the_remedy(redis_server: RedisServer, tmp_path: Path) -> None:
    with hosts(tmp_path, redis_server.url("7"), advertise=False) as (one, two):
        sid = Poller(one, one.login()).sid
        for ask in (httpx.get, httpx.post):
            answer = ask(f"{two.url}/socket.io/", params={"EIO": "4", "transport": "polling", "sid": sid})
            assert (answer.status_code, answer.json()["code"]) == (400, 1)
            assert "one host" in answer.json()["message"]
            assert "front-door.advertise" in answer.json()["message"]


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", 'front-door.advertise="10.0.0.5:8000"')
    with pytest.raises(AssertionError, match="http://HOST:PORT"):
        server.start()


@pytest.mark.parametrize(
    "wrong", ["", "https://a:1", "http://a", "http://a:0", "http://a:99999", "http://u@a:1", "http://a:1/x"]
)
def test_only_host_and_port_are_an_address(wrong: str) -> None:
    assert parse_address("http://[::1]:8000/") == ("::1", 8000)
    with pytest.raises(ConfigError, match="http://HOST:PORT"):
        parse_address(wrong)

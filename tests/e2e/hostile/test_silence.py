"""Connections that say nothing, or not enough."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.e2e.hostile.rules import sessions
from tests.e2e.raw_sockets import Engine, Poller, Raw, Socket
from tests.e2e.serving import Server, serving, until


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with little patience."""
    settings = ["front-door.head_timeout=0.5", "http.keep_alive=0.5"]
    for section in ("websocket", "socketio"):
        settings += [f"{section}.connect_timeout=0.5", f"{section}.ping_interval=1", f"{section}.ping_timeout=0.8"]
    settings += ["socketio.upgrade_timeout=0.5", "socketio.body_timeout=0.5"]
    with serving(tmp_path_factory.mktemp("hasty"), *settings) as running:
        yield running


def test_a_connection_that_says_nothing_is_closed(hasty: Server) -> None:
    with Socket(hasty) as client:
        assert client.to_the_end() in (b"", client.rest)


def test_a_head_that_comes_drop_by_drop_is_given_up(hasty: Server) -> None:
    with Socket(hasty) as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        started = time.monotonic()
        try:
            while time.monotonic() - started < 10:
                client.send(b"X-Drop: 1\r\n")
                time.sleep(0.1)
        except ConnectionError:
            pass
        assert time.monotonic() - started < 8
        client.to_the_end()


def test_a_head_that_never_ends_is_answered_with_408(hasty: Server) -> None:
    with Socket(hasty) as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        assert client.to_the_end().startswith(b"HTTP/1.1 408 ")


def test_a_kept_connection_that_says_nothing_more_is_closed(hasty: Server) -> None:
    with Socket(hasty) as client:
        assert client.request("GET /health")[0] == 200
        assert client.to_the_end() == b""
    with Socket(hasty) as client:
        assert client.request("GET /health")[0] == 200
        client.send(b"GET /health HTTP/1.1\r\nHost: ")
        client.to_the_end()


def test_a_body_that_never_ends_is_given_up(hasty: Server) -> None:
    with Poller(hasty) as client, Socket(hasty) as other:
        other.send(f"POST {client.target} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n40".encode())
        assert other.response()[0] == 408


def test_who_does_not_authenticate_in_time_is_refused(hasty: Server) -> None:
    with Raw(hasty) as client:
        assert client.message() == {"error": "Missing authentication token", "code": "NOT_AUTHENTICATED"}
        closed = client.closing()
        assert closed is not None
        assert closed[0] == 4401
    with Engine(hasty) as client:
        assert client.ends() == []
        assert client.closed is not None
    with Poller(hasty) as client:
        assert client.poll() == b"1"
        assert client.request(f"GET {client.target}")[0] == 400


def test_who_does_not_answer_pings_is_told_so(hasty: Server) -> None:
    token = hasty.login()
    with Raw(hasty, token) as client:
        client.sock.settimeout(10)
        seen = b""
        while b"No pong" not in seen and (data := client.sock.recv(65_536)):
            seen += data
        assert (4012).to_bytes(2, "big") + b"No pong" in seen
    with Engine(hasty) as client:
        assert client.connect(token).startswith("40/chat,")
        assert client.ends() == ["2"]
        assert client.closed is not None
        assert client.closed[0] == 4012
    with Poller(hasty, token) as client:
        assert client.poll() == b"2"
        assert client.poll() == b"1"
        assert client.request(f"GET {client.target}")[0] == 400
    until(lambda: not any(sessions(hasty).values()), within=5)


def test_a_polling_client_that_vanishes_is_forgotten(hasty: Server) -> None:
    token = hasty.login()
    with Poller(hasty, token):
        assert any(sessions(hasty).values())
    until(lambda: not any(sessions(hasty).values()), within=8)


def test_an_upgrade_that_is_never_finished_is_given_up(hasty: Server) -> None:
    with Poller(hasty, hasty.login()) as client, Engine(hasty, sid=client.sid) as upgrading:
        upgrading.say("2probe")
        assert upgrading.packet() == "3probe"
        upgrading.ends()
        with Socket(hasty) as other:
            assert other.request(f"POST {client.target}", b"3")[0] == 200

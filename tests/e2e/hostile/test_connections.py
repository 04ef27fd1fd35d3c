"""Connections that vanish, come in a strange order, or ask for something else."""

from __future__ import annotations

import json
import socket

from tests.e2e.raw_sockets import POLL, Engine, Poller, Raw, Socket
from tests.e2e.serving import Server, until
from wegent.transports.ws.client import masked_frame, new_key, upgrade_request


def test_clients_that_reset_at_any_moment_leave_no_trace(house: Server, token: str) -> None:
    upgrade = upgrade_request("x", "/ws/chat", new_key())
    engine = upgrade_request("x", "/socket.io/?EIO=4&transport=websocket", new_key())
    bad = b"GET /ws/chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    login = b'POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n{"user'
    for data in (b"", b"x", b"nonsense\r\n\r\n", upgrade, upgrade[:-2], engine, bad, login, upgrade + b"\xff" * 20):
        for _ in range(10):
            with Socket(house) as client:
                client.send(data)
                client.vanish()


def test_a_client_that_vanishes_in_the_middle_of_an_upgrade_goes_on_polling(house: Server, token: str) -> None:
    with Poller(house, token) as client:
        for said in ([], ["2probe"], ["hello"], ["2probe", "2probe"], ["5nonsense"]):
            with Engine(house, sid=client.sid) as upgrading:
                for packet in said:
                    upgrading.say(packet)
                if said[:1] == ["2probe"]:
                    assert upgrading.packet() == "3probe"
                upgrading.vanish()
            until(lambda: can_upgrade(house, client.sid), within=5)
            status, _ = client.post('42/chat,1["task:leave",{"task_id":1}]')
            assert status == 200
            packets = b""
            while b"43/chat,1" not in packets:
                packets = client.poll()


def can_upgrade(server: Server, sid: str) -> bool:
    """Whether the server lets this session be moved; asking moves nothing."""
    with Socket(server) as client:
        client.send(upgrade_request("x", f"/socket.io/?EIO=4&transport=websocket&sid={sid}", new_key()))
        return b" 101 " in client.until(b"\r\n")


def test_a_poll_that_comes_after_the_probe_returns_so_that_the_upgrade_goes_on(house: Server, token: str) -> None:
    with Poller(house, token) as client, Engine(house, sid=client.sid) as upgraded:
        upgraded.say("2probe")
        assert upgraded.packet() == "3probe"
        assert client.poll() == b"6"
        upgraded.say("5")
        upgraded.say('42/chat,1["task:leave",{"task_id":1}]')
        assert upgraded.packet() == '43/chat,1[{"success":true}]'
        assert client.request(f"GET {client.target}")[0] == 400


def test_an_upgrade_of_an_unknown_or_upgraded_session_is_refused(house: Server) -> None:
    with Engine(house) as client:
        for sid in (client.open["sid"], "w.nobody", "%ff"):
            with Socket(house) as other:
                other.send(upgrade_request("x", f"/socket.io/?EIO=4&transport=websocket&sid={sid}", new_key()))
                assert other.response()[0] == 400


def test_an_upgrade_on_a_path_that_nobody_serves_is_refused(house: Server) -> None:
    for target in ("/", "/ws", "/ws/nobody", "/health", "/api/v1/tasks"):
        with Socket(house) as client:
            client.send(upgrade_request("x", target, new_key()))
            assert client.response()[0] in (403, 404)


def test_requests_on_one_kept_connection_are_answered_in_order(house: Server, token: str) -> None:
    with Socket(house) as client:
        ask = "GET /{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\n\r\n"
        paths = ["health", "api/v1/users/me", "health", "nothing", POLL[1:], "ready"] * 10
        client.send("".join(ask.format(path) for path in paths).encode())
        answers = [client.response() for _ in paths]
        assert [status for status, _, _ in answers] == [200, 200, 200, 404, 200, 200] * 10
        assert all(b"admin" in body for _, _, body in answers[1::6])


def test_an_upgrade_on_a_kept_connection_is_refused_and_a_new_connection_is_served(house: Server, token: str) -> None:
    with Socket(house) as client:
        assert client.request("GET /health")[0] == 200
        client.send(upgrade_request("x", "/ws/chat", new_key()))
        status, _, _ = client.response()
        assert status == 503
        assert client.to_the_end() == b""
    with Raw(house, token):
        pass


def test_what_follows_an_upgrade_request_in_the_same_packet_is_heard(house: Server, token: str) -> None:
    with Socket(house) as client:
        auth = masked_frame(json.dumps({"auth": {"token": token}}).encode())
        event = masked_frame(b'{"event": "task:leave", "data": {"task_id": 1}, "id": 1}')
        client.send(upgrade_request("x", "/ws/chat", new_key()) + auth + event)
        client.until(b'{"ack":1,"data":{"success":true}}')


def test_other_protocols_are_refused(house: Server) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n"
    for data in (
        hello,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.0\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n\r\n",
    ):
        with Socket(house) as client:
            client.send(data)
            assert client.to_the_end().split(b" ")[1] in (b"400", b"505")
    with Socket(house) as client:
        settings = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n" + settings + b"\r\n")
        assert client.response()[0] == 200, "the upgrade is not taken, the request is answered"


def test_half_closed_connections_are_ended(house: Server, token: str) -> None:
    with Raw(house, token) as client:
        client.sock.shutdown(socket.SHUT_WR)
        client.closing()
    with Engine(house) as client:
        client.connect(token)
        client.sock.shutdown(socket.SHUT_WR)
        client.ends()
    with Socket(house) as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        assert b"200" in client.to_the_end()

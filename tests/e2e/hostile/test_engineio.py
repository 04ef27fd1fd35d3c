"""Socket.IO packets and polling requests that break the rules."""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.hostile.rules import DEEP, refused, sessions
from tests.e2e.raw_sockets import POLL, Engine, Poller, Raw, Socket
from tests.e2e.serving import Server, until
from wegent.transports.ws import BINARY
from wegent.transports.ws.client import masked_frame, new_key, upgrade_request

BROKEN = {
    "no packet": "hello",
    "an engine packet without a place": "0{}",
    "an upgrade on what is upgraded": "5",
    "a type that is none": "49",
    "an event that is no array": '42/chat,{"a":1}',
    "an event without name": "42/chat,[]",
    "an event of a number": "42/chat,[7]",
    "no JSON": '42/chat,["task:join",',
    "an ack id of a thousand digits": "42/chat," + "9" * 1_000 + '["task:join",{"task_id":1}]',
    "a namespace of a megabyte": "40/" + "x" * 900_000 + ",",
    "a payload of brackets": "42/chat,1" + DEEP,
    "a hundred thousand attachments": '4599999-/chat,1["task:join",{"_placeholder":true,"num":0}]',
    "attachments that are negative": '45-1-/chat,["x"]',
    "a placeholder without attachment": '451-/chat,1["task:join",{"_placeholder":true,"num":7}]',
    "an event name that is reserved": '42/chat,1["disconnect"]',
    "a binary event without binary": '450-/chat,3["task:join",{"task_id":1}]',
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_packets_are_answered_or_end_the_connection(house: Server, token: str, name: str) -> None:
    with Engine(house) as client:
        client.connect(token)
        client.say(BROKEN[name])
        client.say('42/chat,9["task:join",{"task_id":1}]')
        packets = []
        while (frame := client.frame()) is not None:
            packets.append(frame[1].decode())
            if packets[-1].startswith("43/chat,9"):
                break
        assert client.closed is not None or packets, "neither an answer nor a close"
        assert not [each for each in packets if each.startswith("41")]
        for packet in packets:
            if packet.startswith("43/chat,1"):
                refused(json.loads(packet.removeprefix("43/chat,1"))[0], "INVALID_PAYLOAD")


@pytest.mark.parametrize("name", BROKEN)
def test_broken_packets_over_polling_are_answered_or_end_the_session(house: Server, token: str, name: str) -> None:
    with Poller(house, token) as client:
        status, _ = client.post(BROKEN[name] + "\x1e" + '42/chat,9["task:join",{"task_id":1}]')
        assert status in (200, 400)
        if status == 400:
            assert client.request(f"GET {client.target}")[0] == 400
        else:
            assert client.poll()


def test_text_where_an_attachment_is_due_ends_the_connection(house: Server, token: str) -> None:
    with Engine(house) as client:
        client.connect(token)
        client.say('451-/chat,1["task:join",{"_placeholder":true,"num":0}]')
        client.say('42/chat,2["task:join",{"task_id":1}]')
        assert client.ends() == []
        assert client.closed is not None
        assert client.closed[0] == 4400


def test_an_attachment_that_nobody_waits_for_ends_the_connection(house: Server, token: str) -> None:
    with Engine(house) as client:
        client.connect(token)
        client.say(b"x" * 100, BINARY)
        assert client.ends() == []
        assert client.closed is not None
        assert client.closed[0] == 4400


def test_binary_where_json_is_wanted_is_an_error_ack(house: Server, token: str) -> None:
    with Engine(house) as client:
        client.connect(token)
        client.say('451-/chat,1["task:join",{"task_id":{"_placeholder":true,"num":0}}]')
        client.say(b"\0\1\2", BINARY)
        refused(json.loads(client.packet().removeprefix("43/chat,1"))[0], "INVALID_PAYLOAD")


def test_unknown_and_many_namespaces_are_refused_and_the_known_one_is_served(house: Server, token: str) -> None:
    with Engine(house) as client:
        client.send(b"".join(masked_frame(f"40/room{n},{{}}".encode()) for n in range(500)))
        for n in range(500):
            packet = client.packet()
            assert packet.startswith(f"44/room{n},")
            assert json.loads(packet.partition(",")[2])["message"] == "Invalid namespace"
        assert client.connect(token).startswith("40/chat,")


def test_an_event_in_a_namespace_that_was_never_connected_is_refused(house: Server) -> None:
    with Engine(house) as client:
        client.say('42/chat,1["task:join",{"task_id":1}]')
        refused(json.loads(client.packet().removeprefix("43/chat,1"))[0], "NOT_AUTHENTICATED")


def test_connecting_and_leaving_at_once_leaves_no_session_behind(house: Server, token: str) -> None:
    before = sessions(house)
    connect = masked_frame(("40/chat," + json.dumps({"token": house.login()})).encode())
    for turn in range(20):
        with Engine(house) as client:
            client.send(connect + masked_frame(b"41/chat,") + connect * (turn % 3))
            client.vanish()
        with Raw(house) as raw:
            raw.tell({"auth": {"token": token}})
            raw.vanish()
        with Poller(house) as poller:
            poller.post("40/chat," + json.dumps({"token": token}) + "\x1e1")
    until(lambda: sessions(house) == before or None, within=10)


def test_two_polls_at_once_end_the_session(house: Server, token: str) -> None:
    with Poller(house, token) as client, Socket(house) as other:
        client.send(f"GET {client.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        until(lambda: other.request(f"GET {client.target}")[0] == 400, within=5)
        assert client.response()[0] in (200, 400), "whichever came first"
        assert client.post("3") == (400, b'{"code":1,"message":"Session ID unknown"}')


def test_a_poll_that_is_given_up_loses_nothing(house: Server, token: str) -> None:
    with Poller(house, token) as client:
        for n in range(5):
            with Socket(house) as leaving:
                leaving.send(f"GET {client.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                time.sleep(0.05)  # no sign tells that a poll waits
            time.sleep(0.05)
            assert client.post(f'42/chat,{n}["task:leave",{{"task_id":1}}]') == (200, b"ok")
            assert client.poll().decode() == f'43/chat,{n}[{{"success":true}}]'


REQUESTS: dict[str, tuple[str, int]] = {
    "an unknown session": (f"GET {POLL}&sid=w.nobody", 400),
    "a post to an unknown session": (f"POST {POLL}&sid=w.nobody", 400),
    "a post without session": (f"POST {POLL}", 400),
    "another version": ("GET /socket.io/?EIO=3&transport=polling", 400),
    "no version": ("GET /socket.io/?transport=polling", 400),
    "another transport": ("GET /socket.io/?EIO=4&transport=pigeon", 400),
    "a websocket without upgrade": ("GET /socket.io/?EIO=4&transport=websocket", 400),
    "another method": (f"DELETE {POLL}&sid=x", 400),
    "a thousand parameters": (f"GET {POLL}" + "&a=b" * 1_000, 400),
    "bytes for a session": (f"GET {POLL}&sid=%ff%00%fe", 400),
    "bytes for everything": ("GET /socket.io/?%ff=%fe&=&&&;;%", 400),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_strange_polling_requests_are_refused(house: Server, name: str) -> None:
    asked, status = REQUESTS[name]
    with Socket(house) as client:
        got, _, body = client.request(asked)
        assert got == status
        assert set(json.loads(body)) == {"code", "message"}


ORIGINS = ["http://evil.example", "null", "http://[", "http://x@evil.example", "http://x:1:2", "\xff"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_pages_of_other_origins_are_refused_on_every_way_in(house: Server, origin: str) -> None:
    with Socket(house) as client:
        client.send(f"GET {POLL} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n\r\n".encode("latin-1"))
        status, headers, _ = client.response()
        assert status == 403
        assert "access-control-allow-origin" not in headers
    for target in ("/ws/chat", "/socket.io/?EIO=4&transport=websocket"):
        with Socket(house) as client:
            client.send(
                upgrade_request("x", target, new_key()).replace(
                    b"\r\n\r\n", b"\r\nOrigin: %s\r\n\r\n" % origin.encode("latin-1")
                )
            )
            assert client.response()[0] == 403


def test_oversized_posts_are_refused_and_the_session_lives(house: Server, token: str) -> None:
    with Poller(house, token) as client:
        with Socket(house) as other:
            other.send(f"POST {client.target} HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n".encode())
            assert other.response()[0] == 413
        with Socket(house) as other:
            other.send(f"POST {client.target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            try:
                for _ in range(30):
                    other.send(b"10000\r\n" + b"4" * 65_536 + b"\r\n")
                assert other.response()[0] == 413
            except ConnectionError:
                pass  # cut while it was still sending
        with Socket(house) as other:
            other.send(f"POST {client.target} HTTP/1.1\r\nHost: x\r\nContent-Length: {'9' * 5_000}\r\n\r\n".encode())
            assert other.response()[0] in (400, 413)
        assert client.post('42/chat,1["task:leave",{"task_id":1}]') == (200, b"ok")
        assert client.poll().startswith(b"43/chat,1")


def test_a_payload_of_a_hundred_thousand_packets_is_handled_or_refused(house: Server, token: str) -> None:
    with Poller(house, token) as client:
        status, _ = client.post("\x1e".join(["6"] * 100_000))
        assert status in (200, 400)

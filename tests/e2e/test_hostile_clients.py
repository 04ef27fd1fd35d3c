"""Clients that break every rule, against a real server: a refusal with a reason, and everybody else is served."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.e2e.raw_sockets import POLL, Engine, Poller, Raw, Socket, still_serves
from tests.e2e.serving import Server, serving, until
from wegent.transports.ws import BINARY, PING, TEXT
from wegent.transports.ws.client import masked_frame, new_key, upgrade_request

MALLORY = "mallory's password"
MASK = b"\1\2\3\4"
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two users; the second one was added while it ran."""
    with serving(tmp_path_factory.mktemp("house"), "offline.tokens_per_s=0", "offline.beats_per_s=100") as running:
        command = [sys.executable, "-m", "wegent.cli.main", "user", "add", "mallory", "--password-stdin"]
        subprocess.run([*command, "--data", str(running.data)], input=MALLORY + "\n", text=True, check=True, timeout=60)
        yield running


@pytest.fixture(scope="module")
def token(house: Server) -> str:
    return house.login()


@pytest.fixture(scope="module")
def mallory(house: Server) -> str:
    return house.login("mallory", MALLORY)


@pytest.fixture(scope="module")
def secret_task(house: Server, token: str) -> dict[str, Any]:
    """A conversation of the first user that nobody else may see; its ids, and the team's."""
    team = house.team(token)
    with Raw(house, token) as owner:
        sent = owner.call("chat:send", {"team_id": team, "message": "/echo the secret is 4711", "title": "4711"})
        assert owner.event("chat:done")["result"]["value"].endswith("4711")
    return {**sent, "team_id": team}


@pytest.fixture(autouse=True)
def everybody_else_is_served(house: Server, token: str) -> Iterator[None]:
    yield
    still_serves(house, token)


def sessions(server: Server) -> dict[str, float]:
    """Open sessions as the metrics tell them, by labels."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith("wegent_connections"))
    return {name: float(value) for name, _, value in found}


# frames

FRAMES = {
    "garbage": (b"\xff" * 50, 1002),
    "a frame without mask": (b"\x81\x05hello", 1002),
    "a length of 2^63": (b"\x81\xff" + b"\xff" * 8 + MASK, 1002),
    "a length of 2^62": (b"\x81\xff\x40" + b"\0" * 7 + MASK, 1009),
    "a long ping": (b"\x89\xfe\x00\x7e" + MASK + b"x" * 126, 1002),
    "a ping in pieces": (b"\x09\x80" + MASK, 1002),
    "a message inside another": (b"\x01\x80" + MASK + b"\x81\x80" + MASK, 1002),
    "a continuation of nothing": (b"\x80\x80" + MASK, 1002),
    "reserved bits": (b"\xc1\x80" + MASK, 1002),
    "an unknown opcode": (b"\x83\x80" + MASK, 1002),
    "text that is no UTF-8": (masked_frame(b"\xff\xfe", TEXT), 1007),
    "half a code point at the end": (masked_frame(b'"\xf0\x9f\x91', TEXT), 1007),
    "an encoded surrogate": (masked_frame(b'"\xed\xa0\x80"', TEXT), 1007),
    "a close with half a code": (b"\x88\x81" + MASK + b"\x03", 1002),
    "a close with a code not to be sent": (masked_frame(b"\x03\xed", 8), 1002),
    "a message of 5 MB": (masked_frame(b"x" * 5_000_000, TEXT), 1009),
    "a message of 5 MB in pieces": (
        b"\x01" + masked_frame(b"x" * 60_000)[1:] + (b"\x00" + masked_frame(b"x" * 60_000)[1:]) * 80, 1009
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("greeted", [False, True], ids=["stranger", "friend"])
def test_broken_frames_close_the_raw_connection_with_a_code(
    house: Server, token: str, name: str, greeted: bool
) -> None:
    data, code = FRAMES[name]
    with Raw(house, token if greeted else None) as client:
        try:
            client.send(data)
        except ConnectionError:
            return  # refused while it was still being sent
        closed = client.closing()
        assert closed is None or closed[0] == code
        assert closed is not None or len(data) > 1_000_000, "a small frame's refusal always arrives"


@pytest.mark.parametrize("name", FRAMES)
def test_broken_frames_close_the_engine_connection_with_a_code(house: Server, token: str, name: str) -> None:
    data, code = FRAMES[name]
    with Engine(house) as client:
        assert client.connect(token).startswith("40/chat,")
        try:
            client.send(data)
        except ConnectionError:
            return
        packets = client.ends()
        assert not [each for each in packets if each.startswith("41")], "it may come back"
        assert client.closed is None or client.closed[0] == code


def test_a_message_in_ten_thousand_pieces_is_one_message(house: Server, token: str) -> None:
    text = json.dumps({"event": "task:join", "data": {"task_id": 2**40}, "id": "x" * 9_000}).encode()
    with Raw(house, token) as client:
        pieces = [bytes((0, 0x81)) + MASK + bytes((each ^ 1,)) for each in text]
        pieces[0] = bytes((TEXT,)) + pieces[0][1:]
        client.send(b"".join(pieces) + b"\x80\x80" + MASK)
        assert client.answer("x" * 9_000)["code"] == "NOT_FOUND"


def test_empty_pieces_without_end_cost_nothing_and_pings_are_answered_among_them(house: Server, token: str) -> None:
    with Raw(house, token) as client:
        client.send(b"\x01\x80" + MASK + (b"\x00\x80" + MASK) * 50_000)
        client.send(masked_frame(b"still there?", PING))
        frame = client.frame()
        assert frame is not None
        assert frame[1] == b"still there?"


def test_thousands_of_pings_are_answered_by_few_pongs_the_last_among_them(house: Server, token: str) -> None:
    with Raw(house, token) as client:
        client.send(b"".join(masked_frame(b"%d" % n, PING) for n in range(20_000)))
        pongs = 0
        while (frame := client.frame()) is not None:
            pongs += 1
            if frame[1] == b"19999":
                break
        assert 0 < pongs < 10_000


# messages of the raw transport

MESSAGES = {
    "no JSON": ("nonsense", 4400),
    "an empty message": ("", 4400),
    "a list": ("[]", 4400),
    "a number": ("7", 4400),
    "null": ("null", 4400),
    "nothing known": ('{"hello": 1}', 4400),
    "an event that is no string": ('{"event": 7, "data": {}, "id": 1}', 4400),
    "an id that is a list": ('{"event": "task:join", "id": []}', 4400),
    "an ack that is no number": ('{"ack": "x"}', 4400),
    "deep nesting": (DEEP, 4400),
    "deep objects": ('{"a":' * 50_000 + "1" + "}" * 50_000, 4400),
    "a deep payload": ('{"event": "task:join", "id": 1, "data": ' + DEEP + "}", 4400),
    "NaN": ('{"event": "task:join", "data": {"task_id": NaN}, "id": 1}', 4400),
    "a lone surrogate escape": ('{"event": "task:join", "data": {"task_id": "\\ud800"}, "id": 1}', 4400),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_that_are_none_are_refused_with_a_sentence_and_a_close(house: Server, token: str, name: str) -> None:
    data, code = MESSAGES[name]
    with Raw(house, token) as client:
        client.say(data)
        refused = client.message()
        if "ack" in refused:
            assert refused["data"]["code"] == "INVALID_PAYLOAD"
            return
        assert refused["error"]
        assert refused["code"] == "INVALID_PAYLOAD"
        closed = client.closing()
        assert closed is not None
        assert closed[0] == code


def test_what_follows_a_refused_message_is_not_heard(house: Server, token: str) -> None:
    with Raw(house, token) as client:
        event = json.dumps({"event": "chat:send", "data": {"team_id": house.team(token), "message": "/echo x"}})
        before = len(house.get("/tasks", token)["items"])
        client.send(masked_frame(b"nonsense") + masked_frame(event.encode()) * 3)
        assert client.closing() is not None
    assert len(house.get("/tasks", token)["items"]) == before


def test_binary_messages_are_refused_by_the_raw_transport(house: Server, token: str) -> None:
    with Raw(house, token) as client:
        client.say(b"{}", BINARY)
        assert client.message()["code"] == "INVALID_PAYLOAD"
        assert client.closing() == (4400, "Bad request")


FIRST = {
    "an event before anything": '{"event": "task:join", "data": {"task_id": 1}, "id": 1}',
    "auth of null": '{"auth": null}',
    "auth of a list": '{"auth": [1, 2]}',
    "a token of a number": '{"auth": {"token": 7}}',
    "an empty token": '{"auth": {"token": ""}}',
    "a token of a megabyte": json.dumps({"auth": {"token": "a" * 900_000}}),
    "a token with U+0000": '{"auth": {"token": "a\\u0000b.c.d"}}',
}


@pytest.mark.parametrize("name", FIRST)
def test_a_first_message_that_does_not_authenticate_is_refused(house: Server, name: str) -> None:
    with Raw(house) as client:
        client.say(FIRST[name])
        refused = client.message()
        assert refused["code"] == "NOT_AUTHENTICATED"
        closed = client.closing()
        assert closed is not None
        assert closed[0] == 4401


# payloads

PAYLOADS: dict[str, tuple[str, Any, str]] = {
    "nothing": ("chat:send", None, "INVALID_PAYLOAD"),
    "a list": ("chat:send", [1, 2], "INVALID_PAYLOAD"),
    "a string": ("chat:send", "hello", "INVALID_PAYLOAD"),
    "no team": ("chat:send", {"message": "x"}, "INVALID_PAYLOAD"),
    "a team of text": ("chat:send", {"team_id": "1", "message": "x"}, "INVALID_PAYLOAD"),
    "a team that is a flag": ("chat:send", {"team_id": True, "message": "x"}, "INVALID_PAYLOAD"),
    "a team of 2^60": ("chat:send", {"team_id": 2**60, "message": "x"}, "INVALID_PAYLOAD"),
    "a team of 10^400": ("chat:send", {"team_id": 10**400, "message": "x"}, "INVALID_PAYLOAD"),
    "a negative team": ("chat:send", {"team_id": -1, "message": "x"}, "INVALID_PAYLOAD"),
    "a team that is not there": ("chat:send", {"team_id": 2**40, "message": "x"}, "NOT_FOUND"),
    "a message of a number": ("chat:send", {"team_id": 1, "message": 7}, "INVALID_PAYLOAD"),
    "an empty message": ("chat:send", {"team_id": 1, "message": " \n"}, "INVALID_PAYLOAD"),
    "U+0000 in the message": ("chat:send", {"team_id": 1, "message": "a\0b"}, "INVALID_PAYLOAD"),
    "U+0000 in the title": ("chat:send", {"team_id": 1, "message": "a", "title": "\0"}, "INVALID_PAYLOAD"),
    "a long client id": ("chat:send", {"team_id": 1, "message": "a", "client_message_id": "x" * 65}, "INVALID_PAYLOAD"),
    "a title of a megabyte": ("chat:send", {"team_id": 1, "message": "a", "title": "x" * 900_000}, "INVALID_PAYLOAD"),
    "an unknown if_running": ("chat:send", {"team_id": 1, "message": "a", "if_running": "kill"}, "INVALID_PAYLOAD"),
    "contexts of text": ("chat:send", {"team_id": 1, "message": "a", "contexts": "x"}, "INVALID_PAYLOAD"),
    "an unknown context": (
        "chat:send", {"team_id": 1, "message": "a", "contexts": [{"type": "shell", "id": 1}]}, "INVALID_PAYLOAD",
    ),
    "join nothing": ("task:join", {}, "INVALID_PAYLOAD"),
    "join task 0": ("task:join", {"task_id": 0}, "INVALID_PAYLOAD"),
    "join with a limit of a million": ("task:join", {"task_id": 1, "limit": 1_000_000}, "INVALID_PAYLOAD"),
    "join what is not there": ("task:join", {"task_id": 2**50}, "NOT_FOUND"),
    "resume below 0": ("chat:resume", {"task_id": 1, "subtask_id": 1, "offset": -1}, "INVALID_PAYLOAD"),
    "resume what is not there": ("chat:resume", {"task_id": 2**50, "subtask_id": 1}, "NOT_FOUND"),
    "cancel what is not there": ("chat:cancel", {"subtask_id": 2**50}, "NOT_FOUND"),
    "history of what is not there": ("history:sync", {"task_id": 2**50}, "NOT_FOUND"),
    "a refresh with nonsense": ("auth:refresh", {"token": "nonsense"}, "NOT_AUTHENTICATED"),
    "an unknown event": ("chat:destroy", {}, "NOT_FOUND"),
    "an event of a megabyte": ("x" * 900_000, {}, "NOT_FOUND"),
    "an event of the server": ("chat:done", {"task_id": 1}, "NOT_FOUND"),
}  # fmt: skip


def refused(answer: Any, code: str) -> None:
    assert answer["code"] == code, answer
    assert 0 < len(answer["error"]) < 1_000, "a sentence, not an echo of what came"


@pytest.mark.parametrize("name", PAYLOADS)
def test_bad_payloads_get_an_error_ack_on_both_transports(house: Server, token: str, name: str) -> None:
    event, data, code = PAYLOADS[name]
    with Raw(house, token) as client:
        refused(client.call(event, data), code)
    with Engine(house) as engine:
        engine.connect(token)
        engine.say("42/chat,5" + json.dumps([event, data]))
        answer = engine.packet()
        assert answer.startswith("43/chat,5[")
        refused(json.loads(answer.removeprefix("43/chat,5"))[0], code)


def test_lone_surrogates_in_a_message_are_refused_and_the_connection_goes_on(house: Server, token: str) -> None:
    team = house.team(token)
    with Engine(house) as client:
        client.connect(token)
        client.say(f'42/chat,1["chat:send",{{"team_id":{team},"message":"half \\ud83d of a pair"}}]')
        answer = client.packet()
        assert answer.startswith("43/chat,1"), answer
        refused(json.loads(answer.removeprefix("43/chat,1"))[0], "INVALID_PAYLOAD")


# tokens


def claims_and_secret(house: Server, token: str) -> tuple[dict[str, Any], str]:
    """What the token claims, and what such tokens are signed with."""
    secret = next(path for path in house.data.iterdir() if "secret" in path.name).read_text().strip()
    return jwt.decode(token, options={"verify_signature": False}), secret


def forged(house: Server, token: str) -> dict[str, str]:
    claims, secret = claims_and_secret(house, token)
    now = int(time.time())
    header, body, signature = token.split(".")
    return {
        "another key": jwt.encode(claims, "x" * 64, "HS256"),
        "no algorithm": jwt.encode(claims, None, "none"),
        "no signature": f"{header}.{body}.",
        "a changed byte": f"{header}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "another algorithm": jwt.encode(claims, "x" * 64, "HS512"),
        "expired": jwt.encode({**claims, "exp": now - 10}, secret, "HS256"),
        "no scope": jwt.encode({k: v for k, v in claims.items() if k != "scope"}, secret, "HS256"),
        "an unknown scope": jwt.encode({**claims, "scope": "god"}, secret, "HS256"),
        "a scope of a list": jwt.encode({**claims, "scope": ["user"]}, secret, "HS256"),
        "no expiry": jwt.encode({k: v for k, v in claims.items() if k != "exp"}, secret, "HS256"),
        "an expiry of text": jwt.encode({**claims, "exp": "never"}, secret, "HS256"),
        "an unknown id": jwt.encode({**claims, "jti": "0" * 32}, secret, "HS256"),
        "nobody": jwt.encode({**claims, "user_id": 2**40, "jti": "1" * 32}, secret, "HS256"),
        "somebody else's name": jwt.encode({**claims, "sub": "mallory"}, secret, "HS256"),
        "a user of text": jwt.encode({**claims, "user_id": "1"}, secret, "HS256"),
        "three dots": "...",
        "bytes": "\xff\xfe",
    }


def test_forged_tokens_open_nothing_anywhere(house: Server, token: str) -> None:
    for name, bad in forged(house, token).items():
        with Raw(house) as raw:
            raw.tell({"auth": {"token": bad}})
            answer = raw.message()
            assert answer["code"] in ("NOT_AUTHENTICATED", "TOKEN_EXPIRED", "ACCESS_DENIED"), name
            closed = raw.closing()
            assert closed is not None
            assert closed[0] in (4401, 4403), name
        with Engine(house) as engine:
            answered = engine.connect(bad)
            assert answered.startswith("44/chat,"), name
            assert json.loads(answered.removeprefix("44/chat,"))["message"]
            engine.say('42/chat,1["task:join",{"task_id":1}]')
            assert not engine.waiting
        if bad.isascii():
            answer = httpx.get(f"{house.url}/api/v1/tasks", headers={"Authorization": f"Bearer {bad}"})
            assert answer.status_code in (401, 403), name


def test_a_token_that_ends_ends_its_connections_by_the_servers_clock(house: Server, token: str) -> None:
    claims, secret = claims_and_secret(house, token)
    short = jwt.encode({**claims, "exp": int(time.time()) + 3}, secret, "HS256")
    with Raw(house, short) as refreshed, Raw(house, short) as raw, Engine(house) as engine:
        assert engine.connect(short).startswith("40/chat,")
        assert refreshed.call("auth:refresh", {"token": token})["success"]
        assert raw.event("auth:error")["code"] == "TOKEN_EXPIRED"
        assert raw.closing() == (4401, "Token expired")
        told, left = engine.ends()
        assert told.startswith('42/chat,["auth:error",')
        assert left == "41/chat,"
        assert refreshed.call("task:leave", {"task_id": 1}) == {"success": True}


# other people's ids


def test_nothing_of_another_user_is_seen_or_changed(house: Server, mallory: str, secret_task: dict[str, Any]) -> None:
    task, answer, team = secret_task["task_id"], secret_task["assistant_subtask_id"], secret_task["team_id"]
    tries = [
        ("task:join", {"task_id": task}),
        ("task:join", {"task_id": task, "after_revision": 0}),
        ("chat:resume", {"task_id": task, "subtask_id": answer}),
        ("history:sync", {"task_id": task}),
        ("chat:cancel", {"subtask_id": answer}),
        ("chat:send", {"task_id": task, "team_id": team, "message": "let me in"}),
    ]
    with Raw(house, mallory) as client:
        for event, data in tries:
            got = client.call(event, data)
            assert got["code"] == "ACCESS_DENIED", (event, got)
            assert "4711" not in json.dumps(got)
        assert client.passed == []
        own = client.call("chat:send", {"team_id": team, "message": "/echo mine"})
        got = client.call("chat:resume", {"task_id": own["task_id"], "subtask_id": answer})
        assert got["code"] == "NOT_FOUND", "another task's answer, asked for through one's own"
    headers = {"Authorization": f"Bearer {mallory}"}
    listed = httpx.get(f"{house.url}/api/v1/tasks", headers=headers)
    one = httpx.get(f"{house.url}/api/v1/tasks/{task}", headers=headers)
    assert one.status_code in (403, 404)
    assert "4711" not in listed.text + one.text


def test_events_of_another_user_are_not_overheard(house: Server, token: str, mallory: str, secret_task: Any) -> None:
    with Raw(house, mallory) as spy, Raw(house, token) as owner:
        assert spy.call("task:join", {"task_id": secret_task["task_id"]})["code"] == "ACCESS_DENIED"
        payload = {"task_id": secret_task["task_id"], "team_id": secret_task["team_id"], "message": "/echo 0815"}
        owner.call("chat:send", payload)
        owner.event("chat:done")
        spy.call("task:leave", {"task_id": 1})
        assert spy.passed == []


def test_a_token_of_somebody_else_does_not_refresh_a_session(house: Server, token: str, mallory: str) -> None:
    with Raw(house, mallory) as client:
        assert client.call("auth:refresh", {"token": token})["code"] == "ACCESS_DENIED"


# Socket.IO packets

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


# polling


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


# bodies


def test_zip_bombs_are_not_unpacked(house: Server, token: str) -> None:
    bomb = gzip.compress(b'{"user_name": "' + b"a" * 50_000_000 + b'"}', 9)
    before = memory(house)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert httpx.post(f"{house.url}/api/v1/auth/login", content=bomb, headers=headers).status_code in (400, 413, 415)
    with Poller(house, token) as client:
        assert client.post(bomb, "Content-Encoding: gzip")[0] == 400
    assert memory(house) - before < 25_000


def memory(server: Server) -> int:
    """KiB that the server's process holds by itself."""
    rollup = Path(f"/proc/{server.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


# many at once


def test_two_hundred_events_at_once_are_all_answered_and_in_order(house: Server, token: str, secret_task: Any) -> None:
    task = secret_task["task_id"]
    with Raw(house, token) as client:
        events = [{"event": "history:sync", "data": {"task_id": task}, "id": n} for n in range(200)]
        client.send(b"".join(masked_frame(json.dumps(each).encode()) for each in events))
        answers = [client.message() for _ in range(200)]
        taken = [each["ack"] for each in answers if "error" not in each["data"]]
        overloaded = [each for each in answers if "error" in each["data"]]
        assert taken == sorted(taken)
        assert len(taken) >= 64
        assert {each["data"]["code"] for each in overloaded} <= {"OVERLOADED"}
        assert sorted(each["ack"] for each in answers) == list(range(200))


def test_two_hundred_tasks_at_once_are_all_answered(house: Server, token: str) -> None:
    with Engine(house) as client:
        client.connect(token)
        texts = [f'42/chat,{n}["task:join",{{"task_id":{2**40 + n}}}]' for n in range(200)]
        client.send(b"".join(masked_frame(text.encode()) for text in texts))
        codes = [json.loads(client.packet().partition("[")[2][:-1])["code"] for _ in texts]
        assert set(codes) <= {"NOT_FOUND", "OVERLOADED"}
        assert codes.count("NOT_FOUND") >= 64


# connections


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


# silence


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

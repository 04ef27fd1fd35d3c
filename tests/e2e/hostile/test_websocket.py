"""Frames and raw messages that break the rules: a close with a reason, and everybody else is served."""

from __future__ import annotations

import json

import pytest

from tests.e2e.hostile.rules import DEEP, MASK
from tests.e2e.raw_sockets import Engine, Raw
from tests.e2e.serving import Server
from wegent.transports.ws import BINARY, PING, TEXT
from wegent.transports.ws.client import masked_frame

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

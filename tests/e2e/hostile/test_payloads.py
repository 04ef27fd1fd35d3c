"""Payloads and bodies that are not what an event takes, and many at once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.hostile.rules import refused
from tests.e2e.raw_sockets import Engine, Poller, Raw
from tests.e2e.serving import Server
from wegent.transports.ws.client import masked_frame

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

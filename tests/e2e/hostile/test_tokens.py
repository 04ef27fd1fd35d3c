"""Tokens that are forged or have ended, and other people's ids."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import jwt

from tests.e2e.raw_sockets import Engine, Raw
from tests.e2e.serving import Server


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

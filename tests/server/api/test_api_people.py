"""Logging in, users and tokens over REST."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from wegent.server.auth import FAILURES

LOGIN = "/auth/login"


def named(name: str, password: str | None = None) -> dict[str, str]:
    return {"user_name": name, "password": password or f"{name}'s password"}


async def test_a_login_gives_a_token_that_works(scene: Any) -> None:
    answer = await scene.post(LOGIN, named("ada"), token=None)
    assert answer.status == 200
    body = answer.json
    assert body["token_type"] == "bearer"
    assert body["user"]["id"] == scene.ada.id
    assert (body["user"]["user_name"], body["user"]["role"]) == ("ada", "user")
    assert datetime.fromisoformat(body["expires_at"]).timestamp() > scene.clock.seconds
    me = await scene.get("/users/me", token=body["access_token"])
    assert (me.status, me.json) == (200, body["user"])
    assert "password" not in str(me.json)


@pytest.mark.parametrize("who", [named("ada", "wrong password"), named("nobody"), named("Ada")])
async def test_a_wrong_login_does_not_say_what_is_wrong(scene: Any, who: dict[str, str]) -> None:
    answer = await scene.post(LOGIN, who, token=None)
    assert answer.status == 401
    assert answer.json == {"error": "Wrong user name or password", "code": "NOT_AUTHENTICATED"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_name": "ada"},
        {"password": "x"},
        {"user_name": 5, "password": "x"},
        {"user_name": "", "password": "x"},
        {"user_name": "a" * 256, "password": "x"},
        {"user_name": "a\x00", "password": "x"},
        {"user_name": ["ada"], "password": "x"},
        {"user_name": "ada", "password": None},
        {"user_name": "ada", "password": "x\x00"},
        {"user_name": {"$ne": ""}, "password": {"$ne": ""}},
    ],
)
async def test_a_malformed_login_is_refused(scene: Any, body: Any) -> None:
    answer = await scene.post(LOGIN, body, token=None)
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")


async def test_guessing_is_slowed(scene: Any) -> None:
    for _ in range(FAILURES):
        assert (await scene.post(LOGIN, named("ada", "wrong password"), token=None)).status == 401
    answer = await scene.post(LOGIN, named("ada"), token=None)
    assert (answer.status, answer.json["code"]) == (429, "RATE_LIMITED")
    assert int(answer.headers["Retry-After"]) == answer.json["retry_after"] > 0


async def test_who_is_gone_is_not_authenticated(scene: Any) -> None:
    ghost, _ = scene.auth.mint(scene.ada, "user", timedelta(hours=1))
    assert (await scene.get("/users/me", token=ghost)).status == 401


# tokens


async def test_a_token_is_made_listed_and_revoked(scene: Any) -> None:
    scene.clock.seconds += 1  # tokens are made to the second
    made = await scene.post("/tokens", {"name": "laptop", "expires_in": 3600})
    assert made.status == 201
    token, token_id = made.json["token"], made.json["id"]
    assert (await scene.get("/users/me", token=token)).json["user_name"] == "ada"
    listed = (await scene.get("/tokens", token=token)).json["items"]
    assert [(item["name"], item["current"]) for item in listed] == [("laptop", True), ("", False)]
    assert token not in str(listed)
    revoked = await scene.call("DELETE", f"/api/v1/tokens/{token_id}")
    assert (revoked.status, revoked.json) == (200, {"success": True})
    assert scene.heard.tokens == [(token_id, scene.ada.id)]
    assert (await scene.get("/users/me", token=token)).status == 401
    assert (await scene.get("/tokens")).json["items"][0]["revoked_at"]


async def test_a_token_for_a_device_names_it(scene: Any) -> None:
    made = (await scene.post("/tokens", {"scope": "device", "device_id": "desk"})).json
    assert (made["scope"], made["claims"]) == ("device", {"device_id": "desk"})
    principal = await scene.auth.authenticate(made["token"], ("device",))
    assert principal.claims == {"device_id": "desk"}


async def test_only_an_admin_makes_tokens_for_executors(scene: Any) -> None:
    body = {"scope": "executor", "targets": ["docker"]}
    denied = await scene.post("/tokens", body)
    assert (denied.status, denied.json["code"]) == (403, "ACCESS_DENIED")
    made = await scene.post("/tokens", body, token="boss")
    assert (made.status, made.json["claims"]) == (201, {"targets": ["docker"]})


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "run"},
        {"scope": "admin"},
        {"scope": None, "expires_in": 59},
        {"expires_in": 59},
        {"expires_in": 10**12},
        {"expires_in": "30d"},
        {"expires_in": 3600.5},
        {"name": 5},
        {"name": "n" * 256},
        {"name": "n\x00"},
        {"scope": "device"},
        {"scope": "device", "device_id": ""},
        {"scope": "device", "device_id": "d" * 101},
        {"device_id": "d"},
        {"scope": "executor"},
        {"scope": "executor", "targets": []},
        {"scope": "executor", "targets": [""]},
        {"scope": "executor", "targets": ["a,b"]},
        {"scope": "executor", "targets": [" a"]},
        {"scope": "executor", "targets": ["device:1:x"]},
        {"scope": "executor", "targets": "docker"},
        {"targets": ["docker"]},
    ],
)
async def test_a_malformed_token_is_not_made(scene: Any, body: Any) -> None:
    answer = await scene.post("/tokens", body, token="boss")
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")
    assert len((await scene.get("/tokens", token="boss")).json["items"]) == 1


async def test_tokens_are_listed_page_by_page(scene: Any) -> None:
    for n in range(4):
        await scene.post("/tokens", {"name": str(n)})
    first = (await scene.get("/tokens?limit=3")).json
    rest = (await scene.get(f"/tokens?limit=3&cursor={first['next_cursor']}")).json
    names = [item["name"] for item in first["items"] + rest["items"]]
    assert (sorted(names), "next_cursor" in rest) == (["", "0", "1", "2", "3"], False)
    assert (await scene.get("/tokens?cursor=WyJ4Il0")).status == 400


async def test_others_tokens_are_an_admins_affair(scene: Any) -> None:
    theirs = (await scene.get("/tokens")).json["items"][0]["id"]
    hidden = await scene.call("DELETE", f"/api/v1/tokens/{theirs}", token="bob")
    assert (hidden.status, hidden.json["code"]) == (404, "NOT_FOUND")
    assert (await scene.get("/tokens?all=true", token="bob")).status == 403
    seen = (await scene.get("/tokens?all=true", token="boss")).json["items"]
    assert {item["user_id"] for item in seen} == {scene.ada.id, scene.bob.id, scene.boss.id}
    assert (await scene.call("DELETE", f"/api/v1/tokens/{theirs}", token="boss")).status == 200
    assert (await scene.get("/users/me")).status == 401


@pytest.mark.parametrize("token_id", ["nothing", "%00", "%F0%9F%8C%8D", "x" * 9_000])
async def test_a_token_that_is_not_there_is_not_found(scene: Any, token_id: str) -> None:
    answer = await scene.call("DELETE", f"/api/v1/tokens/{token_id}", token="boss")
    assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")
    assert scene.heard.tokens == []

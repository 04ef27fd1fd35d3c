"""Users over REST: made and changed by admins and by themselves, shut out, registered."""

from __future__ import annotations

from typing import Any

import pytest

from wegent.server.api.plugin import ApiConfig
from wegent.server.auth import FAILURES

LOGIN = "/auth/login"
NEW = {"user_name": "eve", "password": "eve's password"}


async def put(scene: Any, path: str, body: Any, *, token: str = "", version: str | None = None) -> Any:
    headers = {"If-Match": version} if version else {}
    return await scene.call("PUT", f"/api/v1{path}", body=body, token=token, headers=headers)


async def test_an_admin_makes_a_user_who_can_log_in(scene: Any) -> None:
    made = await scene.post("/users", {**NEW, "role": "admin"}, token="boss")
    assert made.status == 201
    assert {**made.json, "user_name": "eve", "role": "admin", "active": True} == made.json
    assert made.headers["Location"] == f"/api/v1/users/{made.json['id']}"
    assert (await scene.get(f"/users/{made.json['id']}", token="boss")).json == made.json
    assert (await scene.post(LOGIN, NEW, token=None)).status == 200
    again = await scene.post("/users", NEW, token="boss")
    assert (again.status, again.json["code"]) == (409, "CONFLICT")


async def test_users_are_listed_page_by_page(scene: Any) -> None:
    first = (await scene.get("/users?limit=2", token="boss")).json
    rest = (await scene.get(f"/users?limit=2&cursor={first['next_cursor']}", token="boss")).json
    names = [item["user_name"] for item in first["items"] + rest["items"]]
    assert (names, "next_cursor" in rest) == (["ada", "bob", "boss"], False)
    assert "password" not in str(first)


async def test_who_is_no_admin_learns_and_changes_nothing(scene: Any) -> None:
    path = f"/users/{scene.bob.id}"
    answers = [
        await scene.get("/users"),
        await scene.get(path),
        await scene.get("/users/999"),
        await scene.post("/users", NEW),
        await put(scene, path, {"role": "admin"}),
        await put(scene, f"/users/{scene.ada.id}", {"role": "admin"}),
        await put(scene, "/users/999", {"active": False}),
    ]
    assert {(answer.status, answer.json["code"]) for answer in answers} == {(403, "ACCESS_DENIED")}
    assert (await scene.get("/users/me")).json["role"] == "user"


async def test_who_is_deactivated_is_out_and_may_come_back(scene: Any) -> None:
    path = f"/users/{scene.ada.id}"
    out = await put(scene, path, {"active": False}, token="boss")
    assert (out.status, out.json["active"]) == (200, False)
    assert scene.heard.users == [scene.ada.id]
    assert (await scene.get("/users/me")).status == 403
    assert (await scene.post(LOGIN, {"user_name": "ada", "password": "ada's password"}, token=None)).status == 403
    await put(scene, path, {"active": True}, token="boss")
    assert (await scene.get("/users/me")).status == 200
    assert scene.heard.users == [scene.ada.id]


async def test_a_new_password_from_an_admin_ends_logins(scene: Any) -> None:
    kept = (await scene.post("/tokens", {"scope": "device", "device_id": "desk"})).json["token"]
    changed = await put(scene, f"/users/{scene.ada.id}", {"password": "another password"}, token="boss")
    assert changed.status == 200
    assert (await scene.get("/users/me")).status == 401
    assert [user_id for _, user_id in scene.heard.tokens] == [scene.ada.id]
    assert (await scene.auth.authenticate(kept, ("device",))).user_id == scene.ada.id
    assert (await scene.get("/users/me", token="boss")).status == 200
    who = {"user_name": "ada", "password": "another password"}
    assert (await scene.post(LOGIN, who, token=None)).status == 200


async def test_the_last_admin_stays(scene: Any) -> None:
    path = f"/users/{scene.boss.id}"
    for body in ({"active": False}, {"role": "user"}, {"role": "user", "active": False}):
        refused = await put(scene, path, body, token="boss")
        assert (refused.status, refused.json["code"]) == (409, "CONFLICT")
    await put(scene, f"/users/{scene.bob.id}", {"role": "admin"}, token="boss")
    assert (await put(scene, path, {"role": "user"}, token="boss")).json["role"] == "user"
    assert (await scene.get("/users", token="boss")).status == 403
    assert (await scene.get("/users", token="bob")).status == 200


async def test_of_two_admins_who_edit_the_second_is_told(scene: Any) -> None:
    path = f"/users/{scene.ada.id}"
    read = (await scene.get(path, token="boss")).headers["ETag"]
    changed = await put(scene, path, {"role": "admin"}, token="boss", version=read)
    late = await put(scene, path, {"active": False}, token="boss", version=read)
    assert (changed.status, late.status, late.json["code"]) == (200, 412, "CONFLICT")
    assert (await put(scene, path, {"avatar": "a.png"}, token="boss", version=changed.headers["ETag"])).status == 200
    assert (await scene.get(path, token="boss")).json["active"] is True


async def test_one_changes_ones_own_avatar(scene: Any) -> None:
    read = await scene.get("/users/me")
    changed = await put(scene, "/users/me", {"avatar": "🦊"}, version=read.headers["ETag"])
    assert (changed.status, changed.json) == (200, {**read.json, "avatar": "🦊"})
    assert (await put(scene, "/users/me", {"avatar": "x"}, version=read.headers["ETag"])).status == 412
    assert (await put(scene, "/users/me", {})).json == changed.json
    assert (await put(scene, "/users/me", {"avatar": ""})).json == read.json
    assert (await put(scene, "/users/me", {"role": "admin", "active": False})).json == read.json


async def test_one_changes_ones_own_password_by_the_old_one(scene: Any) -> None:
    other = (await scene.post("/tokens", {"name": "laptop"})).json["token"]
    body = {"password": "another password", "old_password": "ada's password"}
    assert (await put(scene, "/users/me", body)).status == 200
    assert (await scene.get("/users/me")).status == 200
    assert (await scene.get("/users/me", token=other)).status == 401
    assert (await scene.post(LOGIN, {"user_name": "ada", "password": "ada's password"}, token=None)).status == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"password": "another password"}, 400),
        ({"password": "another password", "old_password": "wrong password"}, 403),
        ({"password": "short", "old_password": "ada's password"}, 400),
        ({"password": 5, "old_password": "ada's password"}, 400),
        ({"avatar": 5}, 400),
        ({"avatar": "x" * 2_001}, 400),
    ],
)
async def test_a_change_of_oneself_that_can_not_be_is_refused(scene: Any, body: Any, status: int) -> None:
    assert (await put(scene, "/users/me", body)).status == status
    assert (await scene.post(LOGIN, {"user_name": "ada", "password": "ada's password"}, token=None)).status == 200


async def test_guessing_ones_old_password_is_slowed(scene: Any) -> None:
    body = {"password": "another password", "old_password": "wrong password"}
    answers = [(await put(scene, "/users/me", body)).status for _ in range(FAILURES + 1)]
    assert answers == [403] * FAILURES + [429]


@pytest.mark.parametrize(
    "changes", [{"user_name": " eve"}, {"user_name": ""}, {"password": "short"}, {"role": "root"}, {"user_name": "e\n"}]
)
async def test_a_user_that_can_not_be_is_not_made(scene: Any, changes: Any) -> None:
    answer = await scene.post("/users", {**NEW, **changes}, token="boss")
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")
    assert (await scene.call("GET", "/api/v1/users/999", token="boss")).status == 404


async def test_nobody_registers_unless_it_is_allowed(scene: Any) -> None:
    refused = await scene.post("/auth/register", NEW, token=None)
    assert (refused.status, refused.json["code"]) == (403, "ACCESS_DENIED")
    assert "admin" in refused.json["error"]
    assert (await scene.post(LOGIN, NEW, token=None)).status == 401


async def test_whoever_registers_is_logged_in_as_an_ordinary_user(remake: Any) -> None:
    scene = await remake(api=ApiConfig(register=True))
    made = await scene.post("/auth/register", {**NEW, "role": "admin"}, token=None)
    assert (made.status, made.json["user"]["role"]) == (201, "user")
    assert (await scene.get("/users/me", token=made.json["access_token"])).json == made.json["user"]
    assert (await scene.post("/auth/register", NEW, token=None)).status == 409
    short = await scene.post("/auth/register", {**NEW, "password": "short"}, token=None)
    assert (short.status, short.json["code"]) == (400, "INVALID_PAYLOAD")

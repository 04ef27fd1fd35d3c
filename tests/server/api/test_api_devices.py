"""Devices over REST."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from wegent.server.owners import device_owner


async def put(scene: Any, device_id: str, user: str = "ada", **changes: Any) -> None:
    user_id = getattr(scene, user).id
    await scene.store.write(lambda unit: unit.put_device(user_id, device_id, **changes))


async def listed(scene: Any, **given: Any) -> dict[str, Any]:
    answer = await scene.get("/devices", **given)
    assert answer.status == 200
    return {item["device_id"]: item for item in answer.json["items"]}


async def test_ones_devices_are_listed_with_their_slots_and_what_runs_in_them(scene):
    await put(scene, "box", name="My laptop", status="busy", connection="w.1", slot_max=3, capabilities={"gpu": 1})
    await put(scene, "other", "bob")
    task = await scene.new_task("build it")
    row, owner = task["assistant_subtask_id"], device_owner(scene.ada.id, "box")
    await scene.change_row(row, status="RUNNING", owner=owner, lease="l", target=owner)
    (item,) = (await listed(scene)).values()
    (running,) = item.pop("running_tasks")
    assert (running["task_id"], running["subtask_id"], running["title"]) == (task["task_id"], row, "build it")
    created = item.pop("created_at")
    assert created.endswith("Z")
    assert item == {
        "device_id": "box",
        "name": "My laptop",
        "status": "busy",
        "connected": True,
        "is_default": False,
        "slot_used": 1,
        "slot_max": 3,
        "capabilities": {"gpu": 1},
    }
    assert list(await listed(scene, token="bob")) == ["other"]


async def test_one_device_is_the_default(scene):
    for device_id in ("a", "b"):
        await put(scene, device_id)
    await put(scene, "c", "bob", is_default=True)
    for chosen in ("a", "b", "b"):
        answer = await scene.call("PUT", f"/api/v1/devices/{chosen}/default")
        assert (answer.status, answer.json["device_id"], answer.json["is_default"]) == (200, chosen, True)
        assert [name for name, item in (await listed(scene)).items() if item["is_default"]] == [chosen]
    assert (await listed(scene, token="bob"))["c"]["is_default"]


async def test_a_device_is_deleted_unless_it_is_connected_or_may_come_back_to_a_run(scene):
    await put(scene, "box", connection="w.1", status="online")
    answer = await scene.call("DELETE", "/api/v1/devices/box")
    assert (answer.status, answer.json["code"]) == (409, "CONFLICT")
    await put(scene, "box", connection=None, status="offline")
    task = await scene.new_task()
    owner = device_owner(scene.ada.id, "box")
    await scene.change_row(task["assistant_subtask_id"], status="RUNNING", owner=owner, lease="l", target=owner)
    answer = await scene.call("DELETE", "/api/v1/devices/box")
    assert (answer.status, answer.json["code"]) == (409, "CONFLICT")
    await scene.change_row(task["assistant_subtask_id"], status="CANCELLED", owner=None)
    assert (await scene.call("DELETE", "/api/v1/devices/box")).json == {"success": True}
    assert await listed(scene) == {}
    assert (await scene.call("DELETE", "/api/v1/devices/box")).status == 404


@pytest.mark.parametrize("device_id", ["a/b", "a b", "ä👋🏽", "a%2Fb", "x/default", "?", "#", ".."])
async def test_an_id_may_hold_any_character(scene, device_id):
    await put(scene, device_id)
    path = f"/api/v1/devices/{quote(device_id, safe='')}"
    assert (await scene.call("PUT", f"{path}/default")).json["device_id"] == device_id
    assert (await scene.call("DELETE", path)).status == 200
    assert await listed(scene) == {}


@pytest.mark.parametrize("device_id", ["nobodys", "%00", "%ED%A0%80", "x" * 300])
async def test_somebody_elses_device_and_none_are_not_found(scene, device_id):
    await put(scene, "nobodys", "bob")
    for method, path in (("PUT", f"/devices/{device_id}/default"), ("DELETE", f"/devices/{device_id}")):
        answer = await scene.call(method, f"/api/v1{path}")
        assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")
    assert "nobodys" in await listed(scene, token="bob")


async def test_who_has_no_token_sees_nothing(scene):
    assert (await scene.get("/devices", token=None)).status == 401

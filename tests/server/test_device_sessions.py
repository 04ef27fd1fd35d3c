"""Closing a device's session for a task, and what waits for devices that do not come."""

import logging

import pytest
import trio

from tests.server.device_scenes import application, at_work, send, serving
from wegent.server import device_rows
from wegent.testing.memory_device import MemoryDevice


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def test_an_active_run_is_cancelled_first_then_the_device_is_told(autojump_clock):
    async with at_work() as (app, alice, box, row):
        task_id = app.row(row).task_id
        waiting = (await send(app, alice, None, task_id=task_id, if_running="queue"))["assistant_subtask_id"]
        assert await alice.emit("task:close-session", {"task_id": task_id}) == {"success": True}
        assert app.row(row).status == "CANCELLING"
        await box.client.wait_for("task:cancel")
        await trio.sleep(5)
        assert box.client.events("task:close-session") == []
        await box.complete(row, "cancelled")
        assert await box.client.wait_for("task:close-session") == {"task_id": task_id}
        assert (app.row(row).status, app.row(waiting).status) == ("CANCELLED", "CANCELLED")
        assert [told["subtask_id"] for told in alice.events("chat:cancelled")] == [waiting, row]
        await alice.emit("task:close-session", {"task_id": task_id})
        await trio.sleep(1)
        assert len(box.client.events("task:close-session")) == 2


async def test_a_device_that_does_not_stop_is_told_all_the_same(autojump_clock):
    async with at_work() as (app, alice, box, row):
        box.mute()
        for _ in range(3):
            await alice.emit("task:close-session", {"task_id": app.row(row).task_id})
        alice.disconnect()
        await box.client.wait_for("task:close-session")
        await trio.sleep(60)
        assert app.row(row).status == "CANCELLED"
        assert len(box.client.events("task:close-session")) == 1


async def test_only_a_task_of_a_device_that_is_there_has_a_session_to_close(autojump_clock):
    async with at_work() as (app, alice, box, row):
        here = (await alice.emit("chat:send", {"team_id": app.team_id, "message": "x"}))["task_id"]
        assert (await alice.emit("task:close-session", {"task_id": here}))["code"] == "CONFLICT"
        assert (await alice.emit("task:close-session", {"task_id": 999}))["code"] == "NOT_FOUND"
        task_id = app.row(row).task_id
        bob = await app.client("bob")
        assert (await bob.emit("task:close-session", {"task_id": task_id}))["code"] == "ACCESS_DENIED"
        box.client.disconnect()
        await trio.sleep(1)
        assert (await alice.emit("task:close-session", {"task_id": task_id}))["code"] == "DEVICE_OFFLINE"
        assert app.row(row).status == "RUNNING"


async def test_what_waits_for_a_device_ends_when_its_window_is_over(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app, slot_max=1)
        await box.connect()
        await box.client.emit("device:status", {"device_id": "box", "status": "busy"})
        sent = [await send(app, alice) for _ in range(3)]
        behind = await send(app, alice, None, task_id=sent[0]["task_id"], if_running="queue")
        rows = [each["assistant_subtask_id"] for each in (*sent, behind)]
        box.client.disconnect()
        await trio.sleep(55)
        assert {app.row(row).status for row in rows} == {"PENDING"}
        await trio.sleep(25)
        assert {(app.row(row).status, app.row(row).error_type) for row in rows} == {("FAILED", "device_lost")}
        assert {told["subtask_id"] for told in alice.events("chat:error")} == set(rows)
        assert "'Box' went away" in app.row(rows[0]).error_message
        assert app.peek(lambda unit: unit.depths()) == {}


async def test_what_waits_for_a_deleted_device_ends(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        await box.connect()
        await box.client.emit("device:status", {"device_id": "box", "status": "busy"})
        sent = await send(app, alice)
        box.client.disconnect()
        await trio.sleep(3)
        await app.store.write(lambda unit: device_rows.delete(unit, app.users["alice"], "box"))
        assert (await alice.wait_for("chat:error"))["type"] == "device_lost"
        assert (await send(app, alice, None, task_id=sent["task_id"]))["code"] == "NOT_FOUND"
        assert (await send(app, alice))["code"] == "NOT_FOUND"


async def test_what_waits_goes_to_another_device_where_it_may(autojump_clock):
    async with serving(application()) as app:
        alice, box, other = await app.client(), MemoryDevice(app), MemoryDevice(app, device_id="other")
        await box.connect()
        await other.connect()
        await box.client.emit("device:status", {"device_id": "box", "status": "busy"})
        row = (await send(app, alice, on_lost="reassign"))["assistant_subtask_id"]
        box.client.disconnect()
        with trio.move_on_after(65):
            await beating(other)
        assert (await other.job())["subtask_id"] == row
        assert await other.complete(row) == {"success": True}


async def beating(box):
    while True:
        await trio.sleep(20)
        await box.heartbeat()

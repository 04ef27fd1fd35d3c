"""What devices may say wrongly, and what they are told then."""

import logging

import pytest
import trio

from tests.server.device_scenes import application, at_work, device, send, serving
from wegent.core.errors import AccessDenied
from wegent.server.claiming import Claim
from wegent.server.device_rows import MOST_DEVICES
from wegent.testing.memory_device import MemoryDevice


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


REPORTS = (
    ("device:heartbeat", {"device_id": "box", "running_task_ids": []}),
    ("device:status", {"device_id": "box", "status": "busy"}),
    ("task:progress", {"subtask_id": 1, "delta": "x"}),
    ("task:complete", {"subtask_id": 1, "status": "COMPLETED"}),
)


@pytest.mark.parametrize(("event", "payload"), REPORTS)
async def test_who_has_not_registered_is_told_to(autojump_clock, event, payload):
    async with serving(application()) as app:
        box = MemoryDevice(app)
        await box.client.connect()
        ack = await box.client.emit(event, payload)
        assert (ack["code"], ack["error"]) == (
            "CONFLICT",
            "this connection is no device yet; send device:register first and wait for its ack",
        )


async def test_a_token_of_a_device_is_for_that_device_only(autojump_clock):
    async with serving(application()) as app:
        box = MemoryDevice(app, "alice#box")
        await box.client.connect()
        ack = await box.register(device_id="other")
        assert (ack["code"], ack["error"]) == ("ACCESS_DENIED", "this token is for the device 'box', not for 'other'")
        assert app.peek(lambda unit: unit.devices(app.users["alice"])) == []
        assert (await box.register())["success"]
        with pytest.raises(AccessDenied, match="another scope"):
            await app.client("alice#box")  # it is no token for people's namespace


async def test_a_connection_speaks_for_the_device_that_it_is(autojump_clock):
    async with serving(application()) as app:
        box, other = MemoryDevice(app), MemoryDevice(app, device_id="other")
        await box.connect()
        await other.connect()
        assert (await box.register(device_id="third"))["code"] == "CONFLICT"
        for event, payload in REPORTS[:2]:
            assert (await box.client.emit(event, {**payload, "device_id": "other"}))["code"] == "ACCESS_DENIED"
        assert device(app, device_id="other").status == "online"


async def test_a_device_is_its_users_whatever_its_id(autojump_clock):
    async with at_work() as (app, alice, box, row):
        mallory = MemoryDevice(app, "bob")
        assert (await mallory.connect())["running"] == []
        assert (await mallory.progress(row, attempt=1, delta="x"))["code"] == "ACCESS_DENIED"
        assert (await mallory.complete(row, attempt=1))["code"] == "ACCESS_DENIED"
        await trio.sleep(5)
        assert (await box.progress(row, delta="mine"))["offset"] == 4
        assert [each.name for each in alice.frames if each.name.startswith("device:o")] == ["device:online"]


async def test_a_report_of_another_devices_run_or_of_none_is_refused(autojump_clock):
    async with at_work() as (app, alice, box, row):
        other = MemoryDevice(app, device_id="other")
        await other.connect()
        assert (await other.progress(row, attempt=1, delta="x"))["code"] == "ACCESS_DENIED"
        assert (await other.complete(row, "failed", attempt=1))["code"] == "ACCESS_DENIED"
        assert (await other.progress(12_345, attempt=1))["code"] == "NOT_FOUND"
        here = (await alice.emit("chat:send", {"team_id": app.team_id, "message": "x"}))["assistant_subtask_id"]
        await alice.wait_for("chat:done")
        assert (await box.progress(here, attempt=1, delta="x"))["code"] == "ACCESS_DENIED"
        assert (await box.complete(row)) == {"success": True}
        assert (await other.complete(row, attempt=1))["code"] == "ACCESS_DENIED"


async def test_offsets_that_go_back_jump_or_disagree_change_nothing(autojump_clock):
    async with at_work() as (app, _alice, box, row):
        assert (await box.progress(row, offset=0, delta="Grüß dich"))["offset"] == 9
        for report in (
            {"offset": 10, "delta": "x"},
            {"offset": 0, "delta": "Gruß"},
            {"offset": 8, "delta": "x!"},
            {"result": {"value": "Grüß"}},
            {"result": {"value": "Gruß dich"}},
        ):
            ack = await box.progress(row, **report)
            assert (ack["code"], ack["offset"]) == ("OFFSET_MISMATCH", 9)
        ack = await box.complete(row, result={"value": "anything"})
        assert (ack["code"], ack["offset"], app.row(row).status) == ("OFFSET_MISMATCH", 9, "RUNNING")
        for report in (
            {"offset": 0, "delta": "Grüß"},
            {"offset": 5, "delta": "dich!"},
            {"offset": 5, "delta": "dich!"},
        ):
            assert "code" not in await box.progress(row, **report)
        assert (await box.complete(row, result={"value": "Grüß dich!"})) == {"success": True}
        assert app.row(row).content == "Grüß dich!"


async def test_text_need_not_be_valid_unicode_and_split_pairs_are_joined(autojump_clock):
    async with at_work() as (app, _alice, box, row):
        session = box.client.connection.session
        assert session.receive("task:progress", {"subtask_id": row, "offset": 0, "delta": "a\ud83d"})
        assert session.receive("task:progress", {"subtask_id": row, "offset": 2, "delta": "\ude00\0\ud83d"})
        assert session.receive("task:complete", {"subtask_id": row, "status": "FAILED", "error_message": "b\ud83d\0"})
        await app.until_ended(row)
        assert app.row(row).content == "a😀\ufffd\ufffd"
        assert app.row(row).error_message == "b\ufffd\ufffd"


@pytest.mark.parametrize(
    ("event", "payload", "names"),
    [
        ("device:register", {"device_id": "", "name": "x"}, "device_id"),
        ("device:register", {"device_id": "x" * 101, "name": "x"}, "device_id"),
        ("device:register", {"device_id": "x", "name": ""}, "name"),
        ("device:register", {"device_id": "x", "name": "x\0"}, "name"),
        ("device:register", {"device_id": "x", "name": "x", "slot_max": 0}, "slot_max"),
        ("device:register", {"device_id": "x", "name": "x", "slot_max": True}, "slot_max"),
        ("device:register", {"device_id": "x", "name": "x", "capabilities": {"\0": 1}}, "capab"),
        ("device:register", {"device_id": "x", "name": "x", "capabilities": ["x" * 20_000]}, "20000 bytes"),
        ("device:register", {"name": "x"}, "device_id"),
        ("device:register", None, "device_id"),
        ("device:register", [1], ""),
        ("device:heartbeat", {"device_id": "box"}, "running_task_ids"),
        ("device:heartbeat", {"device_id": "box", "running_task_ids": [0]}, "running_task_ids"),
        ("device:heartbeat", {"device_id": "box", "running_task_ids": list(range(1, 1_002))}, "running_task_ids"),
        ("device:status", {"device_id": "box", "status": "asleep"}, "online, busy, offline"),
        ("task:progress", {"subtask_id": 1, "status": "DONE"}, "PENDING"),
        ("task:progress", {"subtask_id": 1, "progress": 101}, "progress"),
        ("task:progress", {"subtask_id": 1, "offset": -1, "delta": "x"}, "offset"),
        ("task:progress", {"subtask_id": 1, "events": [{"type": "chnk"}]}, "chunk"),
        ("task:progress", {"subtask_id": 1, "delta": 7}, "delta"),
        ("task:complete", {"subtask_id": 1, "status": "RUNNING"}, "COMPLETED, FAILED, CANCELLED"),
        ("task:complete", {"subtask_id": 1}, "status"),
        ("task:complete", {"status": "FAILED"}, "subtask_id"),
    ],
)
async def test_a_payload_that_is_wrong_is_refused_with_what_would_be_right(autojump_clock, event, payload, names):
    async with serving(application()) as app:
        box = MemoryDevice(app)
        await box.connect()
        ack = await box.client.emit(event, payload)
        assert ack["code"] == "INVALID_PAYLOAD"
        assert names in ack["error"]
        assert await box.heartbeat() == {"success": True}


async def test_without_an_attempt_it_is_the_one_that_this_connection_was_given(autojump_clock):
    async with at_work() as (app, _alice, box, row):
        box.client.disconnect()
        await box.connect()
        assert (await box.progress(row, delta="a"))["offset"] == 1  # named when it registered
        await app.remote.give_up(app.remote.get(row), "device_lost")
        assert app.row(row).status == "FAILED"
        box.client.disconnect()
        await box.connect()
        assert await box.complete(row, "failed") == {"success": True}
        late = await box.complete(row)
        assert (late["code"], late["status"]) == ("TERMINAL", "FAILED")


async def test_a_run_that_was_never_given_needs_its_attempt(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app, slot_max=1)
        await box.connect()
        app.queue.paused = True
        row = (await send(app, alice))["assistant_subtask_id"]
        assert (await box.progress(row, delta="x"))["code"] == "LEASE_LOST"
        owner = app.row(row).target
        app.queue.paused = False
        (job,) = await app.book.claim(Claim({owner: 1}, owner, released=[row]))
        app.queue.paused = True
        app.remote.begin(job, owner)
        ack = await box.progress(row, delta="x")
        assert (ack["code"], ack["error"].partition(":")[0]) == ("INVALID_PAYLOAD", "`attempt`")
        assert (await box.progress(row, attempt=2, delta="x"))["code"] == "LEASE_LOST"
        assert (await box.progress(row, attempt=1, delta="x"))["offset"] == 1


async def test_an_enormous_report_is_taken_or_refused_as_a_whole(autojump_clock):
    async with at_work() as (app, _alice, box, row):
        assert (await box.progress(row, delta="字" * 300_000, offset=0))["offset"] == 300_000
        events = [{"type": "chunk", "content": "x"}] * 1_000
        assert (await box.progress(row, events=events))["offset"] == 301_000
        assert (await box.progress(row, events=[*events, *events]))["code"] == "INVALID_PAYLOAD"
        blocks = [{"type": "block", "id": f"{n}", "tool_name": "t", "status": "done"} for n in range(1_000)]
        await box.progress(row, events=blocks)
        ack = await box.progress(row, events=[{**blocks[0], "id": f"more-{n}"} for n in range(1_000)])
        assert ack.get("code") in (None, "TERMINAL")
        assert (await app.until_ended(row)).status == "FAILED" if "code" in ack else True


async def test_a_user_has_no_more_devices_than_there_may_be(autojump_clock):
    async with serving(application()) as app:
        for number in range(MOST_DEVICES):
            box = MemoryDevice(app, device_id=f"d{number}")
            await box.connect()
            box.client.disconnect()
        box = MemoryDevice(app, device_id="one more")
        assert (await box.connect())["code"] == "CONFLICT"
        assert "success" in await MemoryDevice(app, device_id="d0").connect()


async def test_a_new_token_of_the_same_user_and_device_moves_the_deadline(autojump_clock):
    async with serving(application()) as app:
        box = MemoryDevice(app, "alice#box@100")
        await box.connect()
        for token, code in (
            ("bob@500", "ACCESS_DENIED"),
            ("alice#other@500", "ACCESS_DENIED"),
            ("x", "NOT_AUTHENTICATED"),
        ):
            assert (await box.client.emit("auth:refresh", {"token": token}))["code"] == code
        for token in ("alice@150", "alice#box@200"):
            assert (await box.client.emit("auth:refresh", {"token": token}))["success"]
        await trio.sleep(180)
        assert box.client.connected
        assert (await box.client.wait_for("auth:error"))["code"] == "TOKEN_EXPIRED"

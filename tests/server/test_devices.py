"""Devices on a virtual clock: they register, run what they are given, go and come back."""

import logging

import pytest
import trio

from tests.server.device_scenes import again, application, at_work, device, send, serving
from wegent.server.device_link import DeviceLimits
from wegent.server.owners import device_owner, device_target
from wegent.testing.memory_device import MemoryDevice


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def test_a_run_on_a_device_is_given_streamed_and_ended(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        ack = await box.connect()
        assert ack == {"success": True, "device_id": "box", "heartbeat_interval": 30, "running": []}
        row = (await send(app, alice))["assistant_subtask_id"]
        job = await box.job()
        assert (job["subtask_id"], job["attempt"], job["prompt"], job["title"]) == (row, 1, "hi", "hi")
        assert (await alice.wait_for("chat:start"))["subtask_id"] == row
        assert await box.progress(row, delta="Grüß ", offset=0) == {"success": True, "offset": 5}
        events = [{"type": "chunk", "content": "dich"}, {"type": "thinking", "content": "hm"}]
        assert await box.progress(row, attempt=1, events=events, progress=50) == {"success": True, "offset": 9}
        assert await box.complete(row, "completed", result={"value": "Grüß dich!"}) == {"success": True}
        done = await alice.wait_for("chat:done")
        assert (done["result"]["value"], done["offset"]) == ("Grüß dich!", 10)
        assert "".join(chunk["content"] for chunk in alice.events("chat:chunk")) == "Grüß dich!"
        assert (app.row(row).status, app.row(row).target) == ("COMPLETED", device_target(app.users["alice"], "box"))
        assert await box.complete(row) == {"success": True}
        assert (await box.complete(row, "failed"))["code"] == "TERMINAL"
        assert (await box.progress(row, delta="x"))["code"] == "TERMINAL"


async def test_people_hear_of_their_devices_and_slots(autojump_clock):
    async with serving(application()) as app:
        alice, bob, box = await app.client(), await app.client("bob"), MemoryDevice(app, slot_max=3)
        await box.connect()
        assert await alice.wait_for("device:online") == {"device_id": "box", "name": "Box", "status": "online"}
        await alice.wait_for("device:slot_update", lambda told: told["slot_used"] == 0 and told["slot_max"] == 3)
        sent = await send(app, alice)
        await box.job()
        told = await alice.wait_for("device:slot_update", lambda told: told["slot_used"] == 1)
        (task,) = told["running_tasks"]
        assert (task["task_id"], task["subtask_id"]) == (sent["task_id"], sent["assistant_subtask_id"])
        assert (task["title"], task["status"], set(task)) == (
            "hi",
            "RUNNING",
            {"task_id", "subtask_id", "title", "status", "created_at"},
        )
        seen = len(alice.frames)
        await box.complete(sent["assistant_subtask_id"])
        await alice.wait_for("device:slot_update", lambda told: told["slot_used"] == 0, after=seen)
        assert await box.client.emit("device:status", {"device_id": "box", "status": "BUSY"}) == {"success": True}
        assert await alice.wait_for("device:status") == {"device_id": "box", "name": "Box", "status": "busy"}
        box.client.disconnect()
        assert await alice.wait_for("device:offline") == {"device_id": "box", "name": "Box", "status": "offline"}
        assert not [frame for frame in bob.frames if frame.name.startswith("device:")]


async def test_past_its_slots_runs_wait(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app, slot_max=2)
        await box.connect()
        rows = [(await send(app, alice))["assistant_subtask_id"] for _ in range(4)]
        await box.job(2)
        await trio.sleep(10)
        assert [job["subtask_id"] for job in box.jobs] == rows[:2]
        await box.complete(rows[0])
        assert (await box.job(3))["subtask_id"] == rows[2]
        await box.register(slot_max=30)
        assert (await box.job(4))["subtask_id"] == rows[3]
        more = [(await send(app, alice))["assistant_subtask_id"] for _ in range(20)]
        await box.job(24)  # a device is its user's alone: its slots are the limit
        assert {job["subtask_id"] for job in box.jobs} == {*rows, *more}


@pytest.mark.parametrize("status", ["busy", "Offline"])
async def test_a_device_that_wants_no_runs_gets_none_until_it_does(autojump_clock, status):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        await box.connect()
        await box.client.emit("device:status", {"device_id": "box", "status": status})
        sent = await send(app, alice)
        if status == "Offline":
            assert sent["code"] == "DEVICE_OFFLINE"
            return
        await trio.sleep(10)
        assert box.jobs == []
        await box.client.emit("device:status", {"device_id": "box", "status": "online"})
        assert (await box.job())["subtask_id"] == sent["assistant_subtask_id"]


async def test_a_refused_run_fails_with_the_devices_reason(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        box.refusal = "no such folder\0"
        await box.connect()
        row = (await send(app, alice))["assistant_subtask_id"]
        told = await alice.wait_for("chat:error")
        assert told["error"] == "the device 'Box' did not accept this run: no such folder\ufffd"
        assert app.row(row).status == "FAILED"
        await trio.sleep(5)
        assert box.client.events("task:cancel") == []


@pytest.mark.parametrize("answer", [None, 7, "yes", {}, {"accepted": "maybe"}, [True]])
async def test_a_device_that_answers_with_nonsense_fails_the_run(autojump_clock, answer):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        box.client.answers["task:execute"] = lambda _: answer
        await box.connect()
        row = (await send(app, alice))["assistant_subtask_id"]
        assert "task:execute" in (await alice.wait_for("chat:error"))["error"]
        assert app.row(row).error_type == "protocol"


async def test_a_run_that_is_never_acknowledged_goes_back_and_after_three_attempts_fails(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        box.mute()
        await box.connect()
        row = (await send(app, alice))["assistant_subtask_id"]
        started = trio.current_time()
        await box.client.wait_for("task:cancel", lambda told: told["attempt"] == 1)
        assert trio.current_time() - started == pytest.approx(15, abs=1)
        assert (await box.job(2))["attempt"] == 2
        told = await alice.wait_for("chat:start", lambda told: told["attempt"] == 2)
        assert told["reason"] == "device_lost"
        assert (await app.until_ended(row)).status == "FAILED"
        assert [job["attempt"] for job in box.jobs] == [1, 2, 3, 4]


async def test_a_report_says_as_much_as_the_ack(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        box.mute()
        await box.connect()
        row = (await send(app, alice))["assistant_subtask_id"]
        await box.job()
        await box.progress(row, delta="a", offset=0)
        await trio.sleep(20)
        assert await box.complete(row) == {"success": True}
        assert (app.row(row).status, app.row(row).attempt, len(box.jobs)) == ("COMPLETED", 1, 1)


async def test_a_cancelled_run_is_told_to_the_device_and_ends_as_it_says(autojump_clock):
    async with at_work() as (app, alice, box, row):
        await box.progress(row, delta="so far")
        assert (await alice.emit("chat:cancel", {"subtask_id": row}))["status"] == "CANCELLING"
        told = await box.client.wait_for("task:cancel")
        assert told == {"task_id": app.row(row).task_id, "subtask_id": row, "attempt": 1}
        await alice.wait_for("device:slot_update", lambda told: "CANCELLING" in str(told))
        await box.progress(row, delta=", and a little more")
        assert await box.complete(row, "cancelled") == {"success": True}
        assert (await alice.wait_for("chat:cancelled"))["result"]["value"] == "so far, and a little more"


async def test_a_device_that_does_not_stop_has_its_run_cancelled_all_the_same(autojump_clock):
    async with at_work() as (app, alice, box, row):
        box.mute()
        await alice.emit("chat:cancel", {"subtask_id": row})
        await alice.wait_for("chat:cancelled")
        assert app.row(row).status == "CANCELLED"
        late = await box.progress(row, delta="x")
        assert (late["code"], late["status"]) == ("TERMINAL", "CANCELLED")


async def test_a_run_cancelled_before_it_was_given_is_not_given(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        await box.connect()
        for _ in range(20):
            sent = await send(app, alice)
            await alice.emit("chat:cancel", {"subtask_id": sent["assistant_subtask_id"]})
        await trio.sleep(30)
        given = {job["subtask_id"] for job in box.jobs}
        cancelled = {told["subtask_id"] for told in box.client.events("task:cancel")}
        assert given == cancelled
        assert {row.status for row in app.peek(lambda unit: unit.subtasks(1))} == {"COMPLETED", "CANCELLED"}


async def test_a_device_that_comes_back_in_time_goes_on_with_the_whole_text(autojump_clock):
    async with at_work() as (app, alice, box, row):
        await box.progress(row, delta="Grüß ", offset=0)
        box.client.disconnect()
        await alice.wait_for("device:offline")
        assert app.row(row).status == "RUNNING"
        update = (await app.client("alice"), await send(app, alice))[1]
        assert app.row(update["assistant_subtask_id"]).status == "PENDING"
        await trio.sleep(40)
        ack = await box.connect()
        (run,) = ack["running"]
        assert run == {
            "task_id": app.row(row).task_id,
            "subtask_id": row,
            "attempt": 1,
            "lease": app.row(row).lease,
            "offset": 5,
            "status": "RUNNING",
        }
        assert (await box.progress(row, delta="Grüß dich", offset=0))["offset"] == 9
        assert await box.complete(row, result={"value": "Grüß dich"}) == {"success": True}
        assert (await alice.wait_for("chat:done"))["result"]["value"] == "Grüß dich"
        assert (await box.job(2))["subtask_id"] == update["assistant_subtask_id"]


async def test_a_device_back_within_the_grace_was_never_offline(autojump_clock):
    async with at_work() as (app, alice, box, row):
        box.client.disconnect()
        await trio.sleep(1.5)
        ack = await box.connect()
        assert [run["subtask_id"] for run in ack["running"]] == [row]
        await trio.sleep(10)
        assert alice.events("device:offline") == []
        assert device(app).connection is not None


async def test_a_server_that_was_killed_gives_the_device_its_window_and_its_runs(autojump_clock):
    async with at_work() as (app, _alice, box, row):
        await box.progress(row, delta="Grüß ", offset=0)
        await trio.sleep(6)
        lost = app.row(row)
        app.remote._runs.clear()
    async with serving(again(app)) as app:
        alice = await app.client()
        await alice.emit("task:join", {"task_id": lost.task_id})
        assert (device(app).connection, device(app).status) == (None, "offline")
        assert device(app).offline_since is not None
        assert "code" not in await send(app, alice, task_id=lost.task_id, if_running="queue")
        box = MemoryDevice(app)
        (run,) = (await box.connect())["running"]
        assert (run["subtask_id"], run["offset"], run["lease"]) == (row, 5, lost.lease)
        assert (await box.progress(row, delta="Grüß dich", offset=0))["offset"] == 9
        assert await box.complete(row) == {"success": True}
        assert (await alice.wait_for("chat:done"))["result"]["value"] == "Grüß dich"


async def test_a_run_that_the_device_never_took_is_given_anew_when_it_is_back(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        box.mute()
        await box.connect()
        row = (await send(app, alice))["assistant_subtask_id"]
        await box.job()
        box.client.disconnect()
        await trio.sleep(3)
        assert (app.row(row).status, app.row(row).attempt) == ("PENDING", 2)
        box.client.answers["task:execute"] = lambda _: {"accepted": True}
        assert (await box.connect())["running"] == []
        assert (await box.job(2))["attempt"] == 2
        assert await box.complete(row) == {"success": True}


async def test_a_run_claimed_by_a_server_that_died_before_it_gave_it_is_given_anew(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        box.mute()
        await box.connect()
        row = (await send(app, alice))["assistant_subtask_id"]
        await box.job()
        app.remote._runs.clear()
        tables = app.store._tables
        app.store._tables = type(tables)()
    app.store._tables = tables
    async with serving(again(app)) as app:
        assert app.row(row).status == "RUNNING"
        box = MemoryDevice(app)
        assert (await box.connect())["running"] == []
        assert (await box.job())["attempt"] == 2


async def test_a_newer_registration_takes_over_and_the_late_goodbye_of_the_older_is_ignored(autojump_clock):
    async with at_work() as (app, alice, box, row):
        await box.progress(row, delta="a", offset=0)
        newer = MemoryDevice(app)
        older = box.client.connection
        (run,) = (await newer.connect())["running"]
        assert (run["subtask_id"], run["offset"]) == (row, 1)
        assert (await box.client.wait_for("device:replaced"))["device_id"] == "box"
        await older.ended.wait()
        assert (older.closed.code, older.closed.come_back) == (4403, False)
        await trio.sleep(10)
        assert alice.events("device:offline") == []
        assert device(app).connection == newer.client.connection.session.id
        assert (await newer.progress(row, delta="b", offset=1))["offset"] == 2
        assert await newer.complete(row) == {"success": True}
        other = (await send(app, alice))["assistant_subtask_id"]
        assert (await newer.job())["subtask_id"] == other


async def test_a_run_that_is_not_spoken_of_after_a_registration_is_lost(autojump_clock):
    async with at_work() as (_app, alice, box, row):
        await box.progress(row, delta="a", offset=0)
        box.client.disconnect()
        await box.connect()
        started = trio.current_time()
        while trio.current_time() < started + 45:  # coming back often does not keep it
            await trio.sleep(9)
            await box.heartbeat()
            box.client.disconnect()
            await box.connect()
        told = await alice.wait_for("chat:error")
        assert (told["type"], told["result"]["value"]) == ("device_lost", "a")
        assert trio.current_time() - started == pytest.approx(60, abs=1)
        assert (await box.client.wait_for("task:cancel"))["subtask_id"] == row
        assert (await box.progress(row, delta="b", offset=1))["code"] == "TERMINAL"


@pytest.mark.parametrize("word", ["heartbeat", "progress"])
async def test_a_word_is_a_heartbeat_that_lists_the_task_or_any_report(autojump_clock, word):
    async with at_work() as (app, _alice, box, row):
        box.client.disconnect()
        await box.connect()
        await trio.sleep(50)
        for _ in range(8):
            if word == "heartbeat":
                await box.heartbeat(app.row(row).task_id)
            else:
                await box.heartbeat()
                assert await box.progress(row) == {"success": True, "offset": 0}
            await trio.sleep(30)
        assert app.row(row).status == "RUNNING"


async def test_a_run_of_which_its_device_is_silent_is_lost(autojump_clock):
    limits = DeviceLimits(silence=90)
    async with at_work(device_limits=limits) as (app, alice, box, row):
        started = trio.current_time()
        while not alice.events("chat:error") and trio.current_time() < started + 200:
            await box.heartbeat()
            await trio.sleep(10)
        assert trio.current_time() - started == pytest.approx(90, abs=11)
        assert app.row(row).error_type == "device_lost"


async def test_a_lost_run_goes_again_where_it_may(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        await box.connect()
        row = (await send(app, alice, on_lost="rerun"))["assistant_subtask_id"]
        await box.job()
        box.client.disconnect()
        await box.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beating, box)
            assert (await box.job(2))["attempt"] == 2
            nursery.cancel_scope.cancel()
        assert (await box.progress(row, attempt=1, delta="late"))["code"] == "LEASE_LOST"
        assert (await box.progress(row, attempt=2, delta="x"))["offset"] == 1


async def beating(box):
    while True:
        await trio.sleep(20)
        await box.heartbeat()


async def test_a_device_without_heartbeats_is_offline_until_it_sends_one(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        await box.connect()
        await trio.sleep(59)
        assert alice.events("device:offline") == []
        await trio.sleep(2)
        assert len(alice.events("device:offline")) == 1
        assert (device(app).connection, device(app).status) == (None, "offline")
        await trio.sleep(61)
        assert (await send(app, alice))["code"] == "DEVICE_OFFLINE"
        assert await box.heartbeat() == {"success": True}
        assert device(app).status == "online"
        await send(app, alice)
        await box.job()
        assert len(alice.events("device:online")) == 2


async def test_a_device_that_does_not_come_back_loses_its_runs_and_hears_of_it(autojump_clock):
    async with at_work() as (app, alice, box, row):
        await box.progress(row, delta="a", offset=0)
        box.client.disconnect()
        left = trio.current_time()
        told = await alice.wait_for("chat:error")
        assert (told["type"], told["result"]["value"]) == ("device_lost", "a")
        assert trio.current_time() - left == pytest.approx(60, abs=3)
        await alice.wait_for("device:slot_update", lambda told: told["slot_used"] == 0, after=len(alice.frames) - 1)
        assert (await box.connect())["running"] == []
        assert (await box.progress(row, attempt=1, delta="b", offset=1))["code"] == "TERMINAL"
        assert app.row(row).content == "a"


async def test_a_cancelled_run_of_a_device_that_is_away_is_told_to_it_when_it_is_back(autojump_clock):
    async with at_work() as (app, alice, box, row):
        box.client.disconnect()
        await trio.sleep(10)
        await alice.emit("chat:cancel", {"subtask_id": row})
        (run,) = (await box.connect())["running"]
        assert run["status"] == "CANCELLING"
        assert (await box.client.wait_for("task:cancel"))["subtask_id"] == row
        assert await box.complete(row, "cancelled") == {"success": True}
        assert app.row(row).status == "CANCELLED"


async def test_a_lost_run_goes_to_another_device_where_it_may(autojump_clock):
    async with serving(application()) as app:
        alice, box, other = await app.client(), MemoryDevice(app), MemoryDevice(app, device_id="other")
        await box.connect()
        await other.connect()
        row = (await send(app, alice, on_lost="reassign"))["assistant_subtask_id"]
        await box.job()
        await box.progress(row, delta="a", offset=0)
        box.client.disconnect()
        with trio.move_on_after(65):
            await beating(other)
        assert (await other.job())["attempt"] == 2
        told = await alice.wait_for("chat:start", lambda told: told["attempt"] == 2)
        assert told["reason"] == "device_lost"
        assert (await box.connect())["running"] == []
        assert (await box.progress(row, attempt=1, delta="late", offset=1))["code"] == "LEASE_LOST"
        assert (await box.progress(row, attempt=2, delta="late", offset=0))["code"] == "ACCESS_DENIED"
        assert await other.complete(row) == {"success": True}
        assert (await box.complete(row, attempt=1))["code"] == "LEASE_LOST"


async def test_a_connected_device_beats_by_its_worker_and_once_when_it_goes(autojump_clock):
    async with at_work() as (app, _alice, box, _row):
        owner = device_owner(app.users["alice"], "box")

        def beat():
            return next(each.beat for each in app.peek(lambda unit: unit.beats()) if each.owner == owner)

        await trio.sleep(1)
        before = beat()
        await trio.sleep(20)
        assert beat() == before + 4
        before = beat()
        box.client.disconnect()
        await trio.sleep(30)
        assert beat() == before + 1


async def test_answers_to_skill_requests_reach_the_device_until_it_acknowledges_them(autojump_clock):
    async with at_work() as (app, alice, box, row):
        box.mute("task:skill")
        asked = {"type": "skill", "id": "q", "skill_name": "browser", "action": "open", "data": {"url": "x"}}
        await box.progress(row, events=[asked])
        request = await alice.wait_for("skill:request")
        await alice.emit("skill:response", {"request_id": request["request_id"], "success": True, "result": [1]})
        told = {
            "task_id": app.row(row).task_id,
            "subtask_id": row,
            "attempt": 1,
            "id": "q",
            "success": True,
            "result": [1],
        }
        assert await box.client.wait_for("task:skill") == told
        await trio.sleep(15)
        box.client.disconnect()
        box.client.answers["task:skill"] = lambda _: {"success": True}
        seen = len(box.client.frames)
        await box.connect()
        assert await box.client.wait_for("task:skill", after=seen) == told
        await trio.sleep(1)
        assert app.remote.get(row).answers == {}


async def test_a_run_that_is_too_long_fails_and_the_device_is_told(autojump_clock):
    app = application()
    app.remote.limits = app.run_limits.__class__(max_stream=10)
    async with at_work(app) as (app, alice, box, row):
        await box.progress(row, delta="0123456789abc", offset=0)
        assert (await alice.wait_for("chat:error"))["type"] == "output_limit"
        await box.client.wait_for("task:cancel")
        assert (await box.progress(row, delta="x", offset=13))["code"] == "TERMINAL"


async def test_a_job_carries_as_much_history_as_a_frame_holds(autojump_clock):
    async with serving(application()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        await box.connect()
        task_id = None
        for number in range(4):
            sent = await send(app, alice, task_id=task_id, message=f"{number}" + "字" * 50_000)
            task_id = sent["task_id"]
            job = await box.job(number + 1)
            await box.complete(sent["assistant_subtask_id"], result={"value": "ok"})
        assert [message["content"][:2] for message in job["history"]] == ["ok", "1字", "ok", "2字", "ok"]
        assert max(frame.size for frame in box.client.frames) < 512 * 1024


async def test_metrics_tell_of_devices_and_slots(autojump_clock):
    async with at_work() as (app, _alice, box, _row):
        found = {(sample.name, sample.labels.get("slots")): sample.value for sample in app.registry.collect()}
        assert found["wegent_devices_online", None] == 1
        assert found["wegent_device_slots", "used"] == 1
        assert found["wegent_device_slots", "max"] == 5
        box.client.disconnect()
        await trio.sleep(1)
        found = {(sample.name, sample.labels.get("slots")): sample.value for sample in app.registry.collect()}
        assert found["wegent_devices_online", None] == 0

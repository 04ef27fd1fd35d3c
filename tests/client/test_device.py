"""A device against a server that says what the test tells it to, over real connections."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager

import pytest
import trio

from tests.client.report_server import Server
from tests.client.test_host import Remembering, Scripted, check, everything, job
from tests.client.test_session import QUICK, READY, serve
from wegent.client.device import Device, DeviceOptions
from wegent.client.session import open_session
from wegent.codec import convert
from wegent.core.clock import SystemClock
from wegent.core.errors import AccessDenied, OffsetMismatch
from wegent.core.model import EndingStatus
from wegent.protocol.devices import TaskComplete, TaskProgress
from wegent.server.reports import device_ending, device_report


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Hub:
    """The server's side. `running` is what it lists at a registration; `refuse` is answered to one instead."""

    def __init__(self):
        self.server = Server()
        self.said = []
        self.running = []
        self.refuse = None
        self.listing = False
        self.interval = 30
        self.registered = trio.Event()
        self.over = trio.Event()
        self.given_up = []
        self._peer = None
        self._acks = {}
        self._last = 0

    async def script(self, peer):
        await peer.send(READY)
        self._peer = peer
        while True:
            message = await peer.take()
            if (ack := message.get("ack")) is not None:
                if ack in self._acks:
                    self._acks[ack].append(message["data"])
                continue
            self.said.append((message["event"], message["data"]))
            await peer.send({"ack": message["id"], "data": self._answer(message["event"], message["data"])})
            if message["event"] == "device:register" and self.refuse is None:
                self.registered.set()

    def _answer(self, name, data):
        match name:
            case "device:register":
                return self.refuse or {
                    "success": True,
                    "device_id": data["device_id"],
                    "heartbeat_interval": self.interval,
                    "running": self._listed(),
                }
            case "task:progress":
                return self._take(device_report(convert(data, TaskProgress)))
            case "task:complete" if data["subtask_id"] != 2:
                self.given_up.append(data)
        if name == "task:complete" and data["subtask_id"] == 2:
            answer = self._take(device_ending(convert(data, TaskComplete)))
            self.over.set()
            return answer
        return {"success": True}

    def _take(self, report):
        try:
            return {"success": True, "offset": self.server.take_report(report)}
        except OffsetMismatch as error:
            return error.as_payload()

    def _listed(self):
        mine = {"task_id": 1, "subtask_id": 2, "attempt": 1, "lease": "lease", "status": "RUNNING"}
        here = [{**mine, "offset": self.server.replica.length()}] if self.listing else []
        return [*self.running, *here]

    async def tell(self, name, data, *, within=5.0):
        """Ask the device; its ack, None if none comes."""
        self._last += 1
        answers = self._acks[self._last] = []
        await self._peer.send({"event": name, "data": data, "id": self._last})
        with trio.move_on_after(within):
            await until(lambda: answers)
        return answers[0] if answers else None

    async def execute(self, **fields):
        self.listing = True
        return await self.tell("task:execute", job(target="device:1:desk", **fields))

    async def cut(self):
        """End the connection, and wait for the next registration."""
        self.registered = trio.Event()
        await self._peer.socket._stream.aclose()
        await self.registered.wait()

    def count(self, name):
        return sum(said == name for said, _ in self.said)


@asynccontextmanager
async def working(script, *, slots=2, hub=None):
    hub = hub or Hub()
    executor, monitor = Scripted(script), Remembering()
    with trio.fail_after(20):
        async with (
            serve(hub.script) as url,
            open_session(url, "token", namespace="/local-executor", backoff=QUICK) as session,
            trio.open_nursery() as nursery,
        ):
            device = Device(session, executor, DeviceOptions("desk", "Desk", slots), SystemClock(), monitor)
            nursery.start_soon(device.run)
            await hub.registered.wait()
            yield hub, device, executor, monitor
            nursery.cancel_scope.cancel()


async def forever(sink):
    await sink.text("so far")
    await trio.sleep_forever()


async def until(condition):
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.001)


async def test_a_run_arrives_whole():
    async with working(everything) as (hub, device, _, monitor):
        assert await hub.execute() == {"accepted": True}
        await hub.over.wait()
        await until(lambda: not device.runs)
        assert monitor.told == ["connected", "began", "COMPLETED"]
    check(hub.server)
    register = hub.said[0][1]
    assert (register["device_id"], register["name"], register["slot_max"]) == ("desk", "Desk", 2)


async def test_a_run_arrives_whole_over_connections_that_break():
    async with working(everything) as (hub, _, _, _):
        await hub.execute()
        while not hub.over.is_set():
            await trio.sleep(0.2)
            if not hub.over.is_set():
                await hub.cut()
        check(hub.server)
    assert hub.count("device:register") > 4


async def test_a_server_that_lost_its_last_second_gets_it_again():
    async with working(everything) as (hub, _, _, _):
        await hub.execute()
        await trio.sleep(0.4)
        hub.server.save()
        await trio.sleep(0.4)
        hub.server.restart()
        await hub.cut()
        await hub.over.wait()
        check(hub.server)


async def test_what_the_server_does_not_list_is_stopped_without_a_word():
    async with working(forever) as (hub, device, executor, monitor):
        await hub.execute()
        await until(lambda: hub.server.replica.length() > 0)
        hub.listing = False
        await hub.cut()
        await until(lambda: not device.runs)
        assert (executor.cancelled, monitor.told[-1]) == (1, "lost")
        assert hub.server.ending is None


async def test_what_the_server_lists_and_nobody_here_knows_is_given_up():
    hub = Hub()
    hub.running = [{"task_id": 1, "subtask_id": 9, "attempt": 3, "lease": "l", "offset": 4, "status": "RUNNING"}]
    async with working(forever, hub=hub):
        await until(lambda: hub.given_up)
    (told,) = hub.given_up
    assert (told["subtask_id"], told["attempt"], told["status"]) == (9, 3, "FAILED")
    assert (told["error_type"], "does not have this run" in told["error_message"]) == ("device_lost", True)


async def test_a_run_that_is_cancelled_ends_as_that_and_one_that_is_not_here_is_acknowledged():
    async with working(forever) as (hub, _, executor, _):
        await hub.execute()
        asked = {"task_id": 1, "subtask_id": 2, "attempt": 1}
        assert await hub.tell("task:cancel", {**asked, "attempt": 7}) == {"success": True}
        await until(lambda: hub.server.replica.length() > 0)
        assert await hub.tell("task:cancel", asked) == {"success": True}
        await hub.over.wait()
        assert executor.cancelled == 1
    assert (hub.server.ending.status, hub.server.replica.text()) == (EndingStatus.CANCELLED, "so far")


async def test_a_cancel_that_was_decided_while_the_device_was_away_is_heard_of_when_it_is_back():
    async with working(forever) as (hub, _, _, _):
        await hub.execute()
        hub.listing = False
        hub.running = [{"task_id": 1, "subtask_id": 2, "attempt": 1, "lease": "l", "offset": 0, "status": "CANCELLING"}]
        await hub.cut()
        await hub.over.wait()
    assert hub.server.ending.status is EndingStatus.CANCELLED


async def test_a_session_that_is_closed_ends_its_run():
    async with working(forever) as (hub, _, _, _):
        await hub.execute()
        assert await hub.tell("task:close-session", {"task_id": 1}) == {"success": True}
        await hub.over.wait()


async def test_a_skill_is_answered():
    results = []

    async def script(sink):
        results.append(await sink.skill("draw", "show", {"n": 1}))

    async with working(script) as (hub, _, _, _):
        await hub.execute()
        await until(lambda: hub.server.asked)
        answer = {"task_id": 1, "subtask_id": 2, "attempt": 1, "id": "1", "success": True, "result": {"ok": True}}
        assert await hub.tell("task:skill", answer) == {"success": True}
        await hub.over.wait()
    assert results == [{"ok": True}]


async def test_a_job_is_taken_once_however_often_it_is_given_and_only_into_a_free_slot():
    async with working(forever, slots=1) as (hub, device, _, _):
        assert await hub.execute() == {"accepted": True}
        assert await hub.execute() == {"accepted": True}
        refused = await hub.execute(subtask_id=3, lease="third")
        assert (refused["accepted"], refused["reason"]) == (False, "all of its 1 slots are taken")
        assert len(device.runs) == 1
        assert (await hub.tell("task:execute", {"task_id": 1}))["accepted"] is False


async def test_a_run_that_came_back_to_the_queue_begins_anew_though_its_attempt_is_the_same():
    async with working(forever, slots=1) as (hub, device, executor, monitor):
        await hub.execute()
        await until(lambda: hub.server.replica.length() > 0)
        assert await hub.execute(lease="another") == {"accepted": True}
        await until(lambda: executor.cancelled == 1 and monitor.told[-1] == "lost")
        (run,) = device.runs.values()
        assert (run.job.lease, run.lost) == ("another", False)


async def test_a_later_attempt_takes_the_place_of_the_one_before():
    async with working(forever, slots=1) as (hub, device, executor, _):
        await hub.execute()
        await until(lambda: hub.server.replica.length() > 0)
        assert await hub.execute(attempt=2, lease="second") == {"accepted": True}
        await until(lambda: list(device.runs) == [(2, 2)])
        assert executor.cancelled == 1


async def test_heartbeats_name_the_tasks_at_work():
    hub = Hub()
    hub.interval = 0.05
    async with working(forever, hub=hub):
        await hub.execute()
        await until(lambda: ("device:heartbeat", {"device_id": "desk", "running_task_ids": [1]}) in hub.said)


async def test_a_registration_that_is_refused_for_good_ends_the_device_with_the_reason():
    hub = Hub()
    hub.refuse = {"error": "this token is for the device 'x', not for 'desk'", "code": "ACCESS_DENIED"}
    with pytest.RaisesGroup(pytest.RaisesExc(AccessDenied, match="not for 'desk'"), flatten_subgroups=True):
        async with working(forever, hub=hub):
            pass


async def test_a_registration_that_is_refused_for_now_is_tried_again():
    hub = Hub()
    hub.refuse = {"error": "later", "code": "OVERLOADED"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_relent, hub)
        async with working(everything, hub=hub):
            await hub.execute()
            await hub.over.wait()


async def _relent(hub):
    await until(lambda: hub.count("device:register") == 2)
    hub.refuse = None


async def test_a_drain_lets_runs_end_and_takes_none():
    go_on = trio.Event()

    async def script(sink):
        await go_on.wait()
        await sink.text("done")

    async with working(script) as (hub, device, _, _):
        await hub.execute()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(device.drain, trio.current_time() + 10, trio.Event())
            await until(lambda: ("device:status", {"device_id": "desk", "status": "offline"}) in hub.said)
            assert await hub.tell("task:execute", job(9), within=0.1) is None
            go_on.set()
        assert (hub.server.ending.status, hub.server.replica.text()) == (EndingStatus.COMPLETED, "done")


@pytest.mark.parametrize("hurried", [False, True])
async def test_what_does_not_end_in_time_fails_with_a_reason(hurried):
    async with working(forever) as (hub, device, executor, _):
        await hub.execute()
        await until(lambda: hub.server.replica.length() > 0)
        hurry = trio.Event()
        if hurried:
            hurry.set()
        await device.drain(trio.current_time() + (60 if hurried else 0.1), hurry)
        assert executor.cancelled == 1
    ending = hub.server.ending
    assert (ending.status, ending.error, ending.error_type) == (
        EndingStatus.FAILED,
        "The device Desk was stopped.",
        "device_lost",
    )
    assert hub.server.replica.text() == "so far"

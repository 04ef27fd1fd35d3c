"""Runs whose owner is lost are taken over: when, by whom, and what becomes of them. On a virtual clock."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from wegent.core.errors import BrokerAway, LeaseLost, StoreAway, Terminal
from wegent.core.model import CONTENT, Ending, EndingStatus, Text
from wegent.core.ports.runbook import Held, Unsaved
from wegent.core.runs import RunLimits
from wegent.core.said import SaidBlock, SaidText
from wegent.protocol.limits import MAX_ATTEMPTS
from wegent.server.claiming import Claim
from wegent.server.owners import device_owner, host_owner
from wegent.server.reaper import Reaper
from wegent.storage.memory import MemoryStore
from wegent.testing.chaos import DistantLog
from wegent.testing.harness import Application, serving
from wegent.testing.scripted import ScriptedExecutor, say, wait
from wegent.testing.viewer import Viewer

COMPLETED = Ending(EndingStatus.COMPLETED)
ENDINGS = ("chat:done", "chat:error", "chat:cancelled")


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Store(MemoryStore):
    """Away altogether, or for writing only; `doubt`: the next write is committed, and nobody is told."""

    away = unwritable = doubt = False

    async def _run(self, work, *, writable):
        await self._pause()
        if self.away or (writable and self.unwritable):
            message = "the database does not answer"
            raise StoreAway(message)
        result = self._step(work, writable=writable)
        if writable and self.doubt:
            self.doubt = False
            message = "nobody knows"
            raise StoreAway(message)
        return result


class Elsewhere(Application):
    """Rows are claimed by hand, for hosts, devices and other workers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(ScriptedExecutor(), **options)
        self.queue.paused = True

    def make_store(self) -> Store:
        return Store(self.clock)

    async def send(self, **more: Any) -> tuple[Viewer, int]:
        """A viewer, and the row that answers it."""
        alice = await self.client("alice")
        ack = await alice.emit("chat:send", {"team_id": self.team_id, "message": "hi", **more})
        return Viewer(alice, ack["task_id"]), ack["assistant_subtask_id"]

    async def claim(self, owner: Any = lambda row, attempt: host_owner("h", row, attempt), target="chat_shell") -> Any:
        """The row whose turn it is, begun."""
        (job,) = await self.book.claim(Claim({target: 1}, owner, released=range(1, 100)))
        name = owner if isinstance(owner, str) else owner(job.subtask_id, job.attempt)
        return self.remote.begin(job, name)

    async def device(self, name: str, *, user: str = "alice", **changes: Any) -> str:
        """A device that is online, and what its runs are owned by."""
        given = {"status": "online", "connection": "sid", **changes}
        await self.store.write(lambda unit: unit.put_device(self.users[user], name, **given))
        return device_owner(self.users[user], name)

    def owners(self) -> set[str]:
        """Those whose beats are kept."""
        return {each.owner for each in self.peek(lambda unit: unit.beats())}

    def counted(self, reason: str) -> float:
        """How many runs were taken for that reason."""
        return self.registry.counter("wegent_runs_lost", "", reason=reason).value


@asynccontextmanager
async def elsewhere(**options: Any):
    with trio.fail_after(2_000):
        async with serving(Elsewhere(**options)) as app:
            yield app


@asynccontextmanager
async def hosted(*, said: str | None = "abc", limits: RunLimits | None = None, **more: Any):
    """A run on a host that has reported, unless nothing is said."""
    async with elsewhere(run_limits=limits) as app:
        viewer, _ = await app.send(**more)
        run = await app.claim()
        if said is not None:
            await report(app, run, said)
        yield app, viewer, run


async def report(app, run, delta="", offset=None):
    await app.remote.say(run, [SaidText(CONTENT, delta, offset)])
    await app.remote.heard(run)


def endings(viewer):
    return [frame.name for frame in viewer.client.frames if frame.name in ENDINGS]


async def same_for_all(app, viewer, row):
    """A viewer, one who joins now, and the row hold the same, and no law was broken."""
    await trio.sleep(1)
    later = Viewer(await app.client("alice"), row.task_id)
    await later.join()
    assert later.holds() == viewer.holds()
    assert viewer.view.messages[row.id].content.value == row.content
    assert not viewer.problems


async def test_a_run_whose_host_falls_silent_fails_and_keeps_its_text(autojump_clock):
    async with hosted() as (app, viewer, run):
        await report(app, run, "def", 3)
        stopped = []
        run.stopper = lambda: stopped.append(run)
        began = trio.current_time()
        error = await viewer.client.wait_for("chat:error")
        assert 15 <= trio.current_time() - began <= 17
        assert (error["type"], error["result"]["value"], error["offset"]) == ("executor_lost", "abcdef", 6)
        row = app.row(run.job.subtask_id)
        assert (row.status, row.content, row.owner) == ("FAILED", "abcdef", None)
        assert app.peek(lambda unit: unit.saved_parts(run.job.stream)) == []
        assert len(app.remote) == len(app.streams) == 0
        assert app.counted("executor_lost") == 1
        assert stopped == [run]
        (status,) = [each for each in viewer.client.events("task:status") if each["status"] == "FAILED"]
        assert status["revision"] == error["revision"]
        for late in (app.remote.say(run, []), app.remote.finish(run, COMPLETED)):
            with pytest.raises(Terminal):
                await late
        found = await app.remote.find(row.id)
        with pytest.raises(Terminal):
            await app.remote.finish(found, COMPLETED)
        await same_for_all(app, viewer, row)
        assert endings(viewer) == ["chat:error"]


async def test_a_host_that_reports_now_and_then_keeps_its_run(autojump_clock):
    async with hosted(said="") as (app, viewer, run):
        for n in range(20):
            await trio.sleep(12)
            await report(app, run, "x", n)
        await app.remote.finish(run, COMPLETED)
        await same_for_all(app, viewer, app.row(run.job.subtask_id))
        assert endings(viewer) == ["chat:done"]
        await trio.sleep(40)
        assert app.owners() == {app.owner}, "who holds nothing and is silent is forgotten"


async def test_a_run_that_may_be_made_again_is_queued_and_starts_anew(autojump_clock):
    async with hosted(on_lost="rerun") as (app, viewer, run):
        row_id = run.job.subtask_id
        while app.row(row_id).status == "RUNNING":  # noqa: ASYNC110
            await trio.sleep(1)
        row = app.row(row_id)
        assert (row.status, row.attempt, row.content, row.lost_attempts) == ("PENDING", 2, "", 1)
        assert (row.owner, row.lease, row.reported) == (None, None, False)
        assert app.task(row.task_id).status == "PENDING"
        assert endings(viewer) == []
        joined = await Viewer(await app.client("alice"), row.task_id).join()
        assert joined["streaming"] is None
        assert (joined["subtasks"][-1]["attempt"], joined["subtasks"][-1]["result"]["value"]) == (2, "")
        with pytest.raises(LeaseLost):
            await report(app, run, "late")
        again = await app.claim()
        await report(app, again, "new")
        await app.remote.finish(again, COMPLETED)
        starts = viewer.client.events("chat:start")
        assert [(each["attempt"], each.get("reason")) for each in starts] == [(1, None), (2, "executor_lost")]
        await same_for_all(app, viewer, app.row(row_id))
        assert endings(viewer) == ["chat:done"]


@pytest.mark.parametrize("on_lost", ["fail", "rerun", "reassign"])
async def test_a_run_that_is_to_stop_is_never_made_again(autojump_clock, on_lost):
    async with hosted(on_lost=on_lost) as (app, viewer, run):
        await app.remote.save()
        app.remote.drop(run.job.subtask_id, 1)  # no worker that knows it is left to end it in time
        ack = await viewer.client.emit("chat:cancel", {"subtask_id": run.job.subtask_id})
        assert ack["status"] == "CANCELLING"
        await viewer.client.wait_for("chat:cancelled")
        row = app.row(run.job.subtask_id)
        assert (row.status, row.attempt) == ("CANCELLED", 1)
        await same_for_all(app, viewer, row)
        assert endings(viewer) == ["chat:cancelled"]


@pytest.mark.parametrize("on_lost", ["fail", "rerun", "reassign"])
async def test_a_run_nobody_has_heard_of_is_made_again_a_few_times(autojump_clock, on_lost):
    async with hosted(said=None, on_lost=on_lost) as (app, viewer, run):
        for attempt in range(2, MAX_ATTEMPTS + 2):
            while app.row(run.job.subtask_id).status == "RUNNING":  # noqa: ASYNC110
                await trio.sleep(1)
            row = app.row(run.job.subtask_id)
            assert (row.status, row.attempt) == ("PENDING", attempt)
            assert (await app.claim()).job.attempt == attempt
        await viewer.client.wait_for("chat:error")
        row = app.row(run.job.subtask_id)
        assert (row.status, row.attempt, row.error_type) == ("FAILED", MAX_ATTEMPTS + 1, "executor_lost")
        await same_for_all(app, viewer, row)


async def test_a_run_that_may_be_made_again_is_so_a_few_times(autojump_clock):
    async with hosted(on_lost="rerun") as (app, viewer, run):
        for attempt in range(2, MAX_ATTEMPTS + 2):
            while app.row(run.job.subtask_id).status == "RUNNING":  # noqa: ASYNC110
                await trio.sleep(1)
            again = await app.claim()
            assert again.job.attempt == attempt
            await report(app, again, f"attempt {attempt}")
        await viewer.client.wait_for("chat:error")
        row = app.row(run.job.subtask_id)
        assert (row.status, row.content) == ("FAILED", f"attempt {MAX_ATTEMPTS + 1}")
        await same_for_all(app, viewer, row)


async def test_a_beat_that_comes_before_the_commit_keeps_the_runs(autojump_clock):
    async with hosted() as (app, viewer, run):
        reclaim, times = app.book.reclaim, []

        async def at_the_last_moment(owner, beat):
            times.append(trio.current_time())
            if len(times) == 1:
                await app.book.beat(owner)
            return await reclaim(owner, beat)

        app.book.reclaim = at_the_last_moment
        await trio.sleep(25)
        assert app.row(run.job.subtask_id).status == "RUNNING"
        assert app.remote.get(run.job.subtask_id) is run
        await viewer.client.wait_for("chat:error")
        assert times[1] - times[0] >= 15


@pytest.mark.parametrize("how", ["away", "unwritable"])
async def test_while_the_database_is_away_nobody_is_lost_and_nobody_at_once_after(autojump_clock, how):
    """`unwritable`: it answers looks, but takes no beats, as with a full disk."""
    async with hosted() as (app, viewer, run):
        await trio.sleep(10)
        setattr(app.store, how, True)
        await trio.sleep(100)
        await report(app, run, "d", 3)  # a beat that does not arrive
        setattr(app.store, how, False)
        back = trio.current_time()
        await trio.sleep(14)
        assert app.row(run.job.subtask_id).status == "RUNNING"
        await viewer.client.wait_for("chat:error")
        assert trio.current_time() - back >= 15
        assert app.row(run.job.subtask_id).content == "abcd"


async def test_a_single_look_that_fails_starts_the_clocks_anew(autojump_clock):
    async with hosted() as (app, viewer, _run):
        await trio.sleep(12)
        app.store.away = True
        await trio.sleep(1.2)
        app.store.away = False
        back = trio.current_time()
        await viewer.client.wait_for("chat:error")
        assert trio.current_time() - back >= 15


async def test_a_server_that_was_stopped_for_long_does_not_blame_others(autojump_clock):
    async with hosted() as (app, viewer, run):
        await trio.sleep(5)
        autojump_clock.jump(300)
        woke = trio.current_time()
        await trio.sleep(10)
        await report(app, run, "d", 3)
        await trio.sleep(10)
        assert app.row(run.job.subtask_id).status == "RUNNING"
        await viewer.client.wait_for("chat:error")
        assert trio.current_time() - woke >= 25


async def test_the_last_words_that_arrived_here_are_kept(autojump_clock):
    async with hosted(limits=RunLimits(save_every=1_000)) as (app, viewer, run):
        await app.remote.say(run, [SaidText(CONTENT, " and more", 3), SaidBlock({"id": "b", "tool_name": "x"})])
        await viewer.client.wait_for("chat:error")
        row = app.row(run.job.subtask_id)
        assert (row.content, [value["id"] for value in row.values]) == ("abc and more", ["b"])
        await same_for_all(app, viewer, row)


async def test_of_two_reapers_one_takes_a_run(autojump_clock):
    async with hosted(on_lost="rerun") as (app, _viewer, run):
        other = Reaper(app.book, app.remote, app.streams, app.teller, app.registry, owner="worker-2")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.run)
            await trio.sleep(40)
            row = app.row(run.job.subtask_id)
            assert (row.status, row.attempt, row.lost_attempts) == ("PENDING", 2, 1)
            assert app.counted("executor_lost") == 1
            await app.claim()
            await trio.sleep(10)
            assert app.row(row.id).status == "RUNNING"
            nursery.cancel_scope.cancel()


async def test_two_workers_that_live_do_not_reap_each_other(autojump_clock):
    async with hosted() as (app, _viewer, run):
        await app.store.write(
            lambda unit: unit.update_subtask(run.job.subtask_id, task=unit.touch(run.job.task_id), owner="worker-2")
        )
        other = Reaper(app.book, app.remote, app.streams, app.teller, app.registry, owner="worker-2")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.run)
            await trio.sleep(60)
            assert app.row(run.job.subtask_id).status == "RUNNING"
            nursery.cancel_scope.cancel()
        await trio.sleep(20)
        assert app.row(run.job.subtask_id).error_type == "worker_lost"
        assert app.counted("worker_lost") == 1


async def test_a_worker_leaves_its_own_runs_alone(autojump_clock):
    """What it holds and does not run is given back by its own beats."""
    async with serving(Application(ScriptedExecutor(default=[say("a"), wait(300), say("b")]))) as app:

        async def in_vain(owner, **_):
            await trio.lowlevel.checkpoint()
            raise StoreAway("no")

        app.book.beat = in_vain
        alice = await app.client("alice")
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        row = await app.until_ended(ack["assistant_subtask_id"])
        assert (row.status, row.content, row.attempt) == ("COMPLETED", "ab", 1)
        assert app.peek(lambda unit: unit.beats()) == [], "where nobody else is, a look writes nothing"


async def test_a_taking_that_nobody_knows_to_be_committed_is_told_when_somebody_does(autojump_clock):
    async with hosted() as (app, viewer, run):
        reclaim = app.book.reclaim

        async def in_doubt(owner, beat):
            app.store.doubt = True
            return await reclaim(owner, beat)

        app.book.reclaim = in_doubt
        error = await viewer.client.wait_for("chat:error")
        assert error["type"] == "executor_lost"
        assert len(app.remote) == 0
        await same_for_all(app, viewer, app.row(run.job.subtask_id))
        await trio.sleep(30)
        assert endings(viewer) == ["chat:error"]


async def test_a_taking_that_failed_is_tried_again(autojump_clock):
    async with hosted() as (app, viewer, run):
        reclaim, failed = app.book.reclaim, []

        async def fails_once(owner, beat):
            if not failed:
                failed.append(owner)
                raise StoreAway("no")
            return await reclaim(owner, beat)

        app.book.reclaim = fails_once
        await viewer.client.wait_for("chat:error")
        assert failed
        assert endings(viewer) == ["chat:error"]
        await same_for_all(app, viewer, app.row(run.job.subtask_id))


async def test_at_a_start_only_the_runs_of_workers_are_taken(autojump_clock):
    app = Elsewhere()
    async with serving(app):
        rows = []
        for owner in ("worker-of-old", host_owner("h", 1, 1), await app.device("d")):
            viewer, row_id = await app.send()
            run = await app.claim(owner)
            await report(app, run, "abc")
            rows.append(row_id)
        await app.remote.save()
        app.remote._runs.clear()
    again = Elsewhere()
    again.store._tables = app.store._tables
    again._prepare = lambda unit: None
    again.users, again.team_id = app.users, app.team_id
    await again.reaper.recover()
    assert [again.row(each).status for each in rows] == ["FAILED", "RUNNING", "RUNNING"]
    assert again.row(rows[0]).error_type == "worker_lost"
    assert "worker-of-old" not in again.owners()
    async with serving(again):
        viewer = Viewer(await again.client("alice"), again.row(rows[1]).task_id)
        await viewer.join()
        for n in range(8):  # the clocks of hosts and devices start anew
            await trio.sleep(10)
            await report(again, again.remote.get(rows[1]), "x", 3 + n)
        assert [again.row(each).status for each in rows] == ["FAILED", "RUNNING", "FAILED"]
        assert again.row(rows[2]).error_type == "device_lost"
        await again.remote.finish(again.remote.get(rows[1]), COMPLETED)
        await same_for_all(again, viewer, again.row(rows[1]))


async def test_the_silence_before_a_claim_counts_for_nothing(autojump_clock):
    async with elsewhere() as app:
        owner = await app.device("d")
        await app.book.beat(owner)
        await app.send(device_id="d")
        await trio.sleep(59)
        run = await app.claim(owner, owner)
        await trio.sleep(55)
        assert app.row(run.job.subtask_id).status == "RUNNING"
        await trio.sleep(10)
        assert (app.row(run.job.subtask_id).status, app.row(run.job.subtask_id).attempt) == ("PENDING", 2)


@asynccontextmanager
async def on_device(*, on_lost="reassign", said="abc"):
    """A run on a device that falls silent, and what becomes of its row; others are made in the block."""
    async with elsewhere() as app:
        owner = await app.device("lost")
        viewer, row_id = await app.send(device_id="lost", on_lost=on_lost)
        run = await app.claim(owner, owner)
        if said:
            await report(app, run, said)

        async def taken():
            began = trio.current_time()
            while app.row(row_id).status == "RUNNING":  # noqa: ASYNC110
                await trio.sleep(1)
            assert 60 <= trio.current_time() - began <= 63
            return app.row(row_id)

        yield app, viewer, taken


async def test_a_run_goes_to_another_device_of_its_user(autojump_clock):
    async with on_device() as (app, viewer, taken):
        await app.device("off", connection=None)
        await app.device("busy", status="busy")
        await app.device("full", slot_max=0)
        await app.device("theirs", user="bob")
        free = await app.device("free")
        row = await taken()
        assert (row.status, row.attempt, row.target) == ("PENDING", 2, free)
        again = await app.claim(free, free)
        await report(app, again, "new")
        await app.remote.finish(again, COMPLETED)
        assert viewer.client.events("chat:start")[-1]["reason"] == "device_lost"
        await same_for_all(app, viewer, app.row(row.id))


async def test_a_run_goes_to_the_default_device_if_that_is_free(autojump_clock):
    async with on_device() as (app, _viewer, taken):
        await app.device("other")
        default = await app.device("default", is_default=True)
        assert (await taken()).target == default


@pytest.mark.parametrize("status", ["RUNNING", "PENDING"])
async def test_a_device_takes_no_more_than_it_has_slots_for(autojump_clock, status):
    async with on_device() as (app, viewer, taken):
        full = await app.device("full", slot_max=1)
        await app.send(device_id="full")
        if status == "RUNNING":
            app.book.keep = await app.claim(full, full)
        beating = trio.CancelScope()

        async def beat():
            with beating:
                while True:
                    await app.book.beat(full)
                    await trio.sleep(5)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            row = await taken()
            beating.cancel()
        assert (row.status, row.error_type, row.content) == ("FAILED", "device_lost", "abc")
        assert endings(viewer) == ["chat:error"]


async def test_without_another_device_a_run_fails_but_one_that_said_nothing_waits_for_its_own(autojump_clock):
    async with on_device() as (app, viewer, taken):
        row = await taken()
        assert (row.status, row.error_type, row.content) == ("FAILED", "device_lost", "abc")
        await same_for_all(app, viewer, row)
    async with on_device(said="") as (app, _viewer, taken):
        row = await taken()
        assert (row.status, row.attempt, row.target) == ("PENDING", 2, device_owner(app.users["alice"], "lost"))


@pytest.mark.parametrize(("on_lost", "status"), [("fail", "FAILED"), ("rerun", "PENDING")])
async def test_only_who_asks_for_it_goes_to_another_device(autojump_clock, on_lost, status):
    async with on_device(on_lost=on_lost) as (app, _viewer, taken):
        await app.device("free")
        row = await taken()
        assert (row.status, row.target) == (status, device_owner(app.users["alice"], "lost"))


async def test_a_run_of_a_deleted_task_is_held_by_nobody_for_good(autojump_clock):
    async with hosted(on_lost="rerun") as (app, viewer, run):
        await app.store.write(lambda unit: unit.update_task(run.job.task_id, deleted=True))
        await trio.sleep(20)
        row = app.row(run.job.subtask_id)
        assert (row.status, row.owner) == ("CANCELLED", None)
        assert endings(viewer) == []
        assert app.owners() == {app.owner}


async def test_what_has_ended_can_be_neither_given_up_nor_given_back(autojump_clock):
    async with hosted(on_lost="rerun") as (app, viewer, run):
        await app.remote.finish(run, COMPLETED)
        row, job = app.row(run.job.subtask_id), run.job
        assert await app.book.give_up(job, "worker_lost", run.replica.snapshot()) is None
        assert await app.book.give_back([Held(row.id, 1, job.lease, cancelling=False)]) == []
        assert app.row(row.id) == row
        assert endings(viewer) == ["chat:done"]


class Shared(Elsewhere):
    """Its log is somewhere else, and outlives it; what runs say is not saved beside their rows meanwhile."""

    def __init__(self) -> None:
        super().__init__(run_limits=RunLimits(save_every=1_000))

    def make_log(self) -> DistantLog:
        return DistantLog(self.timers, trio.lowlevel.checkpoint)


@pytest.mark.parametrize("saved", ["", "abc", "abcdefghi"])
async def test_the_text_of_a_lost_worker_is_in_the_shared_log(autojump_clock, saved):
    """If that has more than was saved; one that was flushed may have less."""
    async with serving(Shared()) as app:
        viewer, _ = await app.send()
        run = await app.claim("worker-2")
        await app.book.save([Unsaved(run.job.stream, "", [Text(CONTENT, 0, saved)])] if saved else [])
        await report(app, run, "abcdef")
        await app.remote.say(run, [SaidBlock({"id": "b", "tool_name": "x"})])
        app.remote._runs.clear()  # it ran elsewhere
        app.runs.saver.discard(run.tail)
        await viewer.client.wait_for("chat:error")
        row = app.row(run.job.subtask_id)
        assert (row.content, [value["id"] for value in row.values]) == (max(saved, "abcdef", key=len), ["b"])


async def test_at_a_start_the_shared_log_tells_what_workers_said_last(autojump_clock):
    app = Shared()
    async with serving(app):
        await app.send()
        run = await app.claim("worker-of-old")
        await app.remote.say(run, [SaidText(CONTENT, "abcdef", 0)])
        app.remote._runs.clear()
        await app.reaper.recover()
    row = app.row(run.job.subtask_id)
    assert (row.status, row.error_type, row.content) == ("FAILED", "worker_lost", "abcdef")


@pytest.mark.parametrize("start", [True, False])
async def test_a_shared_log_that_is_away_keeps_nobody_from_taking_over(autojump_clock, start):
    async with serving(Shared()) as app:
        await app.send()
        run = await app.claim("worker-2")
        await app.book.save([Unsaved(run.job.stream, "", [Text(CONTENT, 0, "abc")])])
        app.remote._runs.clear()

        async def away(*_):
            await trio.lowlevel.checkpoint()
            message = "the log is away"
            raise BrokerAway(message)

        app.log.read = away
        if start:
            await app.reaper.recover()
        else:
            await trio.sleep(20)
        row = app.row(run.job.subtask_id)
        assert (row.status, row.content) == ("FAILED", "abc")

"""A run is cancelled at each of its checkpoints, in each way that there is; nothing is left of it."""

import logging

import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.core.runs import RunLimits
from wegent.fanout.holding import HoldingLog
from wegent.fanout.memory import MemoryFanout, MemoryStreamLog
from wegent.testing.checkpoints import Cut, at_every_checkpoint
from wegent.testing.harness import Application, serving
from wegent.testing.scripted import ScriptedExecutor, block, fail, linger, say, think, wait
from wegent.testing.shared_log import SharedMemoryLog
from wegent.testing.viewer import Viewer

SCRIPT = [say("Grüß "), say("👋🏽 "), think("hm"), block("t", tool_name="x", status="done"), wait(0.5), say("日本語")]
ENDINGS = ("chat:done", "chat:error", "chat:cancelled")


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Watched(Application):
    """Counts the checkpoints of runs from their start to their end, whatever tasks they are made of."""

    def __init__(self, executor, cut, call, **options):
        super().__init__(executor, **options)
        self.cut = cut
        self.call = call
        live = self.runs._live

        async def watched(run):
            with cut.at(lambda: call(self, run)):
                await live(run)

        self.runs._live = watched


class Posting(Watched):
    """The same, with a log to which text is posted."""

    def make_log(self):
        return HoldingLog(SharedMemoryLog(MemoryStreamLog(self.timers), MemoryFanout(), self.timers), self.timers)


async def begin(app):
    """A viewer that has joined, and a run on its way."""
    alice = await app.client("alice")
    ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
    viewer = Viewer(alice, ack["task_id"])
    return viewer, ack["assistant_subtask_id"]


def look(app, viewer, subtask_id, *, statuses):
    """What must hold after any end."""
    row = app.row(subtask_id)
    assert row.status in statuses
    assert row.owner is None
    assert len(app.runs) == 0
    assert app.peek(lambda unit: unit.running()) == []
    replica = app.streams.get(app.stream_of(subtask_id))
    assert replica is not None
    assert replica.ending is not None
    written = app.executor.written.get(app.stream_of(subtask_id))
    assert row.content == ("" if written is None else written.content)
    assert row.thinking == ("" if written is None else written.thinking)
    endings = [frame for frame in viewer.client.frames if frame.name in ENDINGS]
    assert len(endings) == 1
    assert endings[0].data["result"]["value"] == row.content
    assert not viewer.problems
    assert viewer.view.messages[subtask_id].content.value == row.content
    assert viewer.view.messages[subtask_id].status == row.status


@pytest.mark.parametrize(
    "script",
    [SCRIPT, [*SCRIPT, fail(RunFailed("broken", type="model"))], [linger(1, *SCRIPT), say("more")]],
    ids=["completes", "fails", "lingers"],
)
@pytest.mark.parametrize("worker", [Watched, Posting])
async def test_a_cancelled_run_has_one_ending_wherever_it_was(autojump_clock, script, worker):
    async def attempt(cut):
        ask = trio.Event()
        async with serving(worker(ScriptedExecutor(default=script), cut, lambda app, run: ask.set())) as app:
            viewer, subtask_id = await begin(app)

            async def cancel_when_asked():
                await ask.wait()
                await viewer.client.emit("chat:cancel", {"subtask_id": subtask_id})

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_asked)
                await app.until_ended(subtask_id)
                nursery.cancel_scope.cancel()
            await trio.sleep(1)
            natural = "FAILED" if len(script) > len(SCRIPT) else "COMPLETED"
            look(app, viewer, subtask_id, statuses=(natural, "CANCELLED") if cut.done else (natural,))
            await trio.sleep(120)
            assert len(app.streams) == 0

    assert await at_every_checkpoint(attempt) >= 12


async def test_a_run_whose_scope_is_cancelled_at_once_has_one_ending(autojump_clock):
    """The nearest that there is to a cancel at exactly that checkpoint: no commit and no task between."""

    async def attempt(cut):
        def cut_off(app, run):
            app.runs.cancel(run.job.subtask_id, run.job.attempt)

        async with serving(Watched(ScriptedExecutor(default=SCRIPT), cut, cut_off)) as app:
            viewer, subtask_id = await begin(app)
            await app.until_ended(subtask_id)
            await trio.sleep(1)
            look(app, viewer, subtask_id, statuses=("COMPLETED", "CANCELLED") if cut.done else ("COMPLETED",))

    assert await at_every_checkpoint(attempt) >= 12


async def test_a_server_that_stops_leaves_rows_that_the_next_start_ends(autojump_clock):
    async def attempt(cut):
        stop = trio.Event()
        app = Watched(ScriptedExecutor(default=SCRIPT), cut, lambda app, run: stop.set())
        subtask_id = 0
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as life:
                await life.start(app.run)
                _, subtask_id = await begin(app)
                with trio.move_on_after(10):
                    await stop.wait()
                life.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        row = app.row(subtask_id)
        assert len(app.runs) == 0
        if row.status == "RUNNING":
            assert app.streams.get(app.stream_of(subtask_id)) is None
            await app.book.reclaim_workers()
            row = app.row(subtask_id)
            assert (row.status, row.error_type) == ("FAILED", "worker_lost")
        assert row.status in ("COMPLETED", "FAILED")
        assert app.peek(lambda unit: unit.running()) == []

    assert await at_every_checkpoint(attempt) >= 12


async def test_runs_that_do_not_finish_in_a_drain_are_given_up_with_all_their_text(autojump_clock):
    async def attempt(cut):
        drain = trio.Event()
        limits = RunLimits(flush_timeout=1)
        app = Watched(ScriptedExecutor(default=SCRIPT), cut, lambda app, run: drain.set(), run_limits=limits)
        async with serving(app):
            viewer, subtask_id = await begin(app)
            with trio.move_on_after(10):
                await drain.wait()
            app.queue.paused = True
            await app.runs.drain(0)
            await app.until_ended(subtask_id)
            await trio.sleep(1)
            look(app, viewer, subtask_id, statuses=("COMPLETED", "FAILED") if cut.done else ("COMPLETED",))

    assert await at_every_checkpoint(attempt) >= 12


async def test_a_run_that_never_ends_is_ended_over_its_head(autojump_clock):
    script = [say("before"), linger(100, wait(5), say(" in grace"), wait(60), say(" too late"))]
    async with serving(Application(ScriptedExecutor(default=script))) as app:
        viewer, subtask_id = await begin(app)
        await viewer.client.wait_for("chat:chunk")
        ack = await viewer.client.emit("chat:cancel", {"subtask_id": subtask_id})
        assert ack == {"success": True, "status": "CANCELLING"}
        again = await viewer.client.emit("chat:cancel", {"subtask_id": subtask_id})
        assert again["success"]
        asked = trio.current_time()
        ended = await viewer.client.wait_for("chat:cancelled")
        assert 14 < trio.current_time() - asked < 17
        assert ended["result"]["value"] == "before in grace"
        assert len(app.runs) == 1
        await trio.sleep(100)
        assert len(app.runs) == 0
        assert app.row(subtask_id).content == "before in grace"
        assert not viewer.problems
        refused = await viewer.client.emit("chat:cancel", {"subtask_id": subtask_id})
        assert refused["code"] == "CONFLICT"


async def test_joining_while_a_run_is_ended_over_its_head_shows_all_of_its_text(autojump_clock):
    """The store is slow to commit: meanwhile the executor has gone, but its text must still be there."""
    app = Application(ScriptedExecutor(default=[say("kept"), linger(16, wait(30))]))
    async with serving(app):
        viewer, subtask_id = await begin(app)
        await viewer.client.wait_for("chat:chunk")
        await viewer.client.emit("chat:cancel", {"subtask_id": subtask_id})
        slow, finish = trio.Event(), app.book.finish

        async def slowly(*what):
            await slow.wait()
            return await finish(*what)

        app.book.finish = slowly
        await trio.sleep(20)
        joined = await viewer.join(afresh=True)
        assert joined["streaming"]["cached_content"] == "kept"
        slow.set()
        await viewer.client.wait_for("chat:cancelled")
        await trio.sleep(1)
        look(app, viewer, subtask_id, statuses=("CANCELLED",))


async def test_cuts_are_counted_in_the_tasks_below_too():
    async def work():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            nursery.start_soon(trio.lowlevel.checkpoint)

    cancelled = 0

    async def attempt(cut):
        nonlocal cancelled
        with trio.CancelScope() as scope, cut.at(scope.cancel):
            await work()
        cancelled += scope.cancelled_caught

    count = await at_every_checkpoint(attempt)
    assert cancelled >= 3
    assert count >= cancelled


async def test_an_endless_thing_is_noticed():
    async def attempt(cut: Cut):
        with cut.at(lambda: None):
            for _ in range(20):
                await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="after 5"):
        await at_every_checkpoint(attempt, most=5)

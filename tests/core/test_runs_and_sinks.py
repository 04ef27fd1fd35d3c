"""What an executor may say, and what becomes of its run whatever it does."""

import logging
from functools import partial

import pytest
import trio

from wegent.core.errors import InvalidPayload, LeaseLost, RunFailed, StoreAway
from wegent.core.model import Ending, EndingStatus, Outcome
from wegent.core.ports.executor import Executor
from wegent.core.runs import RunLimits
from wegent.storage.memory import MemoryStore
from wegent.testing.chaos import DistantLog
from wegent.testing.harness import Application, application, serving
from wegent.testing.scripted import ScriptedExecutor, fail, say, wait
from wegent.testing.viewer import Viewer


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Calls(Executor):
    """An executor made of one function."""

    def __init__(self, call):
        self.call = call

    async def run(self, job, sink):
        return await self.call(sink) or Outcome()


async def ran(call, **limits):
    """The row that a run leaves, its viewer's problems, and what a later joiner sees."""
    async with application(Calls(call), run_limits=RunLimits(**limits)) as app:
        alice = await app.client("alice")
        viewer = Viewer(alice, 1)
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        row = await app.until_ended(ack["assistant_subtask_id"])
        await trio.sleep(1)
        assert len(app.runs) == 0
        assert not viewer.problems
        assert viewer.view.messages[row.id].content.value == row.content
        later = Viewer(await app.client("alice"), 1)
        await later.join()
        assert later.holds() == viewer.holds()
        again = await alice.emit("chat:send", {"team_id": app.team_id, "message": "alive?"})
        assert (await app.until_ended(again["assistant_subtask_id"])).status in ("COMPLETED", "FAILED")
        return row


async def test_text_is_clean_and_whole(autojump_clock):
    async def call(sink):
        for delta in ("a\0", "\ud83d", "\ude00", "", "é", "\ud83d"):
            await sink.text(delta)

    assert (await ran(call)).content == "a\ufffd😀é\ufffd"


async def test_the_time_to_the_first_text_is_observed_once_a_run(autojump_clock):
    async def call(sink):
        await trio.sleep(3)
        await sink.text("first")
        await trio.sleep(3)
        await sink.text("second")

    async with application(Calls(call)) as app:
        alice = await app.client("alice")
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        await app.until_ended(ack["assistant_subtask_id"])
        seen = app.registry.histogram("wegent_first_chunk_seconds", "")
        assert sum(seen.counts) == 1
        assert 3 <= seen.total < 3.5


async def test_a_block_stands_behind_the_text_written_before_it(autojump_clock):
    async def call(sink):
        for n in range(50):
            await sink.text("字" * 100)
            await sink.block({"id": f"b{n}", "tool_name": "x"})

    row = await ran(call)
    assert [value["at"] for value in row.values] == [100 * (n + 1) for n in range(50)]


async def test_changes_of_a_block_add_up_whatever_is_on_its_way(autojump_clock):
    async def call(sink):
        await sink.block({"id": "b", "tool_name": "x", "tool_input": {"q": 1}})
        await sink.block({"id": "b", "status": "streaming"})
        await sink.block({"id": "b", "tool_output": "out", "status": "done"})

    (block,) = (await ran(call)).values
    assert (block["version"], block["tool_input"], block["tool_output"], block["status"]) == (
        3,
        {"q": 1},
        "out",
        "done",
    )


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"id": 3},
        {"id": "x" * 300},
        {"id": "b", "status": "odd"},
        {"id": "b", "type": "picture"},
        {"id": "b", "version": 2**60},
        {"id": "b", "version": "2"},
        {"id": "b", "at": -1},
        {"id": "b", "timestamp": "yesterday"},
    ],
)
async def test_a_block_that_is_none_is_refused(autojump_clock, block):
    refused = []

    async def call(sink):
        await sink.text("before")
        with pytest.raises(InvalidPayload) as caught:
            await sink.block(block)
        refused.append(caught.value.sentence)

    row = await ran(call)
    assert refused
    assert (row.status, row.values) == ("COMPLETED", ())


async def test_whatever_a_block_holds_can_be_told_and_kept(autojump_clock):
    async def call(sink):
        strange = {"big": 2**70, "nan": float("nan"), "bytes": b"x", "half": "\ud800", "set": {1}, "deep": [[[None]]]}
        await sink.block({"id": "b\0", "tool_name": "x", "tool_input": strange, "tool_output": "\0", "at": 99})
        await sink.block({"id": "c", "timestamp": "2030-01-01T02:00:00+02:00"})
        await sink.progress(1_000, "half\ud800")

    row = await ran(call)
    assert row.status == "COMPLETED"
    assert row.values[0]["at"] == 0
    assert row.values[1]["timestamp"] == "2030-01-01T00:00:00Z"


async def test_blocks_too_large_for_a_frame_are_cut_and_can_be_had_whole(autojump_clock):
    async def call(sink):
        for n in range(9):
            await sink.block({"id": f"b{n}", "tool_name": "x", "tool_output": str(n) * 90_000})

    async with application(Calls(call)) as app:
        alice = await app.client("alice")
        watching = Viewer(alice, 1)
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        row = await app.until_ended(ack["assistant_subtask_id"])
        later = Viewer(await app.client("alice"), 1)
        await later.join()
        assert later.view.messages[row.id].truncated
        assert len(str(later.holds())) < 50_000
        later.view.fetch(row.id)
        await later.recover()
        await later.client.wait_for("chat:done")
        assert later.holds() == watching.holds()
        assert [len(block["tool_output"]) for block in later.view.messages[row.id].blocks] == [90_000] * 9
        assert max(frame.size for frame in [*alice.frames, *later.client.frames]) < 512 * 1024
        assert not later.problems
        assert not watching.problems


async def test_an_app_is_told_or_refused(autojump_clock):
    async def call(sink):
        with pytest.raises(InvalidPayload):
            await sink.app({"name": "x"})
        await sink.app({"name": "x", "address": "a", "previewUrl": "http://a/"})

    assert (await ran(call)).values[0]["previewUrl"] == "http://a/"


@pytest.mark.parametrize(
    "error",
    [
        RunFailed("broken", type="no such type"),
        RunFailed("half \ud800 and \0", type="model\0" * 100),
        InvalidPayload("x" * 10_000),
        ValueError("a secret"),
        ExceptionGroup("many", [ValueError("a"), RunFailed("the cause", type="model")]),
        trio.TooSlowError(),
    ],
)
async def test_however_a_run_fails_it_ends_once_and_keeps_its_text(autojump_clock, error):
    async def call(sink):
        await sink.text("kept")
        raise error

    row = await ran(call)
    assert (row.status, row.content) == ("FAILED", "kept")
    assert "secret" not in row.error_message


async def test_a_result_that_cannot_be_kept_does_not_keep_the_run_from_ending(autojump_clock):
    async def call(sink):
        await sink.text("kept")
        return Outcome({"x": object(), "y": 2**90, "z": "\ud800"})

    row = await ran(call)
    assert row.content == "kept"
    assert row.status == "COMPLETED"


async def test_too_long_an_output_fails_with_what_fits(autojump_clock):
    async def call(sink):
        for _ in range(100):
            await sink.text("字" * 100)

    row = await ran(call, max_stream=1_050)
    assert (row.status, row.error_type, len(row.content)) == ("FAILED", "output_limit", 1_050)


async def test_an_executor_that_hides_the_limit_fails_all_the_same(autojump_clock):
    async def call(sink):
        for _ in range(20):
            try:
                await sink.text("字" * 100)
            except RunFailed:
                break

    row = await ran(call, max_stream=1_050)
    assert (row.status, row.error_type, len(row.content)) == ("FAILED", "output_limit", 1_050)


async def test_one_huge_delta_is_told_in_pieces_that_fit_frames(autojump_clock):
    async with application(ScriptedExecutor(default=[say("字" * 700_000)])) as app:
        alice = await app.client("alice")
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        await app.until_ended(ack["assistant_subtask_id"])
        await trio.sleep(1)
        assert max(frame.size for frame in alice.frames) < 512 * 1024
        chunks = alice.events("chat:chunk")
        assert sum(len(chunk["content"]) for chunk in chunks) == 700_000


async def test_a_log_that_is_slow_holds_the_engine_back_and_joins_its_deltas(autojump_clock):
    class Slow(Application):
        def make_log(self):
            return DistantLog(self.timers, partial(trio.sleep, 0.5))

    written = []

    async def call(sink):
        for _ in range(2_000):
            await sink.text("x" * 100)
            written.append(trio.current_time())

    async with serving(Slow(Calls(call))) as app:
        alice = await app.client("alice")
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        row = await app.until_ended(ack["assistant_subtask_id"])
        assert len(row.content) == 200_000
        assert len(alice.events("chat:chunk")) < 10
        assert written[-1] - written[0] >= 2


async def test_a_log_that_takes_no_more_ends_the_run(autojump_clock):
    async def refuse():
        raise RuntimeError("the log is full")

    class Full(Application):
        def make_log(self):
            return DistantLog(self.timers, refuse)

    async def call(sink):
        await sink.text("x")
        await trio.sleep_forever()

    async with serving(Full(Calls(call))) as app:
        alice = await app.client("alice")
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        row = await app.until_ended(ack["assistant_subtask_id"])
        assert (row.status, row.error_type) == ("FAILED", "internal")
        assert await alice.wait_for("chat:error")


async def test_no_more_runs_than_allowed_are_claimed(autojump_clock):
    executor = ScriptedExecutor(default=[wait(1)])
    async with application(executor, max_concurrent=2) as app:
        alice = await app.client("alice")
        sent = [await alice.emit("chat:send", {"team_id": app.team_id, "message": f"{n}"}) for n in range(9)]
        for ack in sent:
            await app.until_ended(ack["assistant_subtask_id"])
        assert executor.most_running == 2


async def test_a_run_is_reached_by_a_cancel_right_after_it_was_claimed(autojump_clock):
    async with application(ScriptedExecutor(default=[wait(100)])) as app:
        alice = await app.client("alice")
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "x"})
        started = trio.current_time()
        while app.row(ack["assistant_subtask_id"]).status == "PENDING":
            await trio.lowlevel.checkpoint()
        await alice.emit("chat:cancel", {"subtask_id": ack["assistant_subtask_id"]})
        await app.until_ended(ack["assistant_subtask_id"])
        assert trio.current_time() - started < 6


class Away(MemoryStore):
    """Commits, and then goes away before it says so; once, when `away` is set to a number of pauses."""

    __slots__ = ("away",)

    def __init__(self, clock):
        super().__init__(clock)
        self.away = 0

    async def _pause(self):
        await super()._pause()
        if self.away:
            self.away -= 1
            if not self.away:
                raise StoreAway("the database does not answer")


class AwayApplication(Application):
    def make_store(self):
        return Away(self.clock)


async def test_a_claim_that_nobody_heard_of_is_given_back_and_runs(autojump_clock):
    async with serving(AwayApplication(ScriptedExecutor(default=[say("at last")]))) as app:
        alice = await app.client("alice")
        app.queue.paused = True
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "x"})
        claim = app.book.claim

        async def unheard(*what):
            app.book.claim = claim
            app.store.away = 2  # commits, and nobody is told
            return await claim(*what)

        app.book.claim = unheard
        app.queue.paused = False
        app.queue.nudge()
        await trio.sleep(0.1)
        assert app.row(ack["assistant_subtask_id"]).status == "RUNNING"
        assert len(app.runs) == 0
        done = await alice.wait_for("chat:done")
        assert (done["attempt"], done["result"]["value"]) == (2, "at last")
        assert alice.events("chat:start")[0]["reason"] == "worker_lost"


async def test_an_ending_is_retried_until_the_store_is_back_and_told_once(autojump_clock):
    async with serving(AwayApplication(ScriptedExecutor(default=[say("x"), wait(1)]))) as app:
        alice = await app.client("alice")
        await alice.emit("chat:send", {"team_id": app.team_id, "message": "x"})
        await alice.wait_for("chat:chunk")
        finish, refused = app.book.finish, []

        async def away(*what):
            if len(refused) < 20:
                refused.append(trio.current_time())
                await trio.sleep(0.5)
                raise StoreAway("the database does not answer")
            if len(refused) == 20:
                app.store.away = 2  # commits, and nobody is told
                refused.append(0)
            return await finish(*what)

        app.book.finish = away
        await alice.wait_for("chat:done")
        await trio.sleep(10)
        assert len(alice.events("chat:done")) == 1
        assert len(refused) == 21


async def test_what_a_lost_run_says_changes_nothing(autojump_clock):
    executor = ScriptedExecutor(default=[say("old "), wait(20), say("too late")])
    async with application(executor) as app:
        alice = await app.client("alice")
        viewer = Viewer(alice, 1)
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "x", "on_lost": "rerun"})
        await alice.wait_for("chat:chunk")
        subtask_id = ack["assistant_subtask_id"]
        job = executor.jobs[0]
        app.queue.paused = True
        await app.book.reclaim_workers()
        with pytest.raises(LeaseLost):
            await app.book.finish(job, Ending(EndingStatus.COMPLETED), app.runs.get(subtask_id).replica.snapshot())
        await trio.sleep(30)
        row = app.row(subtask_id)
        assert (row.status, row.attempt, row.content) == ("PENDING", 2, "")
        assert len(app.runs) == len(app.streams) == len(app.log._streams) == 0
        executor.default = [say("new")]
        app.queue.paused = False
        done = await alice.wait_for("chat:done")
        assert (done["attempt"], done["result"]["value"]) == (2, "new")
        assert not viewer.problems
        assert "too late" not in str(alice.frames)


async def test_running_text_is_saved_within_a_second(autojump_clock):
    async with application(ScriptedExecutor(default=[say("saved 👋🏽"), wait(100)])) as app:
        alice = await app.client("alice")
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "x"})
        await alice.wait_for("chat:chunk")
        await trio.sleep(1.1)
        stream = app.stream_of(ack["assistant_subtask_id"])
        assert [part.text for part in app.peek(lambda unit: unit.saved_parts(stream))] == ["saved 👋🏽"]


async def test_replicas_are_forgotten_after_a_while(autojump_clock):
    async with application(ScriptedExecutor(default=[say("x"), fail(RunFailed("y"))])) as app:
        alice = await app.client("alice")
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "x"})
        await app.until_ended(ack["assistant_subtask_id"])
        assert len(app.streams) == 1
        await trio.sleep(61)
        assert len(app.streams) == 0
        assert not app.log._streams


@pytest.mark.parametrize("what", ["thinking", "blocks", "text"])
async def test_who_joins_a_run_too_large_for_a_frame_gets_the_rest(autojump_clock, what):
    async def call(sink):
        for n in range(12):
            if what == "thinking":
                await sink.thinking("考" * 30_000)
            elif what == "text":
                await sink.text("字" * 30_000)
            else:
                await sink.block({"id": f"b{n}", "tool_name": "x", "tool_output": "x" * 90_000})
        await trio.sleep(10)
        await sink.text("the end")
        await sink.thinking("of it")

    async with application(Calls(call)) as app:
        alice = await app.client("alice")
        watching = Viewer(alice, 1)
        await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        await trio.sleep(5)
        later = Viewer(await app.client("alice"), 1)
        ack = await later.join()
        assert ack["streaming"]["truncated"]
        assert await later.recover() == 1
        await later.client.wait_for("chat:done")
        while await later.recover() + await watching.recover():  # noqa: ASYNC110
            await trio.sleep(1)
        assert later.holds() == watching.holds()
        assert not later.problems
        assert not watching.problems
        assert max(frame.size for frame in later.client.frames) < 512 * 1024

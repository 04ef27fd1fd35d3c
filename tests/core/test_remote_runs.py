"""Runs that are elsewhere: what their reports make of row, log and viewers, on a virtual clock."""

import logging
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from wegent.core.errors import InvalidPayload, LeaseLost, OffsetMismatch, RunFailed, StoreAway, Terminal
from wegent.core.model import CONTENT, THINKING, Ending, EndingStatus, Snapshot
from wegent.core.runs import RunLimits
from wegent.core.said import SaidApp, SaidBlock, SaidProgress, SaidSkill, SaidText, SaidWhole
from wegent.server.claiming import Claim
from wegent.storage.memory import MemoryStore
from wegent.testing.chaos import DistantLog
from wegent.testing.checkpoints import at_every_checkpoint
from wegent.testing.harness import Application, serving
from wegent.testing.scripted import ScriptedExecutor
from wegent.testing.viewer import Viewer

COMPLETED = Ending(EndingStatus.COMPLETED)
CANCELLED = Ending(EndingStatus.CANCELLED)
FAILED = Ending(EndingStatus.FAILED, "it broke", "runner_exit")
ENDINGS = ("chat:done", "chat:error", "chat:cancelled")


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Away(Application):
    """An application whose rows are claimed by hand, for a host."""

    owner_of_runs = "host:test/1.1"

    def __init__(self, **options):
        super().__init__(ScriptedExecutor(), **options)
        self.queue.paused = True

    async def claim(self):
        (job,) = await self.book.claim(Claim({"chat_shell": 1}, self.owner_of_runs, released=range(1, 100)))
        return self.remote.begin(job, self.owner_of_runs)

    async def sent(self):
        """A viewer, and a run that was begun for it."""
        alice = await self.client("alice")
        ack = await alice.emit("chat:send", {"team_id": self.team_id, "message": "hi"})
        return Viewer(alice, ack["task_id"]), await self.claim()


@asynccontextmanager
async def away(app=None, **options):
    async with serving(app or Away(**options)) as app:
        viewer, run = await app.sent()
        yield app, viewer, run


def text(delta, offset=None):
    return SaidText(CONTENT, delta, offset)


def endings(viewer):
    return [frame.name for frame in viewer.client.frames if frame.name in ENDINGS]


async def settled(app, viewer, run, status="COMPLETED", *, whole=True):
    """What must hold after any end: row, viewer and a later joiner agree, nothing is left."""
    await trio.sleep(1)
    row = app.row(run.job.subtask_id)
    assert (row.status, row.owner) == (status, None)
    assert len(app.remote) == 0
    assert len(endings(viewer)) == 1
    assert not viewer.problems
    assert viewer.view.messages[row.id].content.value == row.content
    if whole:
        later = Viewer(await app.client("alice"), row.task_id)
        await later.join()
        assert later.holds() == viewer.holds()
    assert app.peek(lambda unit: unit.saved_parts(run.job.stream)) == []
    return row


async def test_a_run_elsewhere_lives_as_any_other(autojump_clock):
    async with away() as (app, viewer, run):
        assert await app.remote.say(run, [text("Grüß ", 0), SaidText(THINKING, "hm", 0)]) == 5
        assert await app.remote.say(run, [text("👋🏽", 5), SaidBlock({"id": "b", "tool_name": "x"})]) == 7
        await app.remote.say(
            run, [SaidProgress(40, "going"), SaidApp({"name": "a", "address": "b", "previewUrl": "c"})]
        )
        await app.remote.finish(run, COMPLETED)
        row = await settled(app, viewer, run)
        assert (row.content, row.thinking) == ("Grüß 👋🏽", "hm")
        assert [value["at"] for value in row.values if "at" in value] == [7]
        names = [frame.name for frame in viewer.client.frames if frame.name.startswith("chat:")]
        assert (names[0], names[-1]) == ("chat:start", "chat:done")


async def test_what_was_said_already_is_said_once(autojump_clock):
    async with away() as (app, viewer, run):
        first = [text("Grüß ", 0), SaidText(THINKING, "hm", 0), SaidBlock({"id": "b", "tool_name": "x"})]
        for _ in range(3):
            assert await app.remote.say(run, first) == 5
        chunks = len(viewer.client.events("chat:chunk"))
        assert await app.remote.say(run, [text("üß dich", 2)]) == 9
        assert await app.remote.say(run, [text("üß", 2)]) == 9
        assert len(viewer.client.events("chat:chunk")) == chunks + 1
        await app.remote.finish(run, COMPLETED)
        row = await settled(app, viewer, run)
        assert (row.content, row.thinking, len(row.values)) == ("Grüß dich", "hm", 1)


@pytest.mark.parametrize(
    "said",
    [
        [text("x", 4)],
        [text("b", 0)],
        [text("ab!", 0)],
        [SaidWhole(CONTENT, "a")],
        [SaidWhole(CONTENT, "abx")],
        [text("d", 3), text("e", 5)],
        [SaidText(THINKING, "x", 1)],
    ],
    ids=["gap", "difference", "differs later", "shorter", "whole differs", "gap in a report", "thinking"],
)
async def test_text_that_does_not_continue_the_log_changes_nothing(autojump_clock, said):
    async with away() as (app, _viewer, run):
        await app.remote.say(run, [text("abc")])
        with pytest.raises(OffsetMismatch) as caught:
            await app.remote.say(run, [SaidProgress(50), SaidBlock({"id": "b"}), *said])
        channel = said[0].channel
        assert caught.value.offset == (0 if channel == THINKING else 3)
        assert caught.value.as_payload().get("channel", CONTENT) == channel
        assert (run.replica.text(), run.replica.text(THINKING), run.replica.values) == ("abc", "", {})


async def test_a_report_with_a_wrong_block_is_taken_not_at_all(autojump_clock):
    async with away() as (app, _viewer, run):
        with pytest.raises(InvalidPayload):
            await app.remote.say(run, [text("abc"), SaidBlock({"id": ""})])
        assert await app.remote.say(run, []) == 0


async def test_the_whole_text_adds_what_is_new(autojump_clock):
    async with away() as (app, viewer, run):
        for whole in ("", "Grü", "Grü", "Grüß \ud83d", "Grüß 😀!"):
            await app.remote.say(run, [SaidWhole(CONTENT, whole)])
        await app.remote.finish(run, COMPLETED)
        assert (await settled(app, viewer, run)).content == "Grüß 😀!"


async def test_a_surrogate_pair_split_over_two_reports_is_joined(autojump_clock):
    async with away() as (app, viewer, run):
        assert await app.remote.say(run, [text("a\ud83d", 0)]) == 1
        assert await app.remote.say(run, [text("\ude00\0", 2)]) == 3
        assert await app.remote.say(run, [text("b\ud83d", 3)]) == 4
        assert await app.remote.say(run, [text("b\ud83d", 3)]) == 4
        await app.remote.finish(run, COMPLETED)
        assert (await settled(app, viewer, run)).content == "a😀\ufffdb\ufffd"


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_is_repeated_the_text_is_what_was_said(data):
    """A reporter that sends any stretch of its text that touches what the server has, in reports of any cut."""
    whole = data.draw(st.text(alphabet="ab\ufffd😀é", max_size=30))

    async def main():
        async with away() as (app, _viewer, run):
            for last in (*[False] * data.draw(st.integers(0, 8)), True):
                start = data.draw(st.integers(0, run.replica.length()))
                stop = len(whole) if last else data.draw(st.integers(start, len(whole)))
                cut = data.draw(st.integers(start, stop))
                await app.remote.say(run, [text(whole[start:cut], start), text(whole[cut:stop], cut)])
                assert whole.startswith(run.replica.text())
            await app.remote.finish(run, COMPLETED)
            assert app.row(run.job.subtask_id).content == whole

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_large_reports_are_told_in_chunks_that_fit_a_frame(autojump_clock):
    async with away() as (app, viewer, run):
        whole = "字" * 300_000
        blocks = [SaidBlock({"id": f"b{n}", "tool_output": "x" * 90_000}) for n in range(8)]
        await app.remote.say(run, [text(whole), *blocks])
        await app.remote.finish(run, COMPLETED)
        row = await settled(app, viewer, run, whole=False)
        assert (row.content, len(row.values)) == (whole, 8)
        assert max(frame.size for frame in viewer.client.frames) < 512 * 1024


async def test_a_run_that_says_too_much_fails_and_is_stopped(autojump_clock):
    async with away(run_limits=RunLimits(max_stream=10)) as (app, viewer, run):
        stopped = []
        run.stopper = lambda: stopped.append(1)
        await app.remote.say(run, [text("123456")])
        assert await app.remote.say(run, [text("7890ab", 6), text("c", 12)]) == 10
        assert run.status == "FAILED"
        assert stopped
        with pytest.raises(Terminal) as caught:
            await app.remote.say(run, [text("d", 10)])
        assert caught.value.details == {"status": "FAILED"}
        row = await settled(app, viewer, run, "FAILED")
        assert (row.content, row.error_type) == ("1234567890", "output_limit")


async def test_texts_are_saved_each_second_and_found_again_after_a_restart(autojump_clock):
    app = Away()
    async with serving(app):
        viewer, run = await app.sent()
        await app.remote.say(run, [text("Grüß "), SaidText(THINKING, "hm"), SaidBlock({"id": "b", "tool_name": "x"})])
        await trio.sleep(1.5)
        await app.remote.say(run, [text("dich"), SaidProgress(30)])
        await trio.sleep(1.5)
        await app.remote.say(run, [text(" lost")])
        task_id, subtask_id = run.job.task_id, run.job.subtask_id
        app.remote._runs.clear()  # a server that is killed saves nothing
    again = Away()
    again.store._tables = app.store._tables
    again._prepare = lambda unit: None
    again.users, again.team_id = app.users, app.team_id
    async with serving(again):
        viewer = Viewer(await again.client("alice"), task_id)
        await viewer.join()
        assert viewer.view.messages[subtask_id].content.value == "Grüß dich"
        run = again.remote.get(subtask_id)
        assert await again.remote.find(subtask_id) is run
        assert run.replica.text(THINKING) == "hm"
        with pytest.raises(OffsetMismatch) as caught:
            await again.remote.say(run, [text("!", 14)])
        assert caught.value.offset == 9
        await again.remote.say(run, [text(" lost!", 9), SaidBlock({"id": "b", "status": "done"})])
        await trio.sleep(1.5)
        await again.remote.finish(run, COMPLETED)
        row = await settled(again, viewer, run)
        assert (row.content, [v["status"] for v in row.values if "id" in v]) == ("Grüß dich lost!", ["done"])


async def test_a_server_that_stops_in_peace_saves_the_last_words(autojump_clock):
    app = Away()
    async with serving(app):
        _, run = await app.sent()
        await app.remote.say(run, [text("last words")])
    (row,) = await app.book.remote()
    assert (row.job.subtask_id, row.snapshot.texts[CONTENT]) == (run.job.subtask_id, "last words")


async def test_a_run_that_this_worker_does_not_know_is_found_in_the_store(autojump_clock):
    async with away() as (app, viewer, run):
        await app.remote.say(run, [text("abc")])
        await app.remote.save()
        app.remote._runs.clear()
        app.streams.discard(run.replica)
        found = []

        async def find():
            found.append(await app.remote.find(run.job.subtask_id))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(find)
        assert found[0] is not run
        assert found == [app.remote.get(run.job.subtask_id)] * 3
        assert await app.remote.say(found[0], [text("cd", 2)]) == 4
        assert await app.remote.find(12345) is None
        await app.remote.finish(found[0], COMPLETED)
        assert (await settled(app, viewer, run)).content == "abcd"


async def test_a_run_that_is_taken_while_it_is_looked_for_is_not_found(autojump_clock):
    async with away() as (app, _viewer, run):
        app.remote._runs.clear()
        app.streams.discard(run.replica)
        subtask_id = run.job.subtask_id

        async def attempt(cut):
            await app.store.write(lambda unit: unit.update_subtask(subtask_id, task=unit.touch(1), status="RUNNING"))
            app.remote.drop(subtask_id, 1)

            def take():
                app.peek(lambda unit: None)
                app.store._step(
                    lambda unit: unit.update_subtask(subtask_id, task=unit.touch(1), status="PENDING"), writable=True
                )
                app.remote.drop(subtask_id, 1)

            with cut.at(take):
                await app.remote.find(subtask_id)
            assert (app.remote.get(subtask_id) is None) == cut.done
            if cut.done:
                assert app.streams.get(run.job.stream) is None

        assert await at_every_checkpoint(attempt) >= 2


async def test_cancel_reaches_the_run_once(autojump_clock):
    async with away() as (app, viewer, run):
        stopped = []
        run.stopper = lambda: stopped.append(1)
        ack = await viewer.client.emit("chat:cancel", {"subtask_id": run.job.subtask_id})
        assert ack == {"success": True, "status": "CANCELLING"}
        await viewer.client.emit("chat:cancel", {"subtask_id": run.job.subtask_id})
        assert (stopped, run.status) == ([1], "CANCELLING")
        await app.remote.say(run, [text("in the grace")])
        await app.remote.finish(run, CANCELLED)
        row = await settled(app, viewer, run, "CANCELLED")
        assert row.content == "in the grace"
        assert not app.remote.cancel(row.id, 1)


async def test_a_run_that_does_not_stop_is_ended_over_its_head(autojump_clock):
    async with away() as (app, viewer, run):
        await app.remote.say(run, [text("abc")])
        await viewer.client.emit("chat:cancel", {"subtask_id": run.job.subtask_id})
        await trio.sleep(14)
        await app.remote.say(run, [text("d")])
        await trio.sleep(2)
        row = await settled(app, viewer, run, "CANCELLED")
        assert row.content == "abcd"
        found = await app.remote.find(row.id)
        with pytest.raises(Terminal):
            await app.remote.say(found, [text("e")])
        with pytest.raises(Terminal):
            await app.remote.finish(found, COMPLETED)
        await app.remote.finish(found, CANCELLED)
        assert len(endings(viewer)) == 1


async def test_a_cancel_is_found_again_after_a_restart_and_at_the_next_beat(autojump_clock):
    async with away() as (app, viewer, run):
        app.cancelling._stop = lambda *_: None  # the call got lost on its way
        await viewer.client.emit("chat:cancel", {"subtask_id": run.job.subtask_id})
        assert not run.cancelling
        await app.remote.heard(run)
        assert run.cancelling
        app.remote._runs.clear()
        run.over.set()
        await app.remote.recover()
        found = app.remote.get(run.job.subtask_id)
        assert found is not run
        assert found.cancelling
        await trio.sleep(20)
        await settled(app, viewer, run, "CANCELLED")


async def test_of_two_endings_one_counts(autojump_clock):
    async with away() as (app, viewer, run):
        errors = []

        async def end(ending):
            try:
                await app.remote.finish(run, ending)
            except Terminal as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for ending in (COMPLETED, FAILED, CANCELLED, COMPLETED):
                nursery.start_soon(end, ending)
        row = app.row(run.job.subtask_id)
        same = 1 if row.status == "COMPLETED" else 0
        assert len(errors) == 3 - same
        await settled(app, viewer, run, row.status)


async def test_an_ending_of_somebody_else_is_told_and_the_late_one_refused(autojump_clock):
    async with away() as (app, viewer, run):
        await app.book.finish(run.job, FAILED, Snapshot({CONTENT: ""}))
        with pytest.raises(Terminal) as caught:
            await app.remote.finish(run, COMPLETED)
        assert caught.value.details == {"status": "FAILED"}
        assert (await settled(app, viewer, run, "FAILED")).error_type == "runner_exit"


async def test_what_a_lost_run_says_is_refused(autojump_clock):
    async with away() as (app, viewer, run):
        await app.remote.say(run, [text("old")])
        row = app.row(run.job.subtask_id)
        await app.store.write(
            lambda unit: unit.update_subtask(
                row.id, task=unit.touch(row.task_id), attempt=2, status="PENDING", owner=None, lease=None
            )
        )
        await trio.sleep(3)
        with pytest.raises(LeaseLost):
            await app.remote.heard(run)
        assert len(app.remote) == 0
        assert app.streams.get(run.job.stream) is None
        for call in (app.remote.say(run, [text("!")]), app.remote.finish(run, COMPLETED)):
            with pytest.raises(LeaseLost):
                await call
        second = await app.claim()
        assert second.job.attempt == 2
        await app.remote.say(second, [text("new")])
        with pytest.raises(LeaseLost):
            await app.remote.say(run, [text("!")])
        await app.remote.finish(second, COMPLETED)
        assert (await settled(app, viewer, second)).content == "new"


async def test_an_ending_that_finds_the_lease_gone_leaves_nothing(autojump_clock):
    async with away() as (app, _viewer, run):
        row = app.row(run.job.subtask_id)
        await app.store.write(lambda unit: unit.update_subtask(row.id, task=unit.touch(row.task_id), lease="another"))
        with pytest.raises(LeaseLost):
            await app.remote.finish(run, COMPLETED)
        assert len(app.remote) == 0
        assert run.over.is_set()


async def test_a_dropped_run_says_how_it_ended(autojump_clock):
    async with away() as (app, _viewer, run):
        app.remote.drop(run.job.subtask_id, 2)
        assert not run.over.is_set()
        app.remote.drop(run.job.subtask_id, 1, FAILED)
        with pytest.raises(Terminal):
            await app.remote.say(run, [text("!")])
        assert app.streams.get(run.job.stream) is None


async def test_beats_are_few_however_many_reports_there_are(autojump_clock):
    async with away() as (app, _viewer, run):

        def beats():
            (beat,) = [each.beat for each in app.peek(lambda unit: unit.beats()) if each.owner == run.owner]
            return beat

        first = beats()
        for _ in range(40):
            await app.remote.heard(run)
            await trio.sleep(0.25)
        assert 3 <= beats() - first <= 5


async def test_while_the_store_is_away_text_goes_on_and_an_ending_has_to_be_repeated(autojump_clock):
    class Store(MemoryStore):
        away = False

        async def _pause(self):
            await trio.lowlevel.checkpoint()
            if self.away:
                raise StoreAway("the database does not answer")

    class App(Away):
        def make_store(self):
            return Store(self.clock)

    async with away(App()) as (app, viewer, run):
        app.store.away = True
        await app.remote.say(run, [text("abc")])
        await app.remote.heard(run)
        await trio.sleep(3)
        with pytest.raises(StoreAway):
            await app.remote.finish(run, COMPLETED)
        assert endings(viewer) == []
        app.store.away = False
        await app.remote.finish(run, COMPLETED)
        await app.remote.finish(run, COMPLETED)
        assert (await settled(app, viewer, run)).content == "abc"


async def test_an_ending_that_can_not_be_kept_is_kept_as_a_failure(autojump_clock):
    async with away() as (app, viewer, run):
        await app.remote.say(run, [text("abc")])
        with pytest.raises(Terminal):
            await app.remote.finish(run, Ending(EndingStatus.COMPLETED, result={"x": object()}))
        assert (await settled(app, viewer, run, "FAILED")).content == "abc"


class Distant(Away):
    def make_log(self):
        return DistantLog(self.timers, trio.lowlevel.checkpoint)


@pytest.mark.parametrize("kind", [Away, Distant])
async def test_a_report_cancelled_anywhere_can_be_repeated(autojump_clock, kind):
    async def attempt(cut):
        async with away(kind()) as (app, viewer, run):
            report = [text("Grüß 👋🏽", 0), SaidText(THINKING, "hm", 0), SaidBlock({"id": "b", "tool_name": "x"})]
            with trio.CancelScope() as scope, cut.at(scope.cancel):
                await app.remote.say(run, report)
                await app.remote.heard(run)
                await app.remote.finish(run, COMPLETED)
            if not run.over.is_set():
                assert await app.remote.say(run, report) == 7
                await app.remote.heard(run)
            await app.remote.finish(run, COMPLETED)
            row = await settled(app, viewer, run)
            assert (row.content, row.thinking, len(row.values)) == ("Grüß 👋🏽", "hm", 1)
            await trio.sleep(120)
            assert len(app.streams) == 0

    assert await at_every_checkpoint(attempt) >= 4


async def test_a_skill_is_asked_once_and_its_answer_waits_for_the_asker(autojump_clock):
    asked, told = [], []

    async def ask(name, action, data):
        asked.append((name, action, data))
        await trio.sleep(3)
        if name == "broken":
            raise RunFailed("no", type="timeout")
        return {"page": 1}

    async with away() as (app, viewer, run):
        app.remote.skills._ask = lambda job: ask
        run.answerer = lambda: told.append(sorted(run.answers))
        for _ in range(3):
            await app.remote.say(run, [SaidSkill("q1", "browser", "open", {"url": "x"})])
        await app.remote.say(run, [SaidSkill("q2", "broken", "open", {})])
        await trio.sleep(4)
        assert len(asked) == 2
        assert told[-1] == ["q1", "q2"]
        assert (run.answers["q1"].success, run.answers["q1"].result) == (True, {"page": 1})
        assert (run.answers["q2"].success, run.answers["q2"].error) == (False, "no")
        await app.remote.say(run, [SaidSkill("q1", "browser", "open", {"url": "x"})])
        await app.remote.say(run, [SaidSkill("q3", "browser", "open", {})])
        await app.remote.finish(run, COMPLETED)
        await trio.sleep(4)
        assert len(asked) == 3
        assert "q3" not in run.answers
        await settled(app, viewer, run)


async def test_a_run_can_not_ask_without_end(autojump_clock):
    async def ask(name, action, data):
        await trio.sleep_forever()

    async with away() as (app, _viewer, run):
        app.remote.skills._ask = lambda job: ask
        with pytest.raises(InvalidPayload):
            await app.remote.say(run, [text("x"), *(SaidSkill(f"q{n}", "s", "a", {}) for n in range(17))])
        assert run.replica.length() == 0
        await app.remote.say(run, [SaidSkill(f"q{n}", "s", "a", {}) for n in range(16)])
        with pytest.raises(InvalidPayload):
            await app.remote.say(run, [SaidSkill("more", "s", "a", {})])


async def test_nobody_to_ask_is_an_answer(autojump_clock):
    async with away() as (app, _viewer, run):
        app.remote.skills._ask = None
        await app.remote.say(run, [SaidSkill("q1", "browser", "open", {})])
        await trio.sleep(0.1)
        assert not run.answers["q1"].success

"""`chat:retry`: who may have an answer made again, when, and what everybody sees of it."""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import trio

from wegent.core.errors import LeaseLost, RunFailed
from wegent.core.model import CONTENT, Ending, EndingStatus, Snapshot
from wegent.core.said import SaidText
from wegent.protocol.status import OnLost
from wegent.server.claiming import Claim
from wegent.server.owners import device_owner, host_owner
from wegent.server.targets import CommandPolicy, Targets
from wegent.server.teams import CHAT_SHELL
from wegent.testing.checkpoints import at_every_checkpoint
from wegent.testing.harness import Application, application, serving
from wegent.testing.scripted import ScriptedExecutor, block, fail, linger, progress, say, think, wait
from wegent.testing.viewer import Viewer

ENDINGS = ("chat:done", "chat:error", "chat:cancelled")
OLD = [say("old text"), think("hm"), block("b", tool_name="x"), progress(40), fail(RunFailed("it broke"))]


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def send(app: Application, client: Any, message: str = "hi", **more: Any) -> tuple[Any, int]:
    """The ack of a message, and the answer's row."""
    ack = await client.emit("chat:send", {"team_id": app.team_id, "message": message, **more})
    return ack, ack["assistant_subtask_id"]


async def retry(app: Application, client: Any, row_id: int, **more: Any) -> Any:
    """The ack of `chat:retry`."""
    return await client.emit("chat:retry", {"task_id": app.row(row_id).task_id, "subtask_id": row_id, **more})


async def failed(app: Application, message: str = "hi", **more: Any) -> tuple[Viewer, int]:
    """A viewer, and an answer of its that failed."""
    app.executor.scripts.setdefault(message, OLD)  # type: ignore[attr-defined]
    alice = await app.client("alice")
    ack, row_id = await send(app, alice, message, **more)
    viewer = Viewer(alice, ack["task_id"])
    assert (await app.until_ended(row_id)).status == "FAILED"
    await trio.sleep(0.1)
    return viewer, row_id


async def all_agree(app: Application, *viewers: Viewer) -> None:
    """All hold what one holds who joins now, and saw nothing that they should not."""
    later = Viewer(await app.client("alice"), viewers[0].task_id)
    await later.join()
    for viewer in viewers:
        assert viewer.holds() == later.holds()
        assert not viewer.problems


async def test_an_answer_that_failed_is_made_again(autojump_clock):
    async with application(ScriptedExecutor()) as app:
        viewer, row_id = await failed(app)
        other = Viewer(await app.client("alice"), viewer.task_id)
        await other.join()
        app.executor.scripts["hi"] = [say("new")]
        assert await retry(app, viewer.client, row_id) == {"success": True, "attempt": 2}
        with trio.fail_after(0.5):  # it is released, not left until it may be claimed anyway
            await viewer.client.wait_for("chat:start", lambda data: data["attempt"] == 2)
        done = await viewer.client.wait_for("chat:done")
        assert (done["subtask_id"], done["attempt"], done["result"]["value"]) == (row_id, 2, "new")
        row = app.row(row_id)
        assert (row.status, row.attempt, row.content, row.thinking, row.values) == ("COMPLETED", 2, "new", "", ())
        assert (row.error_message, row.error_type) == (None, None)
        await trio.sleep(1)
        await all_agree(app, viewer, other)
        names = [frame.answers or frame.name for frame in viewer.client.frames]
        again = names[names.index("chat:retry") :]
        assert [name for name in again if name != "task:status"][:3] == ["chat:retry", "chat:start", "chat:chunk"]
        start = viewer.client.events("chat:start")[-1]
        assert (start["attempt"], start["reason"]) == (2, "retry")
        told = [each["status"] for each in viewer.client.events("task:status")]
        assert [each for each, then in pairwise([*told, ""]) if each != then] == [
            "PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING", "COMPLETED",
        ]  # fmt: skip


async def test_a_row_that_waits_for_its_next_attempt_says_nothing_of_the_one_before(autojump_clock):
    async with application(ScriptedExecutor()) as app:
        viewer, row_id = await failed(app)
        left = {"result": {"workbench": {"files": 1}}, "progress": 40, "reported": True}
        await app.store.write(lambda unit: unit.update_subtask(row_id, task=unit.touch(viewer.task_id), **left))
        app.queue.paused = True
        await retry(app, viewer.client, row_id)
        waiting = app.row(row_id)
        assert (waiting.result, waiting.progress, waiting.reported) == ({}, 0, False)
        assert (waiting.lease, waiting.owner, waiting.started_at) == (None, None, None)
        client = await app.client("alice")
        joined = await client.emit("task:join", {"task_id": viewer.task_id})
        row = joined["subtasks"][-1]
        assert joined["streaming"] is None
        assert (row["status"], row["attempt"], row["progress"]) == ("PENDING", 2, 0)
        assert row["result"]["value"] == ""
        assert not any(row["result"].get(name) for name in ("thinking", "blocks", "app"))
        assert (row.get("error_message"), row.get("completed_at")) == (None, None)
        history = await client.emit("history:sync", {"task_id": viewer.task_id})
        assert (history["messages"][-1]["content"], history["messages"][-1]["status"]) == ("", "PENDING")
        resumed = await client.emit("chat:resume", {"task_id": viewer.task_id, "subtask_id": row_id, "offset": 3})
        assert (resumed["attempt"], resumed["offset"], resumed["status"]) == (2, 0, "PENDING")
        app.queue.paused = False
        await viewer.client.wait_for("chat:start")
        await app.until_ended(row_id)
        await trio.sleep(1)
        await all_agree(app, viewer)


async def test_only_what_failed_or_was_cancelled_can_be_tried_again(autojump_clock):
    scripts = {"long": [linger(5, say("a"), wait(5))], "short": [say("a")]}
    async with application(ScriptedExecutor(scripts)) as app:
        alice = await app.client("alice")
        ack, short = await send(app, alice, "short")
        await app.until_ended(short)
        refused = await retry(app, alice, short)
        assert (refused["code"], refused["error"].split(";")[0]) == ("CONFLICT", "this answer is COMPLETED")
        _, running = await send(app, alice, "long", task_id=ack["task_id"])
        _, waiting = await send(app, alice, "long", task_id=ack["task_id"], if_running="queue")
        before = app.rows(ack["task_id"])
        for row_id in (running, waiting):
            assert (await retry(app, alice, row_id))["code"] == "CONFLICT"
        await alice.emit("chat:cancel", {"subtask_id": running})
        assert app.row(running).status == "CANCELLING"
        assert (await retry(app, alice, running))["code"] == "CONFLICT"
        assert (await retry(app, alice, ack["subtask_id"]))["code"] == "NOT_FOUND"
        assert (await alice.emit("chat:retry", {"task_id": 1, "subtask_id": 999}))["code"] == "NOT_FOUND"
        assert [row.attempt for row in app.rows(ack["task_id"])] == [row.attempt for row in before]


async def test_a_row_is_looked_for_in_the_task_that_is_named(autojump_clock):
    async with application(ScriptedExecutor({"other": [say("a")]})) as app:
        viewer, row_id = await failed(app)
        ack, _ = await send(app, viewer.client, "other")
        asked = {"task_id": ack["task_id"], "subtask_id": row_id}
        assert (await viewer.client.emit("chat:retry", asked))["code"] == "NOT_FOUND"
        assert app.row(row_id).attempt == 1


async def test_the_owner_and_who_sent_the_message_may_and_nobody_else(autojump_clock):
    async with application(ScriptedExecutor()) as app:
        app.executor.default = OLD
        alice, bob, carol = [await app.client(name) for name in ("alice", "bob", "carol")]
        ack, _ = await send(app, alice, "@Assistant hi", is_group_chat=True)
        await app.until_ended(ack["assistant_subtask_id"])
        theirs = ack["task_id"]
        await app.store.write(lambda unit: unit.put_member(theirs, app.users["bob"]))
        _, row_id = await send(app, bob, "@Assistant hi", task_id=theirs)
        await app.until_ended(row_id)
        assert (await retry(app, carol, row_id))["code"] == "ACCESS_DENIED"
        await app.store.write(lambda unit: unit.put_member(theirs, app.users["carol"]))
        assert (await retry(app, carol, row_id))["code"] == "ACCESS_DENIED"
        assert (await retry(app, bob, ack["assistant_subtask_id"]))["code"] == "ACCESS_DENIED"
        for attempt, client in ((2, bob), (3, alice)):
            assert (await retry(app, client, row_id))["attempt"] == attempt
            assert (await app.until_ended(row_id)).sender_id == app.users["bob"]


@pytest.mark.parametrize("if_running", ["reject", "queue", "interrupt"])
async def test_another_run_of_the_task_is_treated_as_by_a_message(autojump_clock, if_running):
    async with application(ScriptedExecutor({"long": [say("a"), wait(5), say("b")]})) as app:
        viewer, row_id = await failed(app)
        app.executor.scripts["hi"] = [say("new")]
        _, running = await send(app, viewer.client, "long", task_id=viewer.task_id)
        _, waiting = await send(app, viewer.client, "long", task_id=viewer.task_id, if_running="queue")
        await viewer.client.wait_for("chat:chunk")
        ack = await retry(app, viewer.client, row_id, if_running=if_running)
        if if_running == "reject":
            assert ack["code"] == "TASK_RUNNING"
            assert app.row(row_id).attempt == 1
            return
        assert ack["attempt"] == 2
        if if_running == "interrupt":
            with trio.fail_after(0.5):  # it is told to, not found out by its next beat
                await app.until_ended(running)
        for each in (row_id, running, waiting):
            await app.until_ended(each)
        order = [each["subtask_id"] for each in viewer.client.events("chat:start")]
        cut = if_running == "interrupt"
        assert [app.row(each).status for each in (running, waiting)] == ["CANCELLED" if cut else "COMPLETED"] * 2
        assert order == ([row_id, running, row_id] if cut else [row_id, running, row_id, waiting])
        await trio.sleep(1)
        await all_agree(app, viewer)


async def test_only_who_may_cancel_a_run_may_have_it_make_way(autojump_clock):
    async with application(ScriptedExecutor({"@Assistant long": [say("a"), wait(50)]})) as app:
        viewer, row_id = await failed(app, "@Assistant hi", is_group_chat=True)
        await app.store.write(lambda unit: unit.put_member(viewer.task_id, app.users["bob"]))
        bob = await app.client("bob")
        app.executor.scripts["@Assistant of bob"] = OLD
        _, of_bob = await send(app, bob, "@Assistant of bob", task_id=viewer.task_id)
        await app.until_ended(of_bob)
        _, running = await send(app, viewer.client, "@Assistant long", task_id=viewer.task_id)
        await viewer.client.wait_for("chat:chunk")
        assert (await retry(app, bob, of_bob, if_running="interrupt"))["code"] == "ACCESS_DENIED"
        assert (app.row(of_bob).status, app.row(running).status) == ("FAILED", "RUNNING")
        assert (await retry(app, viewer.client, row_id, if_running="interrupt"))["success"]
        assert (await app.until_ended(running)).status == "CANCELLED"


async def test_an_earlier_answer_is_made_from_what_came_before_it(autojump_clock):
    async with application(ScriptedExecutor({"later": [say("l")]})) as app:
        first, _ = await failed(app)
        _, later = await send(app, first.client, "later", task_id=first.task_id)
        await app.until_ended(later)
        app.executor.scripts["again"] = OLD
        _, middle = await send(app, first.client, "again", task_id=first.task_id)
        await app.until_ended(middle)
        _, last = await send(app, first.client, "later", task_id=first.task_id)
        await app.until_ended(last)
        app.executor.scripts["again"] = [say("made again")]
        await retry(app, first.client, middle)
        await app.until_ended(middle)
        job = app.executor.jobs[-1]
        assert (job.subtask_id, job.attempt) == (middle, 2)
        assert [(each.role, each.content) for each in job.spec.history] == [
            ("user", "hi"), ("assistant", "old text"), ("user", "later"), ("assistant", "l"),
        ]  # fmt: skip
        assert app.task(first.task_id).status == "COMPLETED"
        await trio.sleep(1)
        await all_agree(app, first)


async def test_another_model_is_taken_only_where_the_override_is_used(autojump_clock):
    async with application(ScriptedExecutor()) as app:
        for name in ("one", "two"):
            body = {"metadata": {}, "spec": {"modelConfig": {"model_id": name}}}
            await app.store.write(
                lambda unit, n=name, b=body: unit.put_kind("Model", "default", n, user_id=None, body=b)
            )
        viewer, row_id = await failed(app, force_override_bot_model="one")
        await failed(app)
        plain = app.executor.jobs[-1].spec.bot.model.get("model_id")
        asked: list[tuple[dict[str, Any], Any]] = [
            ({}, "one"),
            ({"force_override_bot_model": "two"}, "one"),
            ({"force_override_bot_model": "two", "use_model_override": True}, "two"),
            ({}, "two"),
            ({"use_model_override": True}, plain),
        ]
        for more, model in asked:
            await retry(app, viewer.client, row_id, **more)
            await app.until_ended(row_id)
            assert app.executor.jobs[-1].spec.bot.model.get("model_id") == model
        more = {"force_override_bot_model": "none", "use_model_override": True}
        assert (await retry(app, viewer.client, row_id, **more))["code"] == "NOT_FOUND"
        assert app.row(row_id).status == "FAILED"


async def test_a_run_whose_team_is_gone_is_not_tried_again(autojump_clock):
    async with application(ScriptedExecutor()) as app:
        viewer, row_id = await failed(app)
        row = app.row(row_id)
        await app.store.write(lambda unit: unit.delete_kind(app.team_id))
        assert (await retry(app, viewer.client, row_id))["code"] == "NOT_FOUND"
        assert app.row(row_id) == row


async def test_a_run_goes_where_the_shell_sends_it_now_and_only_who_may_sends_it_there(autojump_clock):
    async with application(ScriptedExecutor()) as app:
        viewer, row_id = await failed(app)
        executors = [CHAT_SHELL, "local", "process"]
        app.retrying._targets = Targets(app.clock, executors, CHAT_SHELL, CommandPolicy.ADMIN)
        app.queue.paused = True

        async def shell(**spec: Any) -> None:
            body = {"metadata": {}, "spec": spec}
            await app.store.write(lambda unit: unit.put_kind("Shell", "default", "chat", user_id=None, body=body))

        await shell(shellType="Command", executor="process")
        assert (await retry(app, viewer.client, row_id))["code"] == "ACCESS_DENIED"
        await shell(shellType="Agent", executor="docker")
        assert (await retry(app, viewer.client, row_id))["code"] == "CONFLICT"
        await shell(shellType="Agent", executor="local")
        assert (await retry(app, viewer.client, row_id))["success"]
        assert (app.row(row_id).target, app.row(row_id).shell_type) == ("local", "Agent")


async def test_a_run_of_a_device_stays_on_it(autojump_clock):
    async with application(ScriptedExecutor()) as app:
        alice = await app.client("alice")
        given = {"status": "online", "connection": "sid"}
        for name in ("one", "two"):
            await app.store.write(lambda unit, name=name: unit.put_device(app.users["alice"], name, **given))
        _, row_id = await send(app, alice, device_id="one")
        owner = device_owner(app.users["alice"], "one")
        (job,) = await app.book.claim(Claim({owner: 1}, owner, released=[row_id]))
        await app.book.finish(job, Ending(EndingStatus.FAILED, "no", "model"), Snapshot({}))
        long_ago = {"connection": None, "offline_since": app.clock.now() - timedelta(hours=1)}
        await app.store.write(lambda unit: unit.put_device(app.users["alice"], "one", **long_ago))
        assert (await retry(app, alice, row_id))["code"] == "DEVICE_OFFLINE"
        assert app.row(row_id).attempt == 1
        back = {**given, "offline_since": None}
        await app.store.write(lambda unit: unit.put_device(app.users["alice"], "one", **back))
        assert (await retry(app, alice, row_id))["success"]
        assert (app.row(row_id).target, app.row(row_id).status) == (owner, "PENDING")


async def test_a_row_begins_by_itself_if_nobody_releases_it(autojump_clock):
    async with application(ScriptedExecutor()) as app:
        viewer, row_id = await failed(app)
        app.retrying._release = lambda row: None
        app.executor.scripts["hi"] = [say("new")]
        await retry(app, viewer.client, row_id)
        asked = trio.current_time()
        assert app.row(row_id).claimable_at == app.clock.now() + timedelta(seconds=2)
        await viewer.client.wait_for("chat:done")
        assert 1.5 < trio.current_time() - asked < 6


async def test_what_waits_for_its_next_attempt_can_be_cancelled_and_tried_once_more(autojump_clock):
    async with application(ScriptedExecutor()) as app:
        viewer, row_id = await failed(app)
        app.queue.paused = True
        await retry(app, viewer.client, row_id)
        assert await viewer.client.emit("chat:cancel", {"subtask_id": row_id}) == {
            "success": True,
            "status": "CANCELLED",
        }
        await all_agree(app, viewer)
        assert viewer.view.messages[row_id].content.value == ""
        assert (await retry(app, viewer.client, row_id))["attempt"] == 3
        app.executor.scripts["hi"] = [say("new")]
        app.queue.paused = False
        await viewer.client.wait_for("chat:done")
        await trio.sleep(1)
        await all_agree(app, viewer)
        told = [(frame.name, frame.data["attempt"]) for frame in viewer.client.frames if frame.name in ENDINGS]
        assert told == [("chat:error", 1), ("chat:cancelled", 2), ("chat:done", 3)]


class Elsewhere(Application):
    """Rows are claimed by hand, for a host."""

    def __init__(self) -> None:
        super().__init__(ScriptedExecutor())
        self.queue.paused = True

    async def claim(self) -> Any:
        """The row whose turn it is, begun."""
        (job,) = await self.book.claim(Claim({CHAT_SHELL: 1}, "host:h/1.1", released=range(1, 100)))
        return self.remote.begin(job, "host:h/1.1")


async def test_what_the_earlier_attempt_still_says_changes_nothing(autojump_clock):
    async with serving(Elsewhere()) as app:
        alice = await app.client("alice")
        ack, row_id = await send(app, alice)
        viewer = Viewer(alice, ack["task_id"])
        first = await app.claim()
        await app.remote.say(first, [SaidText(CONTENT, "old", 0)])
        await app.remote.finish(first, Ending(EndingStatus.FAILED, "no", "model"))
        await retry(app, alice, row_id)
        with pytest.raises(LeaseLost):
            await app.book.finish(first.job, Ending(EndingStatus.FAILED, "no", "model"), Snapshot({}))
        assert await app.remote.find(row_id) is None
        second = await app.claim()
        with pytest.raises(LeaseLost):
            await app.book.finish(first.job, Ending(EndingStatus.COMPLETED), Snapshot({CONTENT: "forged"}))
        await app.remote.say(second, [SaidText(CONTENT, "new", 0)])
        await app.remote.finish(second, Ending(EndingStatus.COMPLETED))
        await trio.sleep(1)
        await all_agree(app, viewer)
        assert app.row(row_id).content == "new"


def _owner(subtask_id: int, attempt: int) -> str:
    return host_owner("h", subtask_id, attempt)


async def test_after_a_retry_lost_owners_are_counted_anew(autojump_clock):
    async with serving(Elsewhere()) as app:
        alice = await app.client("alice")
        _, row_id = await send(app, alice, on_lost=OnLost.RERUN.value)
        for _ in range(2):
            for _ in range(4):
                (job,) = await app.book.claim(Claim({CHAT_SHELL: 1}, _owner, released=[row_id]))
                app.remote.begin(job, _owner(job.subtask_id, job.attempt))
                while app.row(row_id).status == "RUNNING":  # noqa: ASYNC110
                    await trio.sleep(1)
            assert app.row(row_id).status == "FAILED"
            await retry(app, alice, row_id)
        assert (app.row(row_id).attempt, app.row(row_id).lost_attempts) == (9, 0)


async def test_of_retry_cancel_ending_and_a_second_retry_each_attempt_has_one_outcome(autojump_clock):
    """At every checkpoint of a run and its ending somebody tries again, cancels and tries again."""

    async def attempt(cut):
        async with application(ScriptedExecutor({"hi": [say("a"), wait(0.01), fail(RunFailed("no"))]})) as app:
            alice, acks = await app.client("alice"), []
            ack, row_id = await send(app, alice)
            viewer, go = Viewer(alice, ack["task_id"]), trio.Event()
            others = [await app.client("alice") for _ in range(3)]

            async def ask(client, event):
                await go.wait()
                asked = {"task_id": viewer.task_id, "subtask_id": row_id}
                acks.append((event, await client.emit(event, asked)))

            async with trio.open_nursery() as nursery:
                for client, event in zip(others, ["chat:retry", "chat:cancel", "chat:retry"], strict=True):
                    nursery.start_soon(ask, client, event)
                with cut.at(go.set):
                    while app.row(row_id).status != "FAILED" and not go.is_set():  # noqa: ASYNC110
                        await trio.sleep(0.0005)
                    for _ in range(20):
                        await trio.lowlevel.checkpoint()
                go.set()
            row = await app.until_ended(row_id)
            await trio.sleep(1)
            won = sorted(each["attempt"] for event, each in acks if event == "chat:retry" and "attempt" in each)
            assert won == list(range(2, row.attempt + 1))
            told = [(f.data["attempt"], f.name) for f in viewer.client.frames if f.name in ENDINGS]
            assert [each for each, _ in told] == list(range(1, row.attempt + 1))
            await all_agree(app, viewer)

    assert await at_every_checkpoint(attempt) >= 20

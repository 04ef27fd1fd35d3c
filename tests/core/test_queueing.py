"""Who runs next, and how soon."""

import pytest
import trio

from wegent.testing.harness import application
from wegent.testing.scripted import ScriptedExecutor, say, wait


async def send(app, client, message, **more):
    return await client.emit("chat:send", {"team_id": app.team_id, "message": message, **more})


async def test_a_message_that_interrupts_takes_the_place_of_the_run_at_once(autojump_clock):
    executor = ScriptedExecutor({"long": [say("a"), wait(1_000)]}, default=[say("b")])
    async with application(executor) as app:
        alice = await app.client("alice")
        first = await send(app, alice, "long")
        await alice.wait_for("chat:chunk")
        before = trio.current_time()
        second = await send(app, alice, "instead", task_id=1, if_running="interrupt")
        await alice.wait_for("chat:done", lambda done: done["subtask_id"] == second["assistant_subtask_id"])
        assert trio.current_time() - before < 0.1
        assert app.row(first["assistant_subtask_id"]).status == "CANCELLED"


async def test_queued_messages_follow_each_other_without_a_pause(autojump_clock):
    executor = ScriptedExecutor(default=[say("x"), wait(0.2)])
    async with application(executor) as app:
        alice = await app.client("alice")
        await send(app, alice, "0")
        before = trio.current_time()
        sent = [await send(app, alice, f"{n}", task_id=1, if_running="queue") for n in range(1, 5)]
        for ack in sent:
            await app.until_ended(ack["assistant_subtask_id"])
        assert trio.current_time() - before == pytest.approx(1.0, abs=0.1)
        assert [job.subtask_id for job in executor.jobs] == sorted(job.subtask_id for job in executor.jobs)


async def test_a_row_that_nobody_releases_is_found(autojump_clock):
    async with application(ScriptedExecutor(default=[say("x")])) as app:
        alice = await app.client("alice")
        app.sending._release = lambda row: None
        before = trio.current_time()
        await send(app, alice, "0")
        await alice.wait_for("chat:done")
        assert 2 <= trio.current_time() - before <= 4.5


async def test_a_task_that_runs_already_says_so(autojump_clock):
    async with application(ScriptedExecutor(default=[wait(5)])) as app:
        alice = await app.client("alice")
        await send(app, alice, "0")
        assert (await send(app, alice, "1", task_id=1))["code"] == "TASK_RUNNING"


async def test_of_many_who_wait_one_looks_when_a_row_comes(autojump_clock):
    """Whoever finds that nothing is left spares the others the look; what comes afterwards is news again."""
    async with application(ScriptedExecutor(), max_concurrent=0) as app:
        with app.queue.watch(["chat_shell"]) as first, app.queue.watch(["chat_shell", "other"]) as second:
            assert (first.take(), second.take()) == ({"chat_shell"}, {"chat_shell", "other"})
            await send(app, await app.client("alice"), "0")
            assert first.take() == {"chat_shell"}
            assert len(await app.queue.claim({"chat_shell": 2}, "somebody")) == 1
            assert second.take() == set()
            await send(app, await app.client("bob"), "1")
            await send(app, await app.client("carol"), "2")
            assert first.take() == {"chat_shell"}
            assert len(await app.queue.claim({"chat_shell": 1}, "somebody")) == 1
            assert second.take() == {"chat_shell"}


async def test_what_comes_during_a_look_is_not_missed(autojump_clock, monkeypatch):
    async with application(ScriptedExecutor(), max_concurrent=0) as app:
        alice = await app.client("alice")

        async def look(claim):
            await send(app, alice, "0")
            return []

        with app.queue.watch(["chat_shell"]) as watch:
            watch.take()
            monkeypatch.setattr(app.book, "claim", look)
            assert await app.queue.claim({"chat_shell": 1}, "somebody") == []
            assert watch.take() == {"chat_shell"}

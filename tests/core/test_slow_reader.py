"""A slow reader costs itself only: bounded memory, one catch-up chunk per frame limit, no lost character."""

import sys

import trio

from wegent.core.outbox import OutboxLimits
from wegent.testing.harness import application
from wegent.testing.scripted import ScriptedExecutor, block, say, think, wait
from wegent.testing.viewer import Viewer

FRAME = 512 * 1024
ENDINGS = ("chat:done", "chat:error", "chat:cancelled")


def weight(box):
    """Bytes that an outbox holds of its own."""
    return sum(sys.getsizeof(item) for item in box.queue)


async def watch(app, message="hi", limits=None):
    """A run, and a second viewer of it."""
    alice = await app.client("alice")
    ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": message})
    slow = await app.client("alice", limits=limits)
    viewer = Viewer(slow, ack["task_id"])
    await viewer.join()
    return Viewer(alice, ack["task_id"]), viewer, ack["assistant_subtask_id"]


async def test_one_that_pauses_gets_one_chunk_per_frame_limit_and_then_the_ending(autojump_clock):
    script = [wait(1)]
    for n in range(60):
        script += [say("字" * 20_000), block("t", tool_name="x", tool_output=str(n), status="streaming"), wait(0.2)]
    async with application(ScriptedExecutor(default=script)) as app:
        quick, slow, subtask_id = await watch(app)
        connection = slow.client.connection
        connection.drain.pause()
        heaviest = 0
        with trio.move_on_after(12):
            while True:
                await trio.sleep(0.1)
                heaviest = max(heaviest, weight(connection.outbox))
        await app.until_ended(subtask_id)
        assert heaviest < 2 * app.outbox_limits.high + 100_000
        before = len(slow.client.frames)
        connection.drain.resume()
        await connection.drain.drained()
        text = app.row(subtask_id).content
        assert len(text) == 60 * 20_000
        frames = slow.client.frames[before:]
        caught_up = [frame for frame in frames if frame.name == "chat:chunk"]
        queued = 6  # text and blocks that were on their way when it stopped reading
        assert len(caught_up) <= len(text.encode()) // 490_000 + 1 + queued
        assert max(frame.size for frame in frames if frame.name == "chat:chunk") <= FRAME
        assert [frame.name for frame in frames if frame.name][-2:] == ["chat:done", "task:status"]
        while await slow.recover():
            await connection.drain.drained()
        for viewer in (quick, slow):
            assert not viewer.problems
        assert slow.view.messages[subtask_id].content.value == text
        assert slow.view.messages[subtask_id].blocks[0]["tool_output"] == "59"


async def test_the_others_are_not_kept_waiting(autojump_clock):
    script = [step for _ in range(50) for step in (say("x" * 50_000), wait(0.1))]
    async with application(ScriptedExecutor(default=[wait(0.5), *script])) as app:
        quick, slow, _ = await watch(app)
        slow.client.connection.drain.pause()
        started = await quick.client.wait_for("chat:start") and trio.current_time()
        await quick.client.wait_for("chat:done")
        assert trio.current_time() - started < 0.5 + 50 * 0.1 + 0.1
        assert len([frame for frame in quick.client.frames if frame.name == "chat:chunk"]) == 50


async def test_past_the_hard_limit_the_connection_is_closed_and_the_reconnect_is_whole(autojump_clock):
    limits = OutboxLimits(high=1_000, hard=20_000)
    async with application(ScriptedExecutor(default=[say("answer ")] * 20)) as app:
        _, slow, subtask_id = await watch(app, limits=limits)
        await app.until_ended(subtask_id)
        connection = slow.client.connection
        connection.drain.pause()
        other = await app.client("alice")
        for n in range(100):
            asked = {"task_id": slow.task_id, "team_id": app.team_id, "message": f"{n} " + "x" * 500}
            ack = await other.emit("chat:send", asked)
            await app.until_ended(ack["assistant_subtask_id"])
            if connection.closed is not None:
                break
        assert connection.closed.come_back
        assert weight(connection.outbox) < 100_000
        await connection.ended.wait()
        assert not connection.outbox.queue
        assert len(app.sessions) == 2
        await slow.client.connect()
        await slow.join()
        rows = app.rows(slow.task_id)
        held = {each["id"]: each["text"] for each in slow.holds()}
        assert held == {row.id: row.prompt if row.role == "USER" else row.content for row in rows}
        assert not slow.problems


async def test_a_byte_at_a_time_loses_nothing(autojump_clock):
    script = [step for n in range(200) for step in (say(f"{n} 👋🏽é "), think(f"{n} 考 "), wait(0.05))]
    async with application(ScriptedExecutor(default=script)) as app:
        _, slow, subtask_id = await watch(app, limits=OutboxLimits(high=100))
        slow.client.connection.drain.speed = 300.0
        await app.until_ended(subtask_id)
        await slow.client.wait_for("chat:done")
        message = slow.view.messages[subtask_id]
        assert message.content.value == app.row(subtask_id).content
        assert message.thinking.value == app.row(subtask_id).thinking
        assert not slow.problems
        chunks = [frame for frame in slow.client.frames if frame.name == "chat:chunk"]
        assert len(chunks) < 200
        assert [f.name for f in slow.client.frames if f.name in (*ENDINGS, "chat:chunk")][-1] == "chat:done"


async def test_one_who_joins_again_while_behind_gets_text_before_its_ending(autojump_clock):
    script = [wait(1), *[step for _ in range(30) for step in (say("y" * 9_000), wait(0.1))]]
    async with application(ScriptedExecutor(default=script)) as app:
        _, slow, subtask_id = await watch(app)
        slow.client.connection.drain.pause()
        await app.until_ended(subtask_id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow.join)
            await trio.sleep(1)
            slow.client.connection.drain.resume()
        while await slow.recover():
            await slow.client.connection.drain.drained()
        assert not slow.problems
        assert slow.view.messages[subtask_id].content.value == "y" * 270_000


async def test_one_who_asks_again_and_again_without_reading_is_closed(autojump_clock):
    async with application(ScriptedExecutor(default=[say("z" * 1_000)])) as app:
        _, slow, subtask_id = await watch(app)
        await app.until_ended(subtask_id)
        connection = slow.client.connection
        connection.drain.pause()
        for _ in range(200):
            slow.client.send("chat:resume", {"task_id": slow.task_id, "subtask_id": subtask_id})
            await trio.sleep(0.01)
        await connection.ended.wait()
        assert connection.closed.come_back

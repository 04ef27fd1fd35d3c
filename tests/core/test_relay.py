"""Two workers: whoever watches on the other one sees the same, also where messages between them are lost."""

import trio

from wegent.fanout.memory import MemoryFanout
from wegent.testing.deployment import Shared, deployment
from wegent.testing.faulty_fanout import Rates
from wegent.testing.scripted import ScriptedExecutor, block, say, think, wait
from wegent.testing.viewer import Viewer

SCRIPT = [
    say("one "),
    wait(0.2),
    think("hm"),
    block("a", tool_name="t", status="done"),
    wait(0.2),
    say("two "),
    wait(1.0),
]


async def scene(apps, name="alice"):
    """A task that was begun on the first worker; the client that began it, and its id."""
    client = await apps[0].client(name)
    ack = await client.emit("chat:send", {"team_id": apps[0].team_id, "message": "begin"})
    return client, ack


async def viewer_of(app, task_id, name="alice"):
    viewer = Viewer(await app.client(name), task_id)
    await viewer.join()
    return viewer


def text_of(viewer, subtask_id):
    [held] = [each for each in viewer.holds() if each["id"] == subtask_id]
    return held["text"], held["thinking"], [each["id"] for each in held["blocks"]]


async def test_a_viewer_on_another_worker_sees_it_all(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=SCRIPT)) as apps:
        client, ack = await scene(apps)
        viewer = await viewer_of(apps[1], ack["task_id"])
        done = await viewer.client.wait_for("chat:done")
        assert done["result"]["value"] == "one two "
        assert text_of(viewer, ack["assistant_subtask_id"]) == ("one two ", "hm", ["a"])
        await viewer.client.wait_for("task:status", lambda status: status["status"] == "COMPLETED")
        assert not viewer.problems
        names = [frame.name for frame in viewer.client.frames if frame.name.startswith("chat:")]
        assert names.count("chat:done") == 1
        await client.wait_for("chat:done")


async def test_a_message_reaches_the_other_worker_before_its_run(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[wait(0.5), say("x")])) as apps:
        client, ack = await scene(apps)
        viewer = await viewer_of(apps[1], ack["task_id"])
        await viewer.client.wait_for("chat:done")
        again = {"task_id": ack["task_id"], "team_id": apps[0].team_id, "message": "again"}
        seen = len(viewer.client.frames)
        await client.emit("chat:send", again)
        await viewer.client.wait_for("chat:done", after=seen)
        names = [frame.name for frame in viewer.client.frames[seen:] if frame.name.startswith("chat:")]
        assert names == ["chat:message", "chat:start", "chat:chunk", "chat:done"]
        assert not viewer.problems


async def test_who_joins_in_the_middle_goes_on_from_there(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=SCRIPT)) as apps:
        _, ack = await scene(apps)
        await trio.sleep(0.5)
        viewer = await viewer_of(apps[1], ack["task_id"])
        assert viewer.client.frames[-1].data["streaming"]["cached_content"] == "one two "
        await viewer.client.wait_for("chat:done")
        assert text_of(viewer, ack["assistant_subtask_id"]) == ("one two ", "hm", ["a"])
        assert not viewer.problems


async def test_resume_on_another_worker(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=SCRIPT)) as apps:
        _, ack = await scene(apps)
        await trio.sleep(0.3)
        viewer = Viewer(await apps[1].client("alice"), ack["task_id"])
        answer = await viewer.resume(ack["assistant_subtask_id"], 0)
        assert (answer["offset"], answer["status"]) == (0, "RUNNING")
        await viewer.client.wait_for("chat:done")
        assert text_of(viewer, ack["assistant_subtask_id"]) == ("one two ", "hm", ["a"])


async def lossy(apps, task_id, lose):
    """A viewer on the second worker, which loses what `lose` says from now on."""
    viewer = await viewer_of(apps[1], task_id)
    apps[1].fanout.rates = lose
    return viewer


async def closed_in_time(apps, lose, mended=3.0):
    client, ack = await scene(apps)
    viewer = await lossy(apps, ack["task_id"], lose)
    await client.wait_for("chat:done")
    apps[1].fanout.rates = Rates()
    with trio.fail_after(mended):
        await viewer.client.wait_for("chat:done")
    assert text_of(viewer, ack["assistant_subtask_id"]) == ("one two ", "hm", ["a"])
    return viewer


async def test_all_that_is_lost_of_a_run_is_there_within_three_seconds(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[wait(0.5), *SCRIPT])) as apps:
        viewer = await closed_in_time(apps, Rates(lost=1.0))
        assert not viewer.problems


async def test_a_lost_message_of_somebody_else_is_mended(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[wait(0.5), say("x")])) as apps:
        client, ack = await scene(apps)
        viewer = await viewer_of(apps[1], ack["task_id"])
        await viewer.client.wait_for("chat:done")
        apps[1].fanout.rates = Rates(lost=1.0)
        asked = {"task_id": ack["task_id"], "team_id": apps[0].team_id, "message": "again"}
        await client.emit("chat:send", asked)
        apps[1].fanout.rates = Rates()
        with trio.fail_after(3):
            message = await viewer.client.wait_for("chat:message")
        assert message["content"] == "again"


async def test_a_gap_on_a_users_topic_asks_them_to_read_the_lists_again(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[wait(0.5), say("x")])) as apps:
        watcher = await apps[1].client("alice")
        await scene(apps)
        await watcher.wait_for("task:created")
        await trio.sleep(7)
        apps[1].fanout.rates = Rates(lost=1.0)
        await scene(apps)
        apps[1].fanout.rates = Rates()
        with trio.fail_after(3):
            required = await watcher.wait_for("sync:required")
        assert required["scope"] == f"user:{apps[0].users['alice']}"


async def test_a_topic_that_nobody_watches_is_left(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[wait(0.5), say("x")])) as apps:
        _, ack = await scene(apps)
        viewer = await viewer_of(apps[1], ack["task_id"])
        await viewer.client.wait_for("chat:done")
        assert apps[1].rooms.follows(f"task:{ack['task_id']}")
        viewer.client.disconnect()
        await trio.sleep(15)
        assert not apps[1].rooms.follows(f"task:{ack['task_id']}")
        assert not len(apps[1].streams)


async def test_a_stranger_makes_no_worker_listen(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[wait(0.5), say("x")])) as apps:
        _, ack = await scene(apps)
        stranger = await apps[1].client("bob")
        refused = await stranger.emit("task:join", {"task_id": ack["task_id"]})
        assert refused["code"] == "ACCESS_DENIED"
        assert not apps[1].rooms.follows(f"task:{ack['task_id']}")


async def test_a_message_that_is_not_understood_costs_a_look_and_nothing_else(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=SCRIPT)) as apps:
        _, ack = await scene(apps)
        viewer = await viewer_of(apps[1], ack["task_id"])
        stranger = MemoryFanout(apps[0].shared.bus, "stranger")
        for body in (b"", b"{", b"{}", b"[1]", b'{"stream":[1]}', "ü".encode("latin-1")):
            stranger.publish(f"{{task:{ack['task_id']}}}", body)
        await viewer.client.wait_for("chat:done")
        assert text_of(viewer, ack["assistant_subtask_id"]) == ("one two ", "hm", ["a"])
        assert not viewer.problems


async def test_shared_parts_are_the_same_for_all_workers(autojump_clock):
    shared = Shared()
    async with deployment(3, ScriptedExecutor(default=[wait(0.5), say("x")]), shared) as apps:
        assert {id(app.store) for app in apps} == {id(shared.store)}
        assert len({app.team_id for app in apps}) == 1

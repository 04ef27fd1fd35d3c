"""What is asked of one worker is done at another: runs are stopped, members put out, questions answered."""

import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.core.model import Principal
from wegent.testing.deployment import deployment
from wegent.testing.faulty_fanout import Rates
from wegent.testing.scripted import ScriptedExecutor, say, wait


def asking(answers):
    """A step that asks the viewers, and keeps what they answer."""

    async def step(sink, written):
        try:
            answers.append(await sink.skill("map", "show", {"at": "here"}))
        except RunFailed as error:
            answers.append(error.sentence)

    return step


async def begun(apps, name="alice", **more):
    """A task begun at the first worker; who began it, and the ack."""
    client = await apps[0].client(name)
    asked = {"team_id": apps[0].team_id, "message": "@Assistant begin", **more}
    return client, await client.emit("chat:send", asked)


async def group(apps):
    """A group chat of alice and bob; bob views it at the second worker."""
    client, ack = await begun(apps, is_group_chat=True)
    bob = apps[0].users["bob"]
    await apps[0].store.write(lambda unit: unit.put_member(ack["task_id"], bob))
    viewer = await apps[1].client("bob")
    await viewer.emit("task:join", {"task_id": ack["task_id"]})
    return client, viewer, ack["task_id"], bob


async def removed(apps, task_id, user_id):
    await apps[0].members.remove(Principal(apps[0].users["alice"], "alice"), task_id, user_id)


async def test_a_run_is_cancelled_from_another_worker_at_once(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[say("x"), wait(60)])) as apps:
        _, ack = await begun(apps)
        other = await apps[1].client("alice")
        await other.emit("task:join", {"task_id": ack["task_id"]})
        await trio.sleep(0.5)
        before = trio.current_time()
        await other.emit("chat:cancel", {"subtask_id": ack["assistant_subtask_id"]})
        await other.wait_for("chat:cancelled")
        assert trio.current_time() - before < 0.5


async def test_a_cancel_that_is_lost_is_found_at_the_next_beat(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[say("x"), wait(60)])) as apps:
        client, ack = await begun(apps)
        other = await apps[1].client("alice")
        for app in apps:
            app.fanout.rates = Rates(lost=1.0)
        await other.emit("chat:cancel", {"subtask_id": ack["assistant_subtask_id"]})
        with trio.fail_after(6):
            await client.wait_for("chat:cancelled")


async def test_a_removed_member_is_put_out_on_every_worker_at_once(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[wait(0.5), say("x"), wait(5), say("y")])) as apps:
        client, viewer, task_id, bob = await group(apps)
        await removed(apps, task_id, bob)
        await viewer.wait_for("task:updated", lambda update: update.get("deleted"))
        seen = len(viewer.frames)
        await client.wait_for("chat:done")
        assert not [frame for frame in viewer.frames[seen:] if frame.name.startswith("chat:")]


async def test_an_eviction_that_is_lost_is_found_within_three_seconds(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[wait(60)])) as apps:
        _, viewer, task_id, bob = await group(apps)
        apps[1].fanout.rates = Rates(lost=1.0)
        await removed(apps, task_id, bob)
        apps[1].fanout.rates = Rates()
        room = apps[1].rooms.get("/chat", f"task:{task_id}")
        assert room.members()
        await trio.sleep(3)
        assert not room.members()
        assert viewer.connected


async def test_a_question_is_answered_at_another_worker(autojump_clock):
    answers = []
    async with deployment(2, ScriptedExecutor(default=[wait(1), asking(answers)])) as apps:
        _, ack = await begun(apps)
        viewer = await apps[1].client("alice")
        await viewer.emit("task:join", {"task_id": ack["task_id"]})
        request = await viewer.wait_for("skill:request")
        stranger = await apps[1].client("carol")
        response = {"request_id": request["request_id"], "success": True, "result": {"ok": 1}}
        assert (await stranger.emit("skill:response", response))["code"] == "ACCESS_DENIED"
        assert (await viewer.emit("skill:response", response))["success"]
        await viewer.wait_for("chat:done")
        assert answers == [{"ok": 1}]


async def test_the_first_answer_wins_wherever_it_is_given(autojump_clock):
    answers = []
    async with deployment(2, ScriptedExecutor(default=[wait(1), asking(answers)])) as apps:
        client, ack = await begun(apps)
        viewer = await apps[1].client("alice")
        await viewer.emit("task:join", {"task_id": ack["task_id"]})
        request = await client.wait_for("skill:request")
        for each, said in ((client, "first"), (viewer, "second")):
            await each.emit("skill:response", {"request_id": request["request_id"], "success": True, "result": said})
        await viewer.wait_for("chat:done")
        assert answers == ["first"]


@pytest.mark.parametrize("request_id", ["", "x", "1", "1.", ".x", "99999999999999999999.x", "1.unknown"])
async def test_answers_to_nothing_are_refused_alone(autojump_clock, request_id):
    async with deployment(1, ScriptedExecutor()) as apps:
        client = await apps[0].client("bob")
        answer = await client.emit("skill:response", {"request_id": request_id, "success": True})
        assert answer["code"] in ("NOT_FOUND", "INVALID_PAYLOAD")


async def test_a_command_that_fails_or_is_unknown_harms_nobody(autojump_clock):
    async with deployment(2, ScriptedExecutor(default=[say("x")])) as apps:
        for command, data in (("stop", None), ("stop", ["a"]), ("evict", {}), ("answer", 5), ("unknown", [])):
            apps[0].relay.tell_all(command, data)
        await trio.sleep(0.1)
        client = await apps[1].client("alice")
        ack = await client.emit("chat:send", {"team_id": apps[1].team_id, "message": "go on"})
        assert "task_id" in ack

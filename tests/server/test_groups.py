"""Group chats as their people see them: who hears what, and who hears nothing any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from wegent.core.clock import Clock
from wegent.core.errors import WegentError
from wegent.core.model import Principal
from wegent.protocol.groups import EditMessage, Invite
from wegent.server.telling import task_room
from wegent.storage.memory import MemoryStore
from wegent.testing.harness import Application, application, serving
from wegent.testing.scripted import ScriptedExecutor, linger, say, wait
from wegent.testing.viewer import Viewer

Clocked = trio.testing.MockClock
LONG = [say("thinking about it"), wait(5.0), say(", done")]


@pytest.fixture
async def app() -> AsyncIterator[Application]:
    async with application(ScriptedExecutor({"@Assistant long": LONG}, default=[say("hello")])) as app:
        yield app


def who(app: Application, name: str) -> Principal:
    return Principal(app.users[name], name)


async def group(app: Application, *names: str) -> int:
    """Alice's group chat with these people."""
    alice = await app.client("alice")
    ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "welcome", "is_group_chat": True})
    for name in names:
        await app.members.add(who(app, "alice"), ack["task_id"], Invite(user_name=name))
    alice.disconnect()
    return int(ack["task_id"])


async def joined(app: Application, name: str, task_id: int) -> Viewer:
    """Somebody who views the task."""
    viewer = Viewer(await app.client(name), task_id)
    assert "code" not in await viewer.join()
    return viewer


async def talk(app: Application, viewer: Viewer, message: str, **more: Any) -> Any:
    """The ack of a message."""
    asked = {"task_id": viewer.task_id, "team_id": app.team_id, "message": message, **more}
    return await viewer.client.emit("chat:send", asked)


async def test_who_is_added_is_told_of_the_task_and_everybody_of_them(
    autojump_clock: Clocked, app: Application
) -> None:
    task_id = await group(app, "carol")
    alice, bob, carol = [await app.client(name) for name in ("alice", "bob", "carol")]
    await trio.sleep(1)
    await app.members.add(who(app, "alice"), task_id, Invite(user_name="bob"))
    created = await bob.wait_for("task:created")
    assert (created["task_id"], created["title"], created["is_group_chat"]) == (task_id, "welcome", True)
    assert (await bob.wait_for("task:status"))["status"] == "COMPLETED"
    for client in (alice, bob, carol):
        updated = await client.wait_for("task:updated")
        names = [(each["user_name"], each["role"]) for each in updated["members"]]
        assert names == [("alice", "owner"), ("carol", "member"), ("bob", "member")]
    assert carol.events("task:created") == []


@pytest.mark.parametrize("way", ["removed", "left", "deleted"])
async def test_who_is_out_hears_nothing_more_at_once(autojump_clock: Clocked, app: Application, way: str) -> None:
    task_id = await group(app, "bob")
    alice, bob, tab = [await joined(app, name, task_id) for name in ("alice", "bob", "bob")]
    await talk(app, alice, "@Assistant long")
    await bob.client.wait_for("chat:chunk")
    if way == "deleted":
        await app.changing.delete(who(app, "alice"), task_id)
    else:
        remover = "alice" if way == "removed" else "bob"
        await app.members.remove(who(app, remover), task_id, app.users["bob"])
    for viewer in (bob, tab):
        gone = await viewer.client.wait_for("task:updated", lambda told: "deleted" in told)
        assert gone == {"task_id": task_id, "deleted": True}
        heard = len(viewer.client.frames)
        assert (await viewer.join())["code"] == ("NOT_FOUND" if way == "deleted" else "ACCESS_DENIED")
        assert (await talk(app, viewer, "but"))["code"] == "ACCESS_DENIED"
        await trio.sleep(20)
        assert [frame for frame in viewer.client.frames[heard:] if frame.name] == []
    if way != "deleted":
        assert (await alice.client.wait_for("chat:done"))["result"]["value"] == "thinking about it, done"
        members = alice.client.events("task:updated")[-1]["members"]
        assert [each["user_name"] for each in members] == ["alice"]


async def test_a_deleted_task_s_run_ends_as_cancelled_and_is_told_so_once(
    autojump_clock: Clocked, app: Application
) -> None:
    task_id = await group(app)
    alice = await joined(app, "alice", task_id)
    ack = await talk(app, alice, "@Assistant long")
    waiting = await talk(app, alice, "@Assistant hi", if_running="queue")
    await alice.client.wait_for("chat:chunk")
    await app.changing.delete(who(app, "alice"), task_id)
    await trio.sleep(20)
    assert [each["subtask_id"] for each in alice.client.events("chat:cancelled")] == [
        ack["assistant_subtask_id"],
        waiting["assistant_subtask_id"],
    ]
    assert alice.client.events("chat:done") == []
    assert len(app.runs) == 0
    assert app.peek(lambda unit: unit.running()) == []
    assert app.rooms.get("/chat", task_room(task_id)) is None


class SlowToTell(MemoryStore):
    """Lets a test happen between what is done in a unit and the return to who asked for it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.committed = trio.Event()
        self.go_on: trio.Event | None = None

    async def write(self, work: Any) -> Any:
        """Commit, then wait, once where that is asked for."""
        return await self._slowly(await super().write(work))

    async def read(self, work: Any) -> Any:
        """The same for what was read."""
        return await self._slowly(await super().read(work))

    async def _slowly(self, result: Any) -> Any:
        if (gate := self.go_on) is not None:
            self.go_on = None
            self.committed.set()
            with trio.CancelScope(shield=True):
                await gate.wait()
        return result


class SlowApplication(Application):
    def make_store(self) -> SlowToTell:
        return SlowToTell(self.clock)


@pytest.mark.parametrize("repeated", [False, True])
async def test_a_send_that_was_under_way_does_not_let_a_removed_member_in_again(
    autojump_clock: Clocked, repeated: bool
) -> None:
    async with serving(SlowApplication(ScriptedExecutor(default=[say("hello")]))) as app:
        assert isinstance(app.store, SlowToTell)
        task_id = await group(app, "bob")
        bob = Viewer(await app.client("bob"), task_id)
        if repeated:
            await talk(app, bob, "hi", client_message_id="c")
            bob.client.disconnect()
            await bob.client.connect()
        app.store.go_on = gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: talk(app, bob, "hi", client_message_id="c"))
            await app.store.committed.wait()
            await app.members.remove(who(app, "alice"), task_id, app.users["bob"])
            gate.set()
        assert app.rooms.get("/chat", task_room(task_id)) is None


async def test_a_repeat_without_the_task_does_not_let_a_removed_member_in(
    autojump_clock: Clocked, app: Application
) -> None:
    task_id = await group(app, "bob")
    bob = await joined(app, "bob", task_id)
    await talk(app, bob, "hi", client_message_id="c")
    await app.members.remove(who(app, "alice"), task_id, app.users["bob"])
    again = await bob.client.emit("chat:send", {"team_id": app.team_id, "message": "hi", "client_message_id": "c"})
    assert again["code"] == "ACCESS_DENIED"
    assert app.rooms.get("/chat", task_room(task_id)) is None


@pytest.mark.parametrize("was_in", [False, True])
async def test_a_join_that_is_under_way_is_refused_to_who_is_removed_meanwhile(
    autojump_clock: Clocked, was_in: bool
) -> None:
    async with serving(SlowApplication(ScriptedExecutor(default=[say("hello")]))) as app:
        assert isinstance(app.store, SlowToTell)
        task_id = await group(app, "bob")
        bob = Viewer(await app.client("bob"), task_id)
        if was_in:
            await bob.join()
        app.store.go_on = gate = trio.Event()
        acks: list[Any] = []

        async def join() -> None:
            acks.append(await bob.join())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            await app.store.committed.wait()
            await app.members.remove(who(app, "alice"), task_id, app.users["bob"])
            gate.set()
        assert acks[0]["code"] == "ACCESS_DENIED"
        assert app.rooms.get("/chat", task_room(task_id)) is None


async def test_everybody_hears_how_much_they_have_not_read(autojump_clock: Clocked, app: Application) -> None:
    task_id = await group(app, "bob")
    alice, bob, tab = [await joined(app, name, task_id) for name in ("alice", "bob", "bob")]

    def counts(viewer: Viewer) -> list[int]:
        return [told["unread"] for told in viewer.client.events("task:updated") if "unread" in told]

    await talk(app, alice, "one")
    await talk(app, alice, "two")
    await app.changing.read(who(app, "bob"), task_id, 2)
    await talk(app, bob, "three")
    await trio.sleep(1)
    assert counts(alice) == [0, 0, 1]
    assert counts(bob) == counts(tab) == [1, 2, 1, 0]


async def test_talk_is_taken_during_a_run_and_only_a_mention_is_answered(
    autojump_clock: Clocked, app: Application
) -> None:
    task_id = await group(app, "bob")
    alice, bob = [await joined(app, name, task_id) for name in ("alice", "bob")]
    await talk(app, alice, "@Assistant long")
    await bob.client.wait_for("chat:chunk")
    for number, message in enumerate(("it thinks", "me@assistant", "@assistants", "@assistant-2")):
        ack = await talk(app, bob, message)
        assert (ack["assistant_subtask_id"], ack["message_id"]) == (None, 4 + number)
        assert (await alice.client.wait_for("chat:message", lambda m: m["content"] == message))["sender"] == {  # noqa: B023
            "user_id": app.users["bob"],
            "user_name": "bob",
        }
    assert (await talk(app, bob, "(@ASSISTANT) so?"))["code"] == "TASK_RUNNING"
    assert (await talk(app, bob, "@assistant", if_running="interrupt"))["code"] == "ACCESS_DENIED"
    ack = await talk(app, bob, "so, @aSSistant?", if_running="queue")
    await app.until_ended(ack["assistant_subtask_id"])
    await trio.sleep(1)
    assert alice.holds() == bob.holds()
    assert [row.message_id for row in app.rows(task_id)] == list(range(1, 10))


async def test_the_model_is_told_who_said_what(autojump_clock: Clocked, app: Application) -> None:
    task_id = await group(app, "bob")
    alice, bob = [await joined(app, name, task_id) for name in ("alice", "bob")]
    await talk(app, bob, "the sky is green")
    ack = await talk(app, alice, "@Assistant is it?")
    await app.until_ended(ack["assistant_subtask_id"])
    job = app.executor.jobs[-1].spec  # type: ignore[attr-defined]
    assert [(each.content, each.sender) for each in job.history] == [("welcome", "alice"), ("the sky is green", "bob")]
    assert (job.prompt, job.user.name) == ("@Assistant is it?", "alice")


async def test_queued_answers_come_in_order_each_with_what_was_said_before_it(autojump_clock: Clocked) -> None:
    executor = ScriptedExecutor(
        {"@Assistant one": [wait(3.0), say("1")], "@Assistant two": [say("2")], "@Assistant three": [say("3")]}
    )
    async with application(executor) as app:
        task_id = await group(app, "bob", "carol")
        viewers = [await joined(app, name, task_id) for name in ("alice", "bob", "carol")]
        acks = [
            await talk(app, viewer, f"@Assistant {word}", if_running="queue")
            for viewer, word in zip(viewers, ("one", "two", "three"), strict=True)
        ]
        for ack in acks:
            await app.until_ended(ack["assistant_subtask_id"])
        assert [job.message_id for job in executor.jobs] == [3, 5, 7]
        assert [each.content for each in executor.jobs[-1].spec.history] == [
            "welcome",
            "@Assistant one",
            "1",
            "@Assistant two",
            "2",
        ]


async def test_an_interrupting_message_takes_the_place_of_the_run(autojump_clock: Clocked) -> None:
    executor = ScriptedExecutor({"@Assistant one": [say("never "), linger(1.0), wait(60.0)]}, default=[say("ok")])
    async with application(executor) as app:
        task_id = await group(app, "bob")
        alice, bob = [await joined(app, name, task_id) for name in ("alice", "bob")]
        first = await talk(app, bob, "@Assistant one")
        await bob.client.wait_for("chat:chunk")
        second = await talk(app, alice, "@Assistant two", if_running="interrupt")
        ended = await app.until_ended(second["assistant_subtask_id"])
        await trio.sleep(1)
        assert (app.row(first["assistant_subtask_id"]).status, ended.status) == ("CANCELLED", "COMPLETED")
        names = [
            frame.name for frame in bob.client.frames if frame.name in ("chat:start", "chat:done", "chat:cancelled")
        ]
        assert names == ["chat:start", "chat:cancelled", "chat:start", "chat:done"]
        assert alice.holds() == bob.holds()


async def test_removed_rows_reach_all_who_view_the_task(autojump_clock: Clocked) -> None:
    async with application(ScriptedExecutor(default=[say("hello")])) as app:
        task_id = await group(app, "bob")
        alice, bob = [await joined(app, name, task_id) for name in ("alice", "bob")]
        first = await talk(app, alice, "@Assistant one")
        await app.until_ended(first["assistant_subtask_id"])
        await talk(app, bob, "thanks")
        acks: list[Any] = []
        edit = EditMessage(message="@Assistant uno")
        await app.editing.edit(who(app, "alice"), task_id, first["subtask_id"], edit, ack=acks.append)
        assert await bob.client.wait_for("sync:required") == {"scope": f"task:{task_id}"}
        await app.until_ended(acks[0].assistant_subtask_id)
        ack = await bob.join()
        gone = [row["id"] for row in ack["subtasks"] if row.get("deleted")]
        assert gone == [first["subtask_id"], first["assistant_subtask_id"], first["assistant_subtask_id"] + 1]
        await alice.join()
        assert [row["text"] for row in bob.holds()] == ["welcome", "@Assistant uno", "hello"]
        assert alice.holds() == bob.holds()


async def test_an_edit_during_a_run_changes_nothing(autojump_clock: Clocked, app: Application) -> None:
    task_id = await group(app)
    alice = await joined(app, "alice", task_id)
    ack = await talk(app, alice, "@Assistant long")
    with pytest.raises(WegentError, match="run of this task is under way"):
        await app.editing.edit(
            who(app, "alice"), task_id, ack["subtask_id"], EditMessage(message="x"), ack=lambda _: None
        )
    await app.until_ended(ack["assistant_subtask_id"])
    assert [row.prompt for row in app.rows(task_id) if row.role == "USER"] == ["welcome", "@Assistant long"]


async def test_a_title_is_told_to_all(autojump_clock: Clocked, app: Application) -> None:
    task_id = await group(app, "bob")
    bob = await app.client("bob")
    await app.changing.rename(who(app, "alice"), task_id, "Green skies")
    assert await bob.wait_for("task:updated") == {"task_id": task_id, "title": "Green skies"}

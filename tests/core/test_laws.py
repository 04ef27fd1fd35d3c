"""The nine laws of the protocol's first chapter, where the other tests of this folder do not show them already.

Laws 1 to 4 and 7 are broken on purpose in test_interleavings, law 3 in test_cancel_everywhere too, law 8 in
test_slow_reader, law 9 in test_sessions.
"""

import logging

import pytest
import trio
import trio.testing
from attrs import evolve

from wegent.core.errors import Conflict, LeaseLost
from wegent.core.model import Ending, EndingStatus, Snapshot
from wegent.core.rooms import Rooms
from wegent.storage.memory import MemoryStore
from wegent.testing.harness import Application, application, serving
from wegent.testing.scripted import ScriptedExecutor, say, wait, wait_for
from wegent.testing.viewer import Viewer


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def send(app, client, message="hi", **more):
    return await client.emit("chat:send", {"team_id": app.team_id, "message": message, **more})


# law 1: log first


async def test_a_delta_is_in_the_log_before_anybody_gets_it(autojump_clock):
    seen = []

    class Checked(Application):
        def make_rooms(self):
            app = self

            class Checking(Rooms):
                def emit_chunk(self, namespace, name, replica, chunk, render):
                    offset, delta = chunk.texts["content"]
                    kept = app.log.replica(replica.stream).text()
                    seen.append(kept[offset : offset + len(delta)] == delta)
                    super().emit_chunk(namespace, name, replica, chunk, render)

            return Checking(self.registry)

    async with serving(Checked(ScriptedExecutor(default=[say("a"), wait(1), say("b")]))) as app:
        alice = await app.client("alice")
        await send(app, alice)
        await alice.wait_for("chat:done")
        assert seen == [True, True]


# laws 3 and 5: one ending, by the holder of the lease


async def test_an_ending_is_refused_to_all_but_the_holder_of_the_lease(autojump_clock):
    executor = ScriptedExecutor(default=[say("x"), wait(100)])
    async with application(executor) as app:
        alice = await app.client("alice")
        ack = await send(app, alice)
        await alice.wait_for("chat:chunk")
        row = app.row(ack["assistant_subtask_id"])
        thief = app.job(row)
        done = Ending(EndingStatus.COMPLETED)
        for stolen in (evolve(thief, lease="another"), evolve(thief, attempt=2), evolve(thief, subtask_id=99)):
            with pytest.raises(Conflict):
                await app.book.finish(stolen, done, Snapshot({"content": "forged"}))
        assert app.row(row.id) == row


async def test_a_repeat_of_an_ending_succeeds_and_another_one_changes_nothing(autojump_clock):
    executor = ScriptedExecutor(default=[say("x")])
    async with application(executor) as app:
        alice = await app.client("alice")
        ack = await send(app, alice)
        row = await app.until_ended(ack["assistant_subtask_id"])
        job = executor.jobs[0]
        again = await app.book.finish(job, Ending(EndingStatus.FAILED, "no", "internal"), Snapshot({}))
        assert (again.ending.status, again.row.content) == ("COMPLETED", "x")
        assert app.row(row.id).content == "x"
        with pytest.raises(LeaseLost):
            await app.book.finish(evolve(job, lease="late"), Ending(EndingStatus.FAILED), Snapshot({}))


# law 6: a client reads; it does not drive


async def test_losing_every_client_changes_nothing_about_a_run(autojump_clock):
    async with application(ScriptedExecutor(default=[say("a"), wait(5), say("b")])) as app:
        alice = await app.client("alice")
        ack = await send(app, alice)
        await alice.wait_for("chat:start")
        alice.disconnect()
        row = await app.until_ended(ack["assistant_subtask_id"])
        assert (row.status, row.content) == ("COMPLETED", "ab")


async def test_a_server_that_lets_clients_drive_is_found_out(autojump_clock):
    """The test above, with a server whose runs end with their clients, fails."""

    class Driven(Application):
        def __init__(self, executor):
            super().__init__(executor)

            @self.namespace.disconnected
            def stop(session):
                for run in list(self.runs._runs.values()):
                    run.scope.cancel()

    async with serving(Driven(ScriptedExecutor(default=[say("a"), wait(5), say("b")]))) as app:
        alice = await app.client("alice")
        ack = await send(app, alice)
        await alice.wait_for("chat:start")
        alice.disconnect()
        row = await app.until_ended(ack["assistant_subtask_id"])
        assert (row.status, row.content) != ("COMPLETED", "ab")


# law 7: order, and who is not kept waiting


class StuckStore(MemoryStore):
    """A store in which `chat:send` hangs, and nothing else: it is the one that asks for a Team."""

    __slots__ = ("gate", "stuck")

    def __init__(self, clock):
        super().__init__(clock)
        self.gate = trio.Event()
        self.stuck = False

    async def write(self, work):
        if self.stuck and "Sending" in work.__qualname__:
            await self.gate.wait()
        return await super().write(work)


class Stuck(Application):
    def make_store(self):
        return StuckStore(self.clock)


async def test_a_send_stuck_in_the_database_delays_no_cancel_and_no_ack_of_the_same_connection(autojump_clock):
    async with serving(Stuck(ScriptedExecutor(default=[say("x"), wait(100)]))) as app:
        alice = await app.client("alice")
        viewer = Viewer(alice, 1)
        ack = await send(app, alice)
        await alice.wait_for("chat:chunk")
        app.store.stuck = True
        async with trio.open_nursery() as nursery:
            later = []

            async def stuck_send():
                later.append(await send(app, alice, "again", task_id=1, if_running="queue"))

            nursery.start_soon(stuck_send)
            await trio.sleep(1)
            before = trio.current_time()
            session = alice.connection.session
            alice.answers["question"] = lambda data: "answer"
            assert await session.call("question", {}) == "answer"
            cancelled = await alice.emit("chat:cancel", {"subtask_id": ack["assistant_subtask_id"]})
            assert cancelled["success"]
            await alice.wait_for("chat:cancelled")
            assert trio.current_time() - before < 0.1
            assert not later
            app.store.gate.set()
        assert later[0]["task_id"] == 1
        assert not viewer.problems


async def test_events_about_one_task_are_handled_in_the_order_in_which_they_were_sent(autojump_clock):
    async with application(ScriptedExecutor(default=[say("x")])) as app:
        alice = await app.client("alice")
        await send(app, alice)
        await alice.wait_for("chat:done")
        for n in range(10):
            alice.send("chat:send", {"team_id": app.team_id, "task_id": 1, "message": f"{n}", "if_running": "queue"})
        await alice.emit("history:sync", {"task_id": 1})
        said = [row.prompt for row in app.rows(1) if row.role == "USER"]
        assert said == ["hi", *map(str, range(10))]


async def test_the_ack_of_a_send_precedes_its_start_and_others_hear_the_message_first(autojump_clock):
    async with application(ScriptedExecutor(default=[say("x")])) as app:
        alice, other = await app.client("alice"), await app.client("alice")
        await send(app, alice)
        await alice.wait_for("chat:done")
        await other.emit("task:join", {"task_id": 1})
        seen = len(alice.frames), len(other.frames)
        await send(app, alice, "again", task_id=1)
        await alice.wait_for("chat:done", after=seen[0])
        await other.wait_for("chat:done", after=seen[1])
        mine = [frame.name or frame.answers for frame in alice.frames[seen[0] :]]
        theirs = [frame.name for frame in other.frames[seen[1] :]]
        assert mine.index("chat:send") < mine.index("chat:start") < mine.index("chat:chunk") < mine.index("chat:done")
        assert "chat:message" not in mine
        assert theirs.index("chat:message") < theirs.index("chat:start")
        assert mine.index("chat:done") < len(mine) - 1 - mine[::-1].index("task:status")


# law 9: acks never raise


@pytest.mark.parametrize(
    "event", ["chat:send", "chat:cancel", "chat:resume", "task:join", "task:leave", "history:sync"]
)
async def test_whatever_is_sent_gets_an_ack_and_the_connection_lives(autojump_clock, event):
    ids = [{"task_id": "1"}, {"task_id": 2**60}, {"task_id": -1}, {"task_id": 99, "subtask_id": 99}]
    strange = [None, 3, "x", [], {}, *ids]
    async with application(ScriptedExecutor()) as app:
        alice = await app.client("alice")
        for data in strange:
            ack = await alice.emit(event, data)
            assert ack.get("success") or (ack["code"] != "INTERNAL" and ack["error"]), (event, data, ack)
        assert alice.connected


async def test_what_belongs_to_somebody_else_is_denied(autojump_clock):
    go = trio.Event()
    async with application(ScriptedExecutor(default=[wait_for(go), say("secret")])) as app:
        alice, bob = await app.client("alice"), await app.client("bob")
        ack = await send(app, alice)
        subtask_id = ack["assistant_subtask_id"]
        for event, data in (
            ("task:join", {"task_id": 1}),
            ("chat:resume", {"task_id": 1, "subtask_id": subtask_id}),
            ("chat:cancel", {"subtask_id": subtask_id}),
            ("history:sync", {"task_id": 1}),
            ("chat:send", {"task_id": 1, "team_id": app.team_id, "message": "hello"}),
        ):
            assert (await bob.emit(event, data))["code"] == "ACCESS_DENIED", event
        go.set()
        await app.until_ended(subtask_id)
        assert "secret" not in str(bob.frames)
        assert [frame.name for frame in bob.frames if frame.name] == []


async def test_a_send_that_is_repeated_is_the_same_send(autojump_clock):
    async with application(ScriptedExecutor(default=[say("x")])) as app:
        alice = await app.client("alice")
        first = await send(app, alice, client_message_id="m1")
        assert await send(app, alice, client_message_id="m1") == first
        other = await app.client("alice")
        assert await send(app, other, client_message_id="m1") == first
        assert (await send(app, alice, "else", client_message_id="m1"))["code"] == "CONFLICT"
        await alice.wait_for("chat:done")
        assert len(app.rows(1)) == 2


async def test_a_send_whose_client_is_lost_is_done_whole_or_not_at_all(autojump_clock):
    seen = set()
    for steps in range(40):
        async with application(ScriptedExecutor(default=[say("x")])) as app:
            alice = await app.client("alice")
            alice.send("chat:send", {"team_id": app.team_id, "message": "hi"})
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            alice.disconnect()
            await trio.sleep(10)
            seen.add(tuple((row.role, row.status, row.content) for row in app.rows(1)))
    assert seen == {(), (("USER", "COMPLETED", ""), ("ASSISTANT", "COMPLETED", "x"))}

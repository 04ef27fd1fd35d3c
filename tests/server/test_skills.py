"""Skills, on a virtual clock: a run asks, the first member who answers counts, nobody else's answer does."""

import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.core.model import CONTENT, Ending, EndingStatus, Outcome
from wegent.core.ports.executor import Executor
from wegent.core.said import SaidSkill
from wegent.server.claiming import Claim
from wegent.testing.checkpoints import at_every_checkpoint
from wegent.testing.harness import Application, application, serving
from wegent.testing.scripted import ScriptedExecutor


class Asks(Executor):
    """Asks once, says what came of it."""

    def __init__(self, data=None):
        self.data = {"url": "https://example.org"} if data is None else data
        self.results = []

    async def run(self, job, sink):
        self.results.append(await sink.skill("browser", "open", self.data))
        await sink.text("done")
        return Outcome()


async def asked(app):
    alice = await app.client("alice")
    ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
    return alice, ack["assistant_subtask_id"]


async def test_the_first_answer_of_a_member_counts(autojump_clock):
    executor = Asks()
    async with application(executor) as app:
        alice, subtask_id = await asked(app)
        request = await alice.wait_for("skill:request")
        assert {key: request[key] for key in ("skill_name", "action", "data")} == {
            "skill_name": "browser",
            "action": "open",
            "data": {"url": "https://example.org"},
        }
        bob = await app.client("bob")
        answer = {"request_id": request["request_id"], "success": True, "result": {"page": "p"}}
        assert (await bob.emit("skill:response", answer))["code"] == "ACCESS_DENIED"
        assert await alice.emit("skill:response", answer) == {"success": True}
        assert (await alice.emit("skill:response", {**answer, "result": 2}))["code"] == "NOT_FOUND"
        assert (await app.until_ended(subtask_id)).status == "COMPLETED"
        assert executor.results == [{"page": "p"}]
        assert len(app.skills) == 0


async def test_a_question_comes_behind_all_that_was_said_before_it(autojump_clock):
    class Says(Executor):
        async def run(self, job, sink):
            await sink.text("look ")
            await sink.block({"id": "t", "tool_name": "browser", "status": "streaming"})
            await sink.text("here")
            return Outcome({"workbench": await sink.skill("browser", "open", {})})

    async with application(Says()) as app:
        alice, _ = await asked(app)
        await alice.wait_for("skill:request")
        before = [frame.data for frame in alice.frames if frame.name == "chat:chunk"]
        assert "".join(chunk["content"] for chunk in before) == "look here"
        assert [block["id"] for chunk in before for block in chunk.get("result", {}).get("blocks", ())] == ["t"]


async def test_without_an_answer_the_run_fails_with_a_timeout(autojump_clock):
    async with application(Asks()) as app:
        alice, subtask_id = await asked(app)
        request = await alice.wait_for("skill:request")
        row = await app.until_ended(subtask_id)
        assert (row.status, row.error_type) == ("FAILED", "timeout")
        late = await alice.emit("skill:response", {"request_id": request["request_id"], "success": True})
        assert late["code"] == "NOT_FOUND"


async def test_a_failure_is_told_to_who_asked(autojump_clock):
    async with application(Asks()) as app:
        alice, subtask_id = await asked(app)
        request = await alice.wait_for("skill:request")
        await alice.emit(
            "skill:response", {"request_id": request["request_id"], "success": False, "error": "no browser here"}
        )
        row = await app.until_ended(subtask_id)
        assert (row.status, row.error_type) == ("FAILED", "internal")
        assert "no browser here" in row.error_message


@pytest.mark.parametrize("data", [{"x": "y" * 90_000, "z": ["w" * 90_000] * 3}, {"x": {1, 2}}, {"\0": "\ud800"}])
async def test_a_request_is_what_a_frame_can_carry(autojump_clock, data):
    async with application(Asks(data)) as app:
        alice, subtask_id = await asked(app)
        await trio.sleep(1)
        if len(str(data)) > 200_000:
            assert alice.events("skill:request") == []
            assert app.row(subtask_id).error_type == "protocol"
        else:
            assert len(alice.events("skill:request")) == 1


async def test_a_cancelled_run_waits_no_more(autojump_clock):
    async def attempt(cut):
        async with serving(Application(Asks())) as app:
            alice, subtask_id = await asked(app)
            await alice.wait_for("skill:request")
            answered = {"request_id": alice.events("skill:request")[0]["request_id"], "success": True}
            async with trio.open_nursery() as nursery:
                with cut.at(lambda: nursery.start_soon(alice.emit, "chat:cancel", {"subtask_id": subtask_id})):
                    await alice.emit("skill:response", answered)
                    row = await app.until_ended(subtask_id)
            assert row.status in ("CANCELLED", "COMPLETED")
            assert len(app.skills) == 0

    await at_every_checkpoint(attempt)


async def test_a_remote_run_asks_as_any_other(autojump_clock):
    app = Application(ScriptedExecutor())
    app.queue.paused = True
    async with serving(app):
        alice, subtask_id = await asked(app)
        (job,) = await app.book.claim(Claim({"chat_shell": 1}, "host:h/1.1", released=[subtask_id]))
        run = app.remote.begin(job, "host:h/1.1")
        await app.remote.say(run, [SaidSkill("q", "browser", "open", {})])
        request = await alice.wait_for("skill:request")
        await alice.emit("skill:response", {"request_id": request["request_id"], "success": True, "result": [1]})
        await trio.sleep(0.1)
        assert (run.answers["q"].success, run.answers["q"].result) == (True, [1])
        await app.remote.say(run, [SaidSkill("r", "browser", "close", {})])
        await app.remote.finish(run, Ending(EndingStatus.COMPLETED))
        await trio.sleep(0.1)
        assert len(app.skills) == 0
        assert run.replica.text(CONTENT) == ""


async def test_nobody_there_is_nobody_to_answer(autojump_clock):
    async with application(Asks()) as app:
        with pytest.raises(RunFailed) as caught:
            await app.skills._ask(12345, "browser", "open", {})
        assert caught.value.type == "timeout"

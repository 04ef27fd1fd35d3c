"""Answers are checked, once at a time, and what comes of it is told and kept."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from wegent.core.errors import AccessDenied, Conflict, NotFound, Overloaded, RunFailed
from wegent.core.model import Principal
from wegent.correction.corrector import EngineCorrector
from wegent.engines.choice import EngineChoice
from wegent.engines.offline import OfflineEngine
from wegent.protocol.correction import CorrectRequest
from wegent.server.correction_telling import CorrectionTeller
from wegent.server.corrections import Corrections
from wegent.server.ports.engine import Completion, Engine
from wegent.testing.harness import Application, serving
from wegent.testing.scripted import ScriptedExecutor, say, wait

WRONG = "Six times seven: 6 * 7 = 41."


class Stuck(Engine):
    """Says nothing until it is released, then fails."""

    def __init__(self) -> None:
        self.running = 0
        self.release = trio.Event()

    async def run(self, request: Any, sink: Any) -> Completion:
        self.running += 1
        try:
            await self.release.wait()
        finally:
            self.running -= 1
        raise RunFailed("the model has had enough", type="model")


class Corrected(Application):
    """With corrections."""

    def __init__(self, engine: Engine, answer: str, **options: Any) -> None:
        super().__init__(ScriptedExecutor({"slow": [say("x"), wait(100)]}, default=[say(answer)]))
        choice = EngineChoice({"second": engine}, "second")
        corrector = EngineCorrector(choice, {"engine": "second"})
        teller = CorrectionTeller(self.rooms)
        self.corrections = Corrections(self.store, self.clock, corrector, self.teller, teller, **options)

    async def run(self, **given: Any) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.corrections.serve)
            await super().run(**given)

    def who(self, name: str = "alice") -> Principal:
        return Principal(self.users[name], name)

    async def answered(self, client: Any, message: str = "What is six times seven?", **more: Any) -> Any:
        ack = await client.emit("chat:send", {"team_id": self.team_id, "message": message, **more})
        await client.wait_for("chat:done", lambda done: done["subtask_id"] == ack["assistant_subtask_id"])
        return ack

    async def correct(self, ack: Any, name: str = "alice", **more: Any) -> Any:
        asked = CorrectRequest(task_id=ack["task_id"], subtask_id=ack["assistant_subtask_id"], **more)
        return await self.corrections.start(self.who(name), asked)


@asynccontextmanager
async def corrected(engine: Engine | None = None, answer: str = WRONG, **options: Any) -> Any:
    async with serving(Corrected(engine or OfflineEngine(), answer, **options)) as app:
        yield app


async def test_a_wrong_answer_is_told_stage_by_stage_and_improved(autojump_clock):
    async with corrected() as app:
        alice = await app.client("alice")
        ack = await app.answered(alice)
        accepted = await app.correct(ack)
        done = await alice.wait_for("correction:done")
        (start,) = alice.events("correction:start")
        assert start["correction_model"] == accepted.correction_model == "second"
        stages = [each["stage"] for each in alice.events("correction:progress")]
        assert stages == ["verifying_facts", "evaluating", "generating_improvement"]
        texts = {"summary": "", "improved_answer": ""}
        for chunk in alice.events("correction:chunk"):
            assert chunk["offset"] == len(texts[chunk["field"]])
            texts[chunk["field"]] += chunk["content"]
        result = done["result"]
        assert texts == {name: result[name] for name in texts}
        assert result["improved_answer"] == "Six times seven: 6 * 7 = 42."
        assert not result["is_correct"]
        assert result["corrections"][0]["suggestion"] == "6 * 7 = 42."
        assert app.row(ack["assistant_subtask_id"]).content == WRONG


async def test_a_right_answer_is_left_as_it_is(autojump_clock):
    async with corrected(answer="Six times seven is 42.") as app:
        alice = await app.client("alice")
        ack = await app.answered(alice)
        await app.correct(ack)
        result = (await alice.wait_for("correction:done"))["result"]
        assert (result["is_correct"], result["improved_answer"]) == (True, "Six times seven is 42.")
        with pytest.raises(Conflict, match="nothing to improve"):
            await app.corrections.apply(app.who(), ack["assistant_subtask_id"])


async def test_a_correction_is_kept_applied_once_and_seen_by_who_joins(autojump_clock):
    async with corrected() as app:
        alice = await app.client("alice")
        ack = await app.answered(alice)
        row_id = ack["assistant_subtask_id"]
        await app.correct(ack)
        await alice.wait_for("correction:done")
        item = await app.corrections.get(app.who(), row_id)
        assert (item.status, item.applied) == ("DONE", False)
        assert await app.corrections.apply(app.who(), row_id) == 2
        ending = await alice.wait_for("chat:done", lambda done: done["attempt"] == 2)
        assert ending["result"]["value"] == "Six times seven: 6 * 7 = 42."
        late = await app.client("alice")
        joined = await late.emit("task:join", {"task_id": ack["task_id"]})
        (row,) = [each for each in joined["subtasks"] if each["id"] == row_id]
        assert (row["attempt"], row["result"]["value"]) == (2, "Six times seven: 6 * 7 = 42.")
        kept = row["result"]["correction"]
        assert (kept["status"], kept["applied"], kept["is_correct"]) == ("DONE", True, False)
        with pytest.raises(Conflict, match="applied already"):
            await app.corrections.apply(app.who(), row_id)
        await app.corrections.delete(app.who(), row_id)
        with pytest.raises(NotFound):
            await app.corrections.get(app.who(), row_id)
        assert app.row(row_id).content == "Six times seven: 6 * 7 = 42."


async def test_an_answer_is_checked_once_at_a_time(autojump_clock):
    engine = Stuck()
    async with corrected(engine) as app:
        alice = await app.client("alice")
        ack = await app.answered(alice)
        await app.correct(ack)
        with pytest.raises(Conflict, match="being checked"):
            await app.correct(ack)
        engine.release.set()
        told = await alice.wait_for("correction:error")
        assert told["error"] == "the model has had enough"
        await app.correct(ack)
        await alice.wait_for("correction:error", lambda _: len(alice.events("correction:error")) == 2)
        with pytest.raises(NotFound):
            await app.corrections.get(app.who(), ack["assistant_subtask_id"])


async def test_a_correction_that_is_deleted_is_stopped(autojump_clock):
    engine = Stuck()
    async with corrected(engine) as app:
        alice = await app.client("alice")
        ack = await app.answered(alice)
        await app.correct(ack)
        await trio.testing.wait_all_tasks_blocked()
        assert engine.running == 1
        await app.corrections.delete(app.who(), ack["assistant_subtask_id"])
        await trio.testing.wait_all_tasks_blocked()
        assert engine.running == 0
        assert [each["error"] for each in alice.events("correction:error")] == ["the correction was deleted"]
        await app.correct(ack)


async def test_a_correction_has_its_time(autojump_clock):
    engine = Stuck()
    async with corrected(engine, seconds=60) as app:
        alice = await app.client("alice")
        before = trio.current_time()
        ack = await app.answered(alice)
        await app.correct(ack)
        assert "longer than 60 s" in (await alice.wait_for("correction:error"))["error"]
        assert trio.current_time() - before == pytest.approx(60, abs=1)
        assert engine.running == 0


async def test_corrections_end_with_their_server_and_can_be_asked_for_again(autojump_clock):
    engine = Stuck()
    async with corrected(engine) as app:
        alice = await app.client("alice")
        ack = await app.answered(alice)
        await app.correct(ack)
        await trio.testing.wait_all_tasks_blocked()
    assert engine.running == 0
    assert "correction" not in app.row(ack["assistant_subtask_id"]).result


async def test_one_whose_worker_died_counts_for_nothing_after_its_time(autojump_clock):
    async with corrected(seconds=60) as app:
        alice = await app.client("alice")
        ack = await app.answered(alice)
        row = app.row(ack["assistant_subtask_id"])
        since = app.clock.now().isoformat()
        dead = {"id": "x", "status": "RUNNING", "correction_model": "m", "started_at": since}
        await app.store.write(
            lambda unit: unit.update_subtask(row.id, task=unit.touch(row.task_id), result={"correction": dead})
        )
        with pytest.raises(Conflict):
            await app.correct(ack)
        await trio.sleep(70)
        await app.correct(ack)
        await alice.wait_for("correction:done")


async def test_only_so_many_are_made_at_once(autojump_clock):
    async with corrected(Stuck(), at_once=2) as app:
        alice = await app.client("alice")
        acks = [await app.answered(alice) for _ in range(3)]
        for ack in acks[:2]:
            await app.correct(ack)
        with pytest.raises(Overloaded):
            await app.correct(acks[2])


async def test_who_does_not_see_the_task_corrects_nothing(autojump_clock):
    async with corrected() as app:
        alice, bob = await app.client("alice"), await app.client("bob")
        ack = await app.answered(alice)
        with pytest.raises(AccessDenied):
            await app.correct(ack, "bob")
        theirs = await app.answered(bob)
        mixed = {"task_id": theirs["task_id"], "assistant_subtask_id": ack["assistant_subtask_id"]}
        with pytest.raises(NotFound):
            await app.correct(mixed, "bob")
        await app.correct(ack)
        await alice.wait_for("correction:done")
        for call in (app.corrections.get, app.corrections.delete, app.corrections.apply):
            with pytest.raises(AccessDenied):
                await call(app.who("bob"), ack["assistant_subtask_id"])
        assert bob.events("correction:done") == []


async def test_a_member_may_ask_for_a_correction_and_not_apply_it(autojump_clock):
    async with corrected() as app:
        alice = await app.client("alice")
        ack = await app.answered(alice, "@assistant hi", is_group_chat=True)
        await app.store.write(lambda unit: unit.put_member(ack["task_id"], app.users["bob"]))
        await app.correct(ack, "bob")
        await alice.wait_for("correction:done")
        with pytest.raises(AccessDenied):
            await app.corrections.apply(app.who("bob"), ack["assistant_subtask_id"])


async def test_what_is_not_whole_or_too_long_is_not_checked(autojump_clock):
    async with corrected(answer="x" * 100_001) as app:
        alice = await app.client("alice")
        with pytest.raises(Conflict, match="100000 characters"):
            await app.correct(await app.answered(alice))
        slow = await alice.emit("chat:send", {"team_id": app.team_id, "message": "slow"})
        await alice.wait_for("chat:chunk")
        with pytest.raises(Conflict, match="COMPLETED"):
            await app.correct(slow)
        message = {**slow, "assistant_subtask_id": slow["subtask_id"]}
        with pytest.raises(NotFound):
            await app.correct(message)


async def test_a_model_that_is_named_checks_if_its_engine_is_there(autojump_clock):
    async with corrected() as app:
        alice = await app.client("alice")
        ack = await app.answered(alice)

        def model(unit: Any, name: str, config: dict[str, Any]) -> None:
            body = {"metadata": {}, "spec": {"modelConfig": config}}
            unit.put_kind("Model", "default", name, user_id=app.users["alice"], body=body)

        await app.store.write(lambda unit: model(unit, "good", {"engine": "second", "model_id": "very-clever"}))
        await app.store.write(lambda unit: model(unit, "bad", {"engine": "absent"}))
        with pytest.raises(Conflict, match="absent"):
            await app.correct(ack, model="bad")
        with pytest.raises(NotFound):
            await app.correct(ack, model="none")
        assert (await app.correct(ack, model="good")).correction_model == "very-clever"
        await alice.wait_for("correction:done")

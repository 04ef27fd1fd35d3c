"""Background work and corrections where several workers share a deployment: whoever does it, all viewers hear."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from wegent.core.errors import Conflict
from wegent.core.model import Principal
from wegent.correction.corrector import EngineCorrector
from wegent.engines.choice import EngineChoice
from wegent.engines.offline import OfflineEngine
from wegent.protocol.correction import CorrectRequest
from wegent.protocol.executions import ExecutionRequest
from wegent.server.correction_telling import CorrectionTeller
from wegent.server.corrections import Corrections
from wegent.server.execution_view import ExecutionTeller
from wegent.server.executions import Executions
from wegent.testing.deployment import deployment
from wegent.testing.scripted import ScriptedExecutor, say

WRONG = "6 * 7 = 41"


@asynccontextmanager
async def working(workers: int = 2) -> AsyncIterator[Any]:
    """Workers with `executions` and `corrections`, by name."""
    async with deployment(workers, ScriptedExecutor(default=[say(WRONG)])) as apps, trio.open_nursery() as nursery:
        for app in apps:
            app.executions = Executions(app.store, app.clock, app.sending, ExecutionTeller(app.rooms))
            app.teller.on_run = app.executions.hear
            nursery.start_soon(app.executions.run)
            corrector = EngineCorrector(EngineChoice({"offline": OfflineEngine()}), {"engine": "offline"})
            teller = CorrectionTeller(app.rooms)
            app.corrections = Corrections(app.store, app.clock, corrector, app.teller, teller)
            await nursery.start(app.corrections.serve)
        yield apps
        nursery.cancel_scope.cancel()


async def test_who_is_on_another_worker_hears_of_background_work(autojump_clock):
    async with working() as (one, other):
        near, far = await one.client("alice"), await other.client("alice")
        who = Principal(one.users["alice"], "alice")
        for app in (one, other):
            await app.executions.make(who, ExecutionRequest(team_id=one.team_id, prompt=f"for {app.owner}"))
        for client in (near, far):
            for prompt in ("for worker-1", "for worker-2"):
                done = await client.wait_for(
                    "background:execution_update",
                    lambda told, prompt=prompt: told["prompt"] == prompt and told["status"] == "COMPLETED",
                )
                assert done["result_summary"] == WRONG
        assert len(one.peek(lambda unit: unit.tasks_of(who.user_id))) == 2


async def test_who_is_on_another_worker_sees_a_correction_made_and_applied(autojump_clock):
    async with working() as (one, other):
        near, far = await one.client("alice"), await other.client("alice")
        ack = await near.emit("chat:send", {"team_id": one.team_id, "message": "What is six times seven?"})
        row_id = ack["assistant_subtask_id"]
        await near.wait_for("chat:done")
        await far.emit("task:join", {"task_id": ack["task_id"]})
        who = Principal(one.users["alice"], "alice")
        asked = CorrectRequest(task_id=ack["task_id"], subtask_id=row_id)
        await one.corrections.start(who, asked)
        with pytest.raises(Conflict, match="being checked"):
            await other.corrections.start(who, asked)
        results = [(await client.wait_for("correction:done"))["result"] for client in (near, far)]
        assert results[0] == results[1]
        text = "".join(c["content"] for c in far.events("correction:chunk") if c["field"] == "improved_answer")
        assert text == results[0]["improved_answer"] == "6 * 7 = 42"
        await other.corrections.apply(who, row_id)
        for client in (near, far):
            done = await client.wait_for("chat:done", lambda told: told["attempt"] == 2)
            assert done["result"]["value"] == "6 * 7 = 42"
        await one.corrections.delete(who, row_id)
        for client in (near, far):
            assert (await client.wait_for("sync:required"))["scope"] == f"task:{ack['task_id']}"

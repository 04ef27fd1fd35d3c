"""Executor hosts where several workers share a deployment: each report may arrive at any of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import trio

from wegent.codec import convert
from wegent.core.errors import LeaseLost
from wegent.protocol.hosts import FetchTasks, ReportStatus
from wegent.server.auth import TokenAuth
from wegent.server.hosts import Hosts
from wegent.server.tokens import Signer
from wegent.testing.deployment import deployment
from wegent.testing.faulty_fanout import Rates
from wegent.testing.scripted import ScriptedExecutor

TARGET = "chat_shell"


def chunk(text: str, offset: int) -> dict[str, Any]:
    return {"type": "chunk", "content": text, "offset": offset}


class Host:
    """An executor host with a token, whose each call goes to the worker it names."""

    def __init__(self, apps: Any) -> None:
        self.tokens = [TokenAuth(app.store, Signer(b"s" * 64), app.clock) for app in apps]
        self.workers = [
            Hosts(app.queue, app.remote, tokens.run_token, app.registry)
            for app, tokens in zip(apps, self.tokens, strict=True)
        ]
        self.token = ""

    async def prepare(self, app: Any) -> None:
        user = await app.store.read(lambda unit: unit.user_named("alice"))
        self.token, _ = await self.tokens[0].issue(user, "executor", timedelta(days=1), targets=[TARGET])

    async def take(self, worker: int, wait_s: int = 0) -> Any:
        asked = FetchTasks(executor="host-1", targets=(TARGET,), limit=1, wait_s=wait_s)
        caller = partial(self.tokens[worker].authenticate, self.token, ["executor"])
        return (await self.workers[worker].fetch(caller, asked))[0]

    async def say(self, worker: int, job: Any, **fields: Any) -> Any:
        who = await self.tokens[worker].authenticate(self.token, ["executor"])
        whole = {"subtask_id": job.subtask_id, "attempt": job.attempt, "lease": job.lease, **fields}
        return await self.workers[worker].report(who, job.task_id, convert(whole, ReportStatus))


@asynccontextmanager
async def working() -> AsyncIterator[Any]:
    """Two workers that run nothing themselves, and a host."""
    with trio.fail_after(600):
        async with deployment(2, ScriptedExecutor(), max_concurrent=0) as apps:
            host = Host(apps)
            await host.prepare(apps[0])
            yield apps, host


async def begun(apps: Any, host: Host) -> Any:
    alice = await apps[0].client()
    ack = await alice.emit("chat:send", {"team_id": apps[0].team_id, "message": "hi"})
    return alice, ack, await host.take(1, wait_s=10)


@pytest.mark.parametrize("lost", [False, True])
async def test_reports_arrive_at_any_worker_and_make_one_text(autojump_clock: Any, lost: bool) -> None:
    async with working() as (apps, host):
        alice, _, job = await begun(apps, host)
        for app in apps:
            app.fanout.rates = Rates(lost=float(lost))
        said = ""
        for number, worker in enumerate((1, 0, 0, 1, 0, 1, 1, 0)):
            reply = await host.say(worker, job, status="RUNNING", events=[chunk(f"<{number}>", len(said))])
            said += f"<{number}>"
            assert reply.offset == len(said)
        for app in apps:
            app.fanout.rates = Rates()
        await host.say(1, job, status="COMPLETED")
        done = await alice.wait_for("chat:done")
        assert done["result"]["value"] == said
        assert (await host.say(0, job, status="COMPLETED")).status == "COMPLETED"


async def test_what_was_cancelled_at_one_worker_is_cancelled_for_a_report_at_another(autojump_clock: Any) -> None:
    async with working() as (apps, host):
        alice, ack, job = await begun(apps, host)
        await host.say(1, job, status="RUNNING", events=[chunk("x", 0)])
        await alice.emit("chat:cancel", {"subtask_id": ack["assistant_subtask_id"]})
        assert (await host.say(0, job, status="RUNNING", events=[chunk("y", 1)])).cancel
        await host.say(0, job, status="CANCELLED")
        assert (await alice.wait_for("chat:cancelled"))["subtask_id"] == job.subtask_id


@pytest.mark.parametrize(
    ("known", "lost"),
    [(True, False), (True, True), (False, False)],
    ids=["the other worker has a copy", "it does not hear", "it has none yet"],
)
async def test_an_answer_reaches_a_host_at_whichever_worker_it_reports_to(
    autojump_clock: Any, known: bool, lost: bool
) -> None:
    asked = {"type": "skill", "id": "s", "skill_name": "place", "action": "where", "data": {}}
    async with working() as (apps, host):
        alice, _, job = await begun(apps, host)
        if known:
            await host.say(0, job, status="RUNNING")
        assert (await host.say(1, job, status="RUNNING", events=[asked])).skills == ()
        request = await alice.wait_for("skill:request")
        answer = {"request_id": request["request_id"], "success": True, "result": {"city": "Köln"}}
        apps[0].fanout.rates = Rates(lost=float(lost))
        assert await alice.emit("skill:response", answer) == {"success": True}
        await trio.sleep(0.5)
        apps[0].fanout.rates = Rates()
        await host.say(0, job, status="RUNNING", events=[])
        await trio.sleep(10)
        repeat = await host.say(0, job, status="RUNNING", events=[asked] if known else [])
        ((told, result),) = [(each.id, each.result) for each in repeat.skills]
        assert (told, result) == ("s", {"city": "Köln"})
        assert (await host.say(0, job, status="RUNNING", skills_received=["s"])).skills == ()
        await trio.sleep(40)
        assert len(alice.events("skill:request")) == 1


async def test_a_lease_that_is_not_the_runs_is_refused_by_every_worker(autojump_clock: Any) -> None:
    async with working() as (apps, host):
        _, _, job = await begun(apps, host)
        for worker in (0, 1):
            with pytest.raises(LeaseLost):
                await host.say(worker, job, status="RUNNING", lease="another")


async def test_a_host_that_waits_at_another_worker_gets_a_message_soon(autojump_clock: Any) -> None:
    async with working() as (apps, host):
        alice = await apps[0].client()
        async with trio.open_nursery() as nursery:
            took: list[float] = []

            async def wait() -> None:
                await host.take(1, wait_s=30)
                took.append(trio.current_time())

            nursery.start_soon(wait)
            await trio.sleep(5.1)
            before = trio.current_time()
            await alice.emit("chat:send", {"team_id": apps[0].team_id, "message": "hi"})
        assert took[0] - before < 3

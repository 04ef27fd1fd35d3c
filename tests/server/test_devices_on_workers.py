"""Devices where several workers share a deployment: whichever they connect to, they get their runs and are heard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from wegent.testing.deployment import SharingApplication, deployment
from wegent.testing.faulty_fanout import Rates
from wegent.testing.memory_device import MemoryDevice
from wegent.testing.scripted import ScriptedExecutor

Apps = Sequence[SharingApplication]


@asynccontextmanager
async def workers() -> AsyncIterator[Apps]:
    """Two workers, for some minutes at most."""
    with trio.fail_after(600):
        async with deployment(2, ScriptedExecutor()) as apps:
            yield apps


async def send(app: SharingApplication, client: Any) -> Any:
    return await client.emit("chat:send", {"team_id": app.team_id, "message": "hi", "device_id": "box"})


async def begun(apps: Apps) -> tuple[Any, MemoryDevice, Any]:
    """Alice at the first worker, her device at the second, which has a run."""
    alice, box = await apps[0].client(), MemoryDevice(apps[1])
    await box.connect()
    ack = await send(apps[0], alice)
    await box.job()
    return alice, box, ack


async def say(box: MemoryDevice, row: int, text: str, offset: int) -> Any:
    return await box.progress(row, attempt=1, delta=text, offset=offset)


async def test_a_device_at_another_worker_gets_a_message_at_once(autojump_clock: Any) -> None:
    async with workers() as apps:
        alice, box = await apps[0].client(), MemoryDevice(apps[1])
        await box.connect()
        await trio.sleep(1)
        before = trio.current_time()
        await send(apps[0], alice)
        await box.job()
        assert trio.current_time() - before < 0.5


async def test_a_message_to_it_that_no_worker_hears_of_is_found_soon(autojump_clock: Any) -> None:
    async with workers() as apps:
        alice, box = await apps[0].client(), MemoryDevice(apps[1])
        await box.connect()
        apps[1].fanout.rates = Rates(lost=1.0)
        await send(apps[0], alice)
        with trio.fail_after(8):
            await box.job()


async def test_what_it_says_is_seen_and_its_run_cancelled_at_another_worker(autojump_clock: Any) -> None:
    async with workers() as apps:
        alice, box, ack = await begun(apps)
        row = ack["assistant_subtask_id"]
        await say(box, row, "half", 0)
        await alice.wait_for("chat:chunk")
        before = trio.current_time()
        await alice.emit("chat:cancel", {"subtask_id": row})
        await box.client.wait_for("task:cancel")
        assert trio.current_time() - before < 0.5
        await box.complete(row, "CANCELLED", attempt=1)
        await alice.wait_for("chat:cancelled")


@pytest.mark.parametrize("lost", [False, True])
async def test_a_device_that_registers_at_another_worker_is_that_connection_alone(
    autojump_clock: Any, lost: bool
) -> None:
    async with workers() as apps:
        alice, old, ack = await begun(apps)
        row = ack["assistant_subtask_id"]
        await say(old, row, "one ", 0)
        apps[1].fanout.rates = Rates(lost=float(lost))
        new = MemoryDevice(apps[0])
        made = await new.connect()
        apps[1].fanout.rates = Rates()
        assert [(run["subtask_id"], run["offset"]) for run in made["running"]] == [(row, 4)]
        with trio.fail_after(4):
            await old.client.wait_for("device:replaced")
        await trio.sleep(1)
        assert not old.client.connected
        assert new.client.connected
        await say(new, row, "two", 4)
        await new.complete(row, attempt=1)
        done = await alice.wait_for("chat:done")
        assert done["result"]["value"] == "one two"
        later = await send(apps[1], await apps[1].client())
        await new.job()
        assert new.jobs[0]["subtask_id"] == later["assistant_subtask_id"]
        assert len(old.jobs) == 1


async def test_a_device_may_go_to_another_worker_and_come_back(autojump_clock: Any) -> None:
    async with workers() as apps:
        alice, box, ack = await begun(apps)
        row, said = ack["assistant_subtask_id"], ""
        await say(box, row, "0", 0)
        for number in range(1, 7):
            box = MemoryDevice(apps[number % 2])
            made = await box.connect()
            said += str(number - 1)
            assert [run["offset"] for run in made["running"]] == [len(said)]
            await say(box, row, str(number), len(said))
        await box.complete(row, attempt=1)
        done = await alice.wait_for("chat:done")
        assert done["result"]["value"] == said + "6"


async def test_a_session_is_closed_at_a_device_of_another_worker(autojump_clock: Any) -> None:
    async with workers() as apps:
        alice, box, ack = await begun(apps)
        row = ack["assistant_subtask_id"]
        answer = await alice.emit("task:close-session", {"task_id": ack["task_id"]})
        assert answer["success"]
        await box.client.wait_for("task:cancel")
        assert not box.client.events("task:close-session")
        await box.complete(row, "CANCELLED", attempt=1)
        told = await box.client.wait_for("task:close-session")
        assert told["task_id"] == ack["task_id"]


async def test_a_session_is_not_closed_while_the_device_is_away(autojump_clock: Any) -> None:
    async with workers() as apps:
        alice, box, ack = await begun(apps)
        await box.complete(ack["assistant_subtask_id"], attempt=1)
        box.client.disconnect()
        await trio.sleep(5)
        answer = await alice.emit("task:close-session", {"task_id": ack["task_id"]})
        assert answer["code"] == "DEVICE_OFFLINE"

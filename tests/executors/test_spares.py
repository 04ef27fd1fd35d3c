"""Spare runners: a run that gets one is like any other, and none outlives its executor."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.executors import test_process
from tests.executors.processes import processes_with
from wegent.executors.process import ProcessExecutor, ProcessOptions
from wegent.executors.workspace import Workspaces
from wegent.testing.executor_contract import AGENT, CONTRACT
from wegent.testing.jobs import make_job
from wegent.testing.sinks import MemorySink

MARK = f"WEGENT_TEST=spares {os.getpid()}"
TELLS = "tests.executors.spare_agent:run"


@asynccontextmanager
async def keeping(tmp_path: Path, spares: int = 2) -> AsyncIterator[ProcessExecutor]:
    options = ProcessOptions(agents={"x": TELLS}, environment=dict([MARK.split("=")]), spares=spares)
    executor = ProcessExecutor(Workspaces(tmp_path), options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.serve)
        await trio.testing.wait_all_tasks_blocked()
        yield executor
        nursery.cancel_scope.cancel()
    assert processes_with(MARK) == []


async def told(executor: ProcessExecutor, task_id: int) -> dict[str, Any]:
    sink = MemorySink()
    await executor.run(make_job("x", shell_type="x", task_id=task_id), sink)
    pid, folder, task, session = sink.content.split("|")
    return {"pid": int(pid), "folder": folder, "task": task, "session": int(session)}


async def until_there_is_one(executor: ProcessExecutor) -> int:
    """The process of the spare."""
    with trio.fail_after(20):
        while not executor._spares._ready:  # noqa: ASYNC110 - a process that starts tells nobody
            await trio.sleep(0.01)
        (spare,) = executor._spares._ready.values()
        while spare.child.pid is None:
            await spare.child._listen()
    return spare.child.pid


async def test_a_run_gets_the_spare_in_its_own_folder_and_a_session_of_its_own(tmp_path: Path) -> None:
    async with keeping(tmp_path) as executor:
        first = await told(executor, 1)
        spare = await until_there_is_one(executor)
        second = await told(executor, 2)
    assert first["pid"] != spare
    assert second["pid"] == spare
    assert second["session"] == spare
    assert [each["task"] for each in (first, second)] == ["1", "2"]
    assert first["folder"] != second["folder"]
    assert tmp_path.name in second["folder"]


async def test_a_spare_that_has_died_is_replaced(tmp_path: Path) -> None:
    async with keeping(tmp_path) as executor:
        await told(executor, 1)
        spare = await until_there_is_one(executor)
        os.kill(spare, signal.SIGKILL)
        with trio.fail_after(10):
            while Path(f"/proc/{spare}").exists():  # noqa: ASYNC110, ASYNC240 - it tells nobody
                await trio.sleep(0.01)
        assert (await told(executor, 2))["task"] == "2"


async def test_runs_side_by_side_have_one_spare_started_at_a_time(tmp_path: Path) -> None:
    async with keeping(tmp_path) as executor, trio.open_nursery() as nursery:
        for task_id in range(1, 7):
            nursery.start_soon(told, executor, task_id)


async def test_without_spares_every_run_starts_its_own(tmp_path: Path) -> None:
    async with keeping(tmp_path, spares=0) as executor:
        await told(executor, 1)
        await told(executor, 1)
        assert not executor._spares._ready


class TestProcessWithSpares(test_process.TestProcess):
    """The contract holds for runs that get a spare."""

    @pytest.fixture
    async def executor(self, tmp_path: Path, nursery: trio.Nursery) -> ProcessExecutor:
        executor = ProcessExecutor(Workspaces(tmp_path), ProcessOptions(agents={CONTRACT: AGENT}))
        nursery.start_soon(executor.serve)
        await trio.testing.wait_all_tasks_blocked()
        executor._spares.take(executor._program(CONTRACT))
        await until_there_is_one(executor)
        return executor

"""The executor `process`."""

from __future__ import annotations

import pytest
import trio

from tests.executors.processes import processes_of
from wegent.executors.process import ProcessExecutor, ProcessOptions
from wegent.executors.workspace import Workspaces
from wegent.testing.executor_contract import AGENT, CONTRACT, ExecutorContract


class TestProcess(ExecutorContract):
    @pytest.fixture
    def executor(self, tmp_path):
        return ProcessExecutor(Workspaces(tmp_path), ProcessOptions(agents={CONTRACT: AGENT}))

    async def left(self, task_id):
        await trio.lowlevel.checkpoint()
        return processes_of(task_id)

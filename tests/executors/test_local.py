"""The executor `local`."""

from __future__ import annotations

import pytest

from wegent.executors.local import LocalExecutor
from wegent.executors.workspace import Workspaces
from wegent.testing.executor_contract import AGENT, CONTRACT, ExecutorContract


class TestLocal(ExecutorContract):
    @pytest.fixture
    def executor(self, tmp_path):
        return LocalExecutor(Workspaces(tmp_path), {CONTRACT: AGENT})

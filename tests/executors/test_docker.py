"""The executor `docker`, on a real engine."""

from __future__ import annotations

import pytest
import trio

from wegent.executors.docker.engine import Engine
from wegent.executors.docker.executor import DockerExecutor
from wegent.executors.docker.options import DockerOptions
from wegent.executors.workspace import Workspaces
from wegent.testing.executor_contract import AGENT, CONTRACT, ExecutorContract


class TestDocker(ExecutorContract):
    every = 5

    @pytest.fixture
    def executor(self, docker_daemon, tmp_path):
        options = DockerOptions(agents={CONTRACT: AGENT})
        return DockerExecutor(Engine(docker_daemon.socket), "tests", Workspaces(tmp_path), options)

    @pytest.fixture(autouse=True)
    def daemon(self, docker_daemon):
        self.engine = docker_daemon

    async def left(self, task_id):
        await trio.lowlevel.checkpoint()
        return [one["Status"] for one in self.engine.of_task(task_id) if one["State"] not in ("created", "exited")]

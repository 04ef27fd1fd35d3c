"""The executors' plugins: from configuration to executors that run."""

from __future__ import annotations

import sys

import pytest
import trio

from wegent.core.config import build
from wegent.core.errors import ConfigError, RunFailed
from wegent.core.health import Health
from wegent.core.kernel import Kernel, Worker
from wegent.core.ports.executor import Executor
from wegent.executors.docker.plugin import DockerConfig, DockerPlugin
from wegent.executors.plugin import LocalConfig, LocalPlugin, ProcessConfig, ProcessPlugin
from wegent.testing.executor_contract import AGENT, CONTRACT, contract_job
from wegent.testing.sinks import MemorySink

SECTION = {
    "agents": {CONTRACT: AGENT, "Command": ""},
    "commands": {"Own": [sys.executable, "-c", 'input(); print(\'{"type": "done"}\')']},
    "limits": {"memory": 268_435_456},
    "git": {"timeout": 5},
}


async def test_configured_agents_and_commands_run(tmp_path):
    plugins = [
        (LocalPlugin(), build(LocalConfig, {"agents": {CONTRACT: AGENT}}, "local")),
        (ProcessPlugin(), build(ProcessConfig, SECTION, "process")),
    ]
    kernel = Kernel(plugins, worker=Worker("w", tmp_path))
    async with trio.open_nursery() as nursery:
        deps = await nursery.start(kernel.serve)
        executors = deps.all(Executor)
        for name, shell in (("local", CONTRACT), ("local", "Command"), ("process", CONTRACT), ("process", "Own")):
            await executors[name].run(contract_job("echo hi", shell), MemorySink())
        with pytest.raises(Exception, match="only for: Contract, Own"):
            await executors["process"].run(contract_job("echo hi", "Command"), MemorySink())
        nursery.cancel_scope.cancel()
    assert {path.name for path in tmp_path.iterdir()} == {"workspaces"}


def test_a_limit_that_no_program_can_live_with_is_refused():
    with pytest.raises(ConfigError, match="memory is at least"):
        build(ProcessConfig, {"limits": {"memory": 1}}, "process")


async def test_without_a_docker_engine_all_starts_and_its_runs_say_what_is_missing(tmp_path):
    names = set()
    for _ in range(2):
        config = build(DockerConfig, {"socket": str(tmp_path / "none.sock")}, "docker")
        async with trio.open_nursery() as nursery:
            deps = await nursery.start(Kernel([(DockerPlugin(), config)], worker=Worker("w", tmp_path)).serve)
            with pytest.raises(RunFailed, match="No Docker engine listens") as caught:
                await deps.all(Executor)["docker"].run(contract_job("true", "Command"), MemorySink())
            ready, words = await deps.one(Health).ready()
            nursery.cancel_scope.cancel()
        assert caught.value.type == "engine_away"
        assert (ready, words["docker"]) == (True, caught.value.sentence), "all else goes on without"
        names.add((tmp_path / "docker-instance").read_text())
    assert len(names) == 1, "containers are found again by a name that stays"


@pytest.mark.parametrize(
    ("section", "says"),
    [({"user": "root"}, "1000:1000"), ({"limits": {"memory": 1}}, "memory is at least"), ({"imag": "x"}, "image")],
)
def test_docker_settings_that_cannot_be_meant_are_refused(section, says):
    with pytest.raises(ConfigError, match=says):
        build(DockerConfig, section, "docker")

"""The executor `docker` as a plugin."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import trio
from attrs import field, frozen

from wegent.core.errors import RunFailed
from wegent.core.health import Health
from wegent.core.instruments import Registry
from wegent.core.kernel import Worker
from wegent.core.ports.executor import Executor
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.executors.docker.engine import Engine
from wegent.executors.docker.executor import DockerExecutor
from wegent.executors.docker.metering import Meter
from wegent.executors.docker.options import DockerOptions
from wegent.executors.workspace import GitOptions, Workspaces

log = logging.getLogger(__name__)
_INSTANCE_FILE = "docker-instance"


@frozen
class DockerConfig(DockerOptions):
    """As `DockerOptions`; `git` tells what may be cloned, `collect` is how often idle containers are looked for, in
    seconds.
    """

    git: GitOptions = field(factory=GitOptions)
    collect: float = 60.0


class DockerPlugin(Plugin):
    """Agents in containers (protocol §7.3). Without an engine it starts as well: runs fail until there is one."""

    name = "docker"
    provides: ClassVar[tuple[type[Any], ...]] = (Executor,)
    Config = DockerConfig

    async def run(self, config: DockerConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Collect what nobody uses, at once and now and then, and measure what runs."""
        data = deps.one(Worker).data
        instance = await trio.to_thread.run_sync(_instance, data)
        workspaces = Workspaces(data / "workspaces", config.git)
        await workspaces.reclaim()
        engine = Engine(config.socket)
        meter = Meter(engine, deps.one(Registry))
        executor = DockerExecutor(engine, instance, workspaces, config, meter)
        deps.one(Health).add(self.name, engine.ping, vital=False)  # all else goes on without
        async with trio.open_nursery() as nursery:
            nursery.start_soon(meter.run)
            nursery.start_soon(_collect, executor, config.collect)
            task_status.started([Provision(Executor, executor, self.name)])


async def _collect(executor: Executor, every: float) -> None:
    while True:
        try:
            await executor.reclaim()
        except RunFailed as error:
            log.debug("no containers are collected now: %s", error.sentence)
        await trio.sleep(every)


def _instance(data: Path) -> str:
    """The name of this data folder's server among all that use the engine; made at the first start."""
    file = data / _INSTANCE_FILE
    if file.exists() and (name := file.read_text(encoding="ascii").strip()):
        return name
    data.mkdir(parents=True, exist_ok=True)
    name = secrets.token_hex(8)
    file.write_text(name, encoding="ascii")
    return name

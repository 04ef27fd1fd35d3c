"""Executors as plugins: the Chat Shell, in the server's process or as a service by URL; `local`; `process`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import trio
from attrs import field, frozen

from wegent.core.config import Secret
from wegent.core.kernel import Worker
from wegent.core.ports.executor import Executor
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.ports.tracing import Tracer
from wegent.engines.remote import RemoteConfig, RemoteEngine
from wegent.executors.chat_shell import ChatShell, RemoteChatShell
from wegent.executors.local import LocalExecutor
from wegent.executors.process import ProcessExecutor, ProcessOptions
from wegent.executors.tool_loop import ToolLimits
from wegent.executors.toolbox import Toolbox
from wegent.executors.workspace import GitOptions, Workspaces
from wegent.protocol.limits import MAX_CONCURRENT_CHATS
from wegent.server.ports.engine import Engine
from wegent.server.ports.search import Search
from wegent.server.ports.tool import Tool, ToolSource
from wegent.server.teams import CHAT_SHELL


@frozen
class ChatShellConfig:
    """`engine` answers for models that name none. With `url` a service answers instead, `token` opens it. `tools` are
    the limits of what an answer may use, here in either case.
    """

    engine: str = "offline"
    max_concurrent: int = MAX_CONCURRENT_CHATS
    url: str | None = None
    token: Secret | None = None
    tools: ToolLimits = field(factory=ToolLimits)


class ChatShellPlugin(Plugin):
    """Direct model streams (protocol §9)."""

    name = "chat-shell"
    wants: ClassVar[tuple[type[Any], ...]] = (Engine, Tool, ToolSource, Search, Tracer)
    provides: ClassVar[tuple[type[Any], ...]] = (Executor,)
    Config = ChatShellConfig

    async def run(
        self, config: ChatShellConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Hold the connections to the service, where there is one."""
        tools, sources = deps.all(Tool).values(), deps.all(ToolSource).values()
        toolbox = Toolbox(tools, sources, deps.maybe(Search), config.tools)
        if config.url is None:
            shell = ChatShell(deps.all(Engine), config.engine, config.max_concurrent, toolbox, deps.maybe(Tracer))
            task_status.started([Provision(Executor, shell, CHAT_SHELL)])
            return
        async with RemoteEngine.open(RemoteConfig(url=config.url, token=config.token)) as service:
            task_status.started(
                [Provision(Executor, RemoteChatShell(service, toolbox, deps.maybe(Tracer)), CHAT_SHELL)]
            )
            await trio.sleep_forever()


@frozen
class LocalConfig:
    """`agents` are functions (`module:function`) by shell type; `git` tells what may be cloned for them."""

    agents: Mapping[str, str] = field(factory=dict)
    git: GitOptions = field(factory=GitOptions)


class LocalPlugin(Plugin):
    """Agents in the server's own process (protocol §7.3)."""

    name = "local"
    provides: ClassVar[tuple[type[Any], ...]] = (Executor,)
    Config = LocalConfig

    async def run(self, config: LocalConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Nothing but the executor."""
        executor = LocalExecutor(_workspaces(deps, config.git), config.agents)
        await executor.reclaim()
        task_status.started([Provision(Executor, executor, self.name)])
        await trio.sleep_forever()


@frozen
class ProcessConfig(ProcessOptions):
    """As `ProcessOptions`; `git` tells what may be cloned."""

    git: GitOptions = field(factory=GitOptions)


class ProcessPlugin(Plugin):
    """Agents in child processes (protocol §7.3)."""

    name = "process"
    provides: ClassVar[tuple[type[Any], ...]] = (Executor,)
    Config = ProcessConfig

    async def run(
        self, config: ProcessConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Keep spare runners."""
        executor = ProcessExecutor(_workspaces(deps, config.git), config)
        await executor.reclaim()
        task_status.started([Provision(Executor, executor, self.name)])
        await executor.serve()


def _workspaces(deps: Deps, git: GitOptions) -> Workspaces:
    return Workspaces(deps.one(Worker).data / "workspaces", git)

"""The Chat Shell as a plugin: in the server's process, or as a service of its own by URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio
from attrs import frozen

from wegent.core.config import Secret
from wegent.core.ports.executor import Executor
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.engines.remote import RemoteConfig, RemoteEngine
from wegent.executors.chat_shell import ChatShell, RemoteChatShell
from wegent.protocol.limits import MAX_CONCURRENT_CHATS
from wegent.server.ports.engine import Engine
from wegent.server.teams import CHAT_SHELL


@frozen
class ChatShellConfig:
    """`engine` answers for models that name none. With `url` a service answers instead, `token` opens it."""

    engine: str = "offline"
    max_concurrent: int = MAX_CONCURRENT_CHATS
    url: str | None = None
    token: Secret | None = None


class ChatShellPlugin(Plugin):
    """Direct model streams (protocol §9)."""

    name = "chat-shell"
    wants: ClassVar[tuple[type[Any], ...]] = (Engine,)
    provides: ClassVar[tuple[type[Any], ...]] = (Executor,)
    Config = ChatShellConfig

    async def run(
        self, config: ChatShellConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Hold the connections to the service, where there is one."""
        if config.url is None:
            shell = ChatShell(deps.all(Engine), config.engine, config.max_concurrent)
            task_status.started([Provision(Executor, shell, CHAT_SHELL)])
            return
        async with RemoteEngine.open(RemoteConfig(url=config.url, token=config.token)) as service:
            task_status.started([Provision(Executor, RemoteChatShell(service), CHAT_SHELL)])
            await trio.sleep_forever()

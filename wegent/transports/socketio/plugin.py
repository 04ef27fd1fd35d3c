"""The Socket.IO transport as a plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import trio

from wegent.core.kernel import Worker
from wegent.core.namespaces import Namespaces
from wegent.core.outbox import OutboxLimits
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.ports.transport import Transport
from wegent.core.sessions import Sessions
from wegent.core.timers import Timers
from wegent.server.ports.routes import AsgiApp, Mounts
from wegent.transports.frontdoor import FrontDoor
from wegent.transports.plugin import namespaces_of, until_cancelled
from wegent.transports.socketio.engineio import SocketIOConfig, SocketIOServices
from wegent.transports.socketio.polling import Polling
from wegent.transports.socketio.transport import SocketIOTransport


class _PollingMount(Mounts):
    __slots__ = ("_path", "_polling")

    def __init__(self, path: str, polling: Polling) -> None:
        self._path = path
        self._polling = polling

    def mounts(self) -> Mapping[str, AsgiApp]:
        return {self._path: self._polling}


class SocketIOPlugin(Plugin):
    """Socket.IO 5 over Engine.IO 4: WebSocket, long-polling, and the way from one to the other."""

    name = "socketio"
    requires: ClassVar[tuple[type[Any], ...]] = (FrontDoor,)
    wants: ClassVar[tuple[type[Any], ...]] = (Namespaces,)
    provides: ClassVar[tuple[type[Any], ...]] = (Transport, Mounts)
    Config = SocketIOConfig

    async def run(
        self, config: SocketIOConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Claim the path, serve, say goodbye."""
        door = deps.one(FrontDoor)
        services = SocketIOServices(
            sessions=deps.one(Sessions),
            timers=deps.one(Timers),
            flusher=door.flusher,
            limits=deps.one(OutboxLimits),
            config=config,
            worker=deps.one(Worker).name,
            peers=door.peers,
            hosts=door.hosts,
        )
        transport = SocketIOTransport(services, namespaces_of(deps))
        door.claim(config.path, transport.serve)
        async with trio.open_nursery() as nursery:
            await nursery.start(transport.run)
            polling = _PollingMount(config.path, Polling(transport))
            task_status.started([Provision(Transport, transport, self.name), Provision(Mounts, polling, self.name)])
            await until_cancelled(transport)

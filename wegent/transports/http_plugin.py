"""HTTP on the port as a plugin: the web application of all routes, and what is mounted beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio

from wegent.core.closing import Close
from wegent.core.errors import ConfigError
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.ports.transport import Transport
from wegent.server.api.app import AppConfig, make_app
from wegent.server.ports.routes import AsgiApp, Mounts, Routes
from wegent.transports.asgi import HttpConfig, HttpServer
from wegent.transports.frontdoor import FrontDoor


class _HttpTransport(Transport):
    """HTTP has no sessions to be told; what is under way ends by `HttpServer.drain`."""

    __slots__ = ()

    def close_all(self, why: Close) -> None:
        pass

    async def closed(self) -> None:
        pass


class HttpPlugin(Plugin):
    """Hypercorn, quart-trio, and long-polling beside it."""

    name = "http"
    requires: ClassVar[tuple[type[Any], ...]] = (FrontDoor,)
    wants: ClassVar[tuple[type[Any], ...]] = (Routes, Mounts)
    provides: ClassVar[tuple[type[Any], ...]] = (Transport,)
    Config = HttpConfig

    async def run(self, config: HttpConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Serve what the front door hands over."""
        door = deps.one(FrontDoor)
        mounts: dict[str, AsgiApp] = {}
        for name, bringer in deps.all(Mounts).items():
            for path, app in bringer.mounts().items():
                if path in mounts:
                    message = f"plugin {name} mounts a second application on {path}"
                    raise ConfigError(message)
                mounts[path] = app
        server = HttpServer(
            make_app(deps.all(Routes).values(), AppConfig(origins=config.origins, max_body=config.max_body)),
            mounts,
            config,
        )
        async with server.lifespan():
            door.fall_back(server.serve)
            task_status.started([Provision(Transport, _HttpTransport(), self.name)])
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await server.drain(trio.current_time() + 1.0)

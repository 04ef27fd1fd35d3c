"""The store as a plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio
from attrs import field, frozen

from wegent.core.clock import Clock
from wegent.core.config import Secret
from wegent.core.health import Health
from wegent.core.kernel import Worker
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.ports.tracing import Tracer
from wegent.server.ports.store import Store
from wegent.storage.opening import open_store

DATABASE = "wegent.db"


@frozen
class StorageConfig:
    """`url`: `sqlite:///…`, `mysql://…`, `mariadb://…`, `postgresql://…` or `memory://`; SQLite in the data folder."""

    url: Secret | None = field(default=None)


class StoragePlugin(Plugin):
    """Rows in SQLite, MariaDB, MySQL, PostgreSQL or memory."""

    name = "storage"
    wants: ClassVar[tuple[type[Any], ...]] = (Tracer,)
    provides: ClassVar[tuple[type[Any], ...]] = (Store,)
    Config = StorageConfig

    async def run(
        self, config: StorageConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Open, serve, close."""
        url = config.url or f"sqlite:///{(deps.one(Worker).data / DATABASE).absolute()}"
        async with open_store(url, clock=deps.one(Clock), tracer=deps.maybe(Tracer)) as store:
            deps.one(Health).add("storage", store.ready)
            task_status.started([Provision(Store, store)])
            await trio.sleep_forever()

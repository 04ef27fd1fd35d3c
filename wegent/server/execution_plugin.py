"""Background work as a plugin: its scheduler, and its REST calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio
from attrs import frozen

from wegent.core.clock import Clock
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.rooms import Rooms
from wegent.server.api.blueprints import Blueprints
from wegent.server.api.executions import executions_blueprint
from wegent.server.auth import TokenAuth
from wegent.server.execution_view import ExecutionTeller
from wegent.server.executions import Executions
from wegent.server.ports.routes import Routes
from wegent.server.ports.store import Store
from wegent.server.sending import Sending
from wegent.server.telling import Teller


@frozen
class ExecutionsConfig:
    """`per_user` is how many executions of a user may have a time ahead of them."""

    per_user: int = 100


class ExecutionsPlugin(Plugin):
    """Runs prompts at once, later, or again and again (protocol §10)."""

    name = "executions"
    requires: ClassVar[tuple[type[Any], ...]] = (Store, TokenAuth, Sending, Teller)
    provides: ClassVar[tuple[type[Any], ...]] = (Executions, Routes)
    Config = ExecutionsConfig

    def __init__(self) -> None:
        self._executions: Executions | None = None

    async def run(
        self, config: ExecutionsConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Run what is due until cancelled."""
        teller = ExecutionTeller(deps.one(Rooms))
        executions = Executions(deps.one(Store), deps.one(Clock), deps.one(Sending), teller, per_user=config.per_user)
        self._executions = executions
        deps.one(Teller).on_run = executions.hear
        routes = Blueprints([executions_blueprint(executions, deps.one(TokenAuth))])
        task_status.started([Provision(Executions, executions), Provision(Routes, routes, self.name)])
        await executions.run()

    async def drain(self, deadline: float) -> None:
        """Begin nothing more; what is due is run by whoever starts next."""
        del deadline
        if self._executions is not None:
            self._executions.paused = True
        await trio.lowlevel.checkpoint()

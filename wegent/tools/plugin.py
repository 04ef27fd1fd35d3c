"""The built-in tools, and where the web is searched, as plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio

from wegent.core.clock import Clock
from wegent.core.ports.plugin import Deps, NoConfig, Plugin, Provision
from wegent.server.ports.search import Search
from wegent.server.ports.tool import Tool
from wegent.tools.clock import ClockTool
from wegent.tools.searxng import SearxngConfig, SearxngSearch


class ClockPlugin(Plugin):
    """The tool `current_time`."""

    name = "clock"
    requires: ClassVar[tuple[type[Any], ...]] = (Clock,)
    provides: ClassVar[tuple[type[Any], ...]] = (Tool,)

    async def run(self, config: NoConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Nothing to open or close."""
        task_status.started([Provision(Tool, ClockTool(deps.one(Clock)), self.name)])


class SearxngPlugin(Plugin):
    """Web search through a SearXNG instance."""

    name = "searxng"
    provides: ClassVar[tuple[type[Any], ...]] = (Search,)
    Config = SearxngConfig

    async def run(
        self, config: SearxngConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Hold the connections to it."""
        async with SearxngSearch.open(config) as search:
            task_status.started([Provision(Search, search)])
            await trio.sleep_forever()

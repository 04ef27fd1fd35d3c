"""The built-in tools, where the web is searched, and MCP servers, as plugins."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, ClassVar

import trio

from wegent.core.clock import Clock
from wegent.core.errors import ConfigError
from wegent.core.ports.plugin import Deps, NoConfig, Plugin, Provision
from wegent.server.ports.search import Search
from wegent.server.ports.tool import Tool, ToolSource
from wegent.tools.clock import ClockTool
from wegent.tools.mcp_servers import McpConfig
from wegent.tools.searxng import SearxngConfig, SearxngSearch


class ClockPlugin(Plugin):
    """The tool `current_time`."""

    name = "clock"
    requires: ClassVar[tuple[type[Any], ...]] = (Clock,)
    provides: ClassVar[tuple[type[Any], ...]] = (Tool,)

    async def run(self, config: NoConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Nothing to open or close."""
        task_status.started([Provision(Tool, ClockTool(deps.one(Clock)), self.name)])


class McpPlugin(Plugin):
    """Tools of the MCP servers that Ghosts name."""

    name = "mcp"
    provides: ClassVar[tuple[type[Any], ...]] = (ToolSource,)
    Config = McpConfig

    async def run(self, config: McpConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Nothing to open or close: connections live as long as the answers that use them."""
        try:
            # Importing it takes about a second.
            source = await trio.to_thread.run_sync(import_module, "wegent.tools.mcp_source")
        except ImportError as error:
            raise ConfigError("the plugin mcp needs the package of that name; install wegent[mcp]") from error
        task_status.started([Provision(ToolSource, source.McpSource(config), self.name)])


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

"""The built-in engines as plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio

from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.engines.anthropic import AnthropicConfig, AnthropicEngine
from wegent.engines.offline import OfflineConfig, OfflineEngine
from wegent.engines.openai import OpenAIConfig, OpenAIEngine
from wegent.server.ports.engine import Engine


class OfflinePlugin(Plugin):
    """The engine that needs nothing, and is no model."""

    name = "offline"
    provides: ClassVar[tuple[type[Any], ...]] = (Engine,)
    Config = OfflineConfig

    async def run(
        self, config: OfflineConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Nothing to open or close."""
        task_status.started([Provision(Engine, OfflineEngine(config), self.name)])


class AnthropicPlugin(Plugin):
    """Anthropic's models, and endpoints that speak as theirs does."""

    name = "anthropic"
    provides: ClassVar[tuple[type[Any], ...]] = (Engine,)
    Config = AnthropicConfig

    async def run(
        self, config: AnthropicConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Hold the connections to endpoints."""
        async with AnthropicEngine.open(config) as engine:
            task_status.started([Provision(Engine, engine, self.name)])
            await trio.sleep_forever()


class OpenAIPlugin(Plugin):
    """Any OpenAI-compatible endpoint."""

    name = "openai"
    provides: ClassVar[tuple[type[Any], ...]] = (Engine,)
    Config = OpenAIConfig

    async def run(self, config: OpenAIConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Hold the connections to endpoints."""
        async with OpenAIEngine.open(config) as engine:
            task_status.started([Provision(Engine, engine, self.name)])
            await trio.sleep_forever()

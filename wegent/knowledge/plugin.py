"""Knowledge bases as a plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio
from attrs import field, frozen
from attrs.validators import gt

from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.knowledge.provider import KnowledgeProvider
from wegent.server.api.blueprints import Blueprints
from wegent.server.api.knowledge import knowledge_blueprint
from wegent.server.auth import TokenAuth
from wegent.server.knowledge import KnowledgeBases, KnowledgeLimits
from wegent.server.ports.contexts import ContextProvider
from wegent.server.ports.routes import Routes
from wegent.server.ports.store import Store


@frozen(kw_only=True)
class KnowledgeConfig(KnowledgeLimits):
    """As `KnowledgeLimits`; `passages` are given to a model, the indexes of `kept` bases stay in memory."""

    passages: int = field(default=8, validator=gt(0))
    kept: int = field(default=8, validator=gt(0))


class KnowledgePlugin(Plugin):
    """Documents of users that are searched for messages."""

    name = "knowledge"
    requires: ClassVar[tuple[type[Any], ...]] = (Store, TokenAuth)
    provides: ClassVar[tuple[type[Any], ...]] = (ContextProvider, Routes)
    Config = KnowledgeConfig

    async def run(
        self, config: KnowledgeConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Nothing goes on beside the calls."""
        store = deps.one(Store)
        provider = KnowledgeProvider(store, passages=config.passages, kept=config.kept)
        routes = Blueprints([knowledge_blueprint(KnowledgeBases(store, config), deps.one(TokenAuth))])
        task_status.started(
            [
                Provision(ContextProvider, provider, "knowledge_base"),
                Provision(Routes, routes, self.name),
            ]
        )
        await trio.sleep_forever()

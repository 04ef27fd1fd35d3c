"""Corrections as a plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import trio
from attrs import field, frozen
from attrs.validators import gt

from wegent.core.clock import Clock
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.rooms import Rooms
from wegent.correction.corrector import EngineCorrector
from wegent.engines.choice import EngineChoice
from wegent.server.api.blueprints import Blueprints
from wegent.server.api.corrections import corrections_blueprint
from wegent.server.auth import TokenAuth
from wegent.server.correction_telling import CorrectionTeller
from wegent.server.corrections import Corrections
from wegent.server.ports.engine import Engine
from wegent.server.ports.routes import Routes
from wegent.server.ports.search import Search
from wegent.server.ports.store import Store
from wegent.server.telling import Teller


@frozen(kw_only=True)
class CorrectionConfig:
    """`engine` checks answers, with the `model` described as a Model's `modelConfig`; `at_once` on this worker, each
    within so many `seconds`.
    """

    engine: str = "offline"
    model: Mapping[str, Any] = field(factory=dict)
    at_once: int = field(default=4, validator=gt(0))
    seconds: float = field(default=300.0, validator=gt(0))


class CorrectionPlugin(Plugin):
    """Answers are checked, and improved, by a second model (protocol §4)."""

    name = "correction"
    requires: ClassVar[tuple[type[Any], ...]] = (Store, TokenAuth, Teller, Engine)
    wants: ClassVar[tuple[type[Any], ...]] = (Search,)
    provides: ClassVar[tuple[type[Any], ...]] = (Routes,)
    Config = CorrectionConfig

    async def run(
        self, config: CorrectionConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Make corrections until cancelled."""
        choice = EngineChoice(deps.all(Engine), config.engine)
        corrections = Corrections(
            deps.one(Store),
            deps.one(Clock),
            EngineCorrector(choice, {"engine": config.engine, **config.model}, deps.maybe(Search)),
            deps.one(Teller),
            CorrectionTeller(deps.one(Rooms)),
            at_once=config.at_once,
            seconds=config.seconds,
        )
        routes = Blueprints(corrections_blueprint(corrections, deps.one(TokenAuth)))
        async with trio.open_nursery() as nursery:
            await nursery.start(corrections.serve)
            task_status.started([Provision(Routes, routes, self.name)])

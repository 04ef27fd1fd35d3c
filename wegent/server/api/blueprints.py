"""Blueprints as what the web application is made of."""

from __future__ import annotations

from collections.abc import Iterable

from quart import Blueprint
from quart_trio import QuartTrio

from wegent.server.api.limiting import Limits
from wegent.server.ports.routes import Routes


class Blueprints(Routes):
    """Some blueprints as routes; with `limits`, those of the whole application."""

    __slots__ = ("_blueprints", "_limits")

    def __init__(self, blueprints: Iterable[Blueprint], limits: Limits | None = None) -> None:
        self._blueprints = tuple(blueprints)
        self._limits = limits

    def register(self, app: QuartTrio) -> None:
        """All of them."""
        if self._limits is not None:
            self._limits.register(app)
        for blueprint in self._blueprints:
            app.register_blueprint(blueprint)

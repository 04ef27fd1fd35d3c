"""Blueprints as what the web application is made of."""

from __future__ import annotations

from collections.abc import Iterable

from quart import Blueprint
from quart_trio import QuartTrio

from wegent.server.ports.routes import Routes


class Blueprints(Routes):
    """Some blueprints as routes."""

    __slots__ = ("_blueprints",)

    def __init__(self, blueprints: Iterable[Blueprint]) -> None:
        self._blueprints = tuple(blueprints)

    def register(self, app: QuartTrio) -> None:
        """All of them."""
        for blueprint in self._blueprints:
            app.register_blueprint(blueprint)

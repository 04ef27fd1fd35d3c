"""HTTP routes that a plugin brings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from quart_trio import QuartTrio

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


class Routes(ABC):
    """Adds to the server's web application, before it serves."""

    __slots__ = ()
    many: ClassVar[bool] = True

    @abstractmethod
    def register(self, app: QuartTrio) -> None:
        """Register blueprints; error handling, authentication and limits are the application's (`server/api`)."""


class Mounts(ABC):
    """ASGI applications beside the web application, by exact path: for what Quart would only slow down."""

    __slots__ = ()
    many: ClassVar[bool] = True

    @abstractmethod
    def mounts(self) -> Mapping[str, AsgiApp]:
        """Each gets every request on its path."""

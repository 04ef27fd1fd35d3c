"""How clients are reached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from wegent.core.closing import Close


class Transport(ABC):
    """Connects sessions of namespaces with clients. One that needs the front door requires it as any plugin does."""

    __slots__ = ()
    many: ClassVar[bool] = True

    @abstractmethod
    def close_all(self, why: Close) -> None:
        """Close every connection; each sends what waits first."""

    @abstractmethod
    async def closed(self) -> None:
        """Return when no connection is left."""

"""What makes rooms reach over the workers of a deployment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wegent.core.told import Told


class RoomRelay(ABC):
    """Makes rooms reach over workers."""

    __slots__ = ()

    @abstractmethod
    def emit(self, told: Told) -> None:
        """Tell the room's members on every worker, those of this one by `Rooms.emit_here`. Plain."""

    @abstractmethod
    def entered(self, namespace: str, room: str) -> None:
        """A room has its first member here. Plain."""

    @abstractmethod
    def left(self, namespace: str, room: str) -> None:
        """A room has no member here any more. Plain."""

    @abstractmethod
    def follows(self, room: str) -> bool:
        """Whether nothing that others tell the room is missed here."""

    @abstractmethod
    async def follow(self, room: str) -> None:
        """Return when that is so, and stay so for a while; raises `Overloaded`."""

    @abstractmethod
    async def reach(self, room: str, revision: int) -> None:
        """Return when all that a task's room is told up to a revision has been told here; raises `Overloaded`."""

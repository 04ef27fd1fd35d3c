"""Who wants to know that a token is over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar


class Revoked(ABC):
    """Hears of tokens that REST revoked, to close what they hold open."""

    __slots__ = ()
    many: ClassVar[bool] = True

    @abstractmethod
    def revoked(self, jti: str, user_id: int) -> None:
        """The token `jti` of this user is revoked, and that is committed. Plain: only starts what takes time."""

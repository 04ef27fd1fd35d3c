"""Who wants to know that a token is over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar


class Revoked(ABC):
    """Hears of tokens that REST revoked and of users whom it shut out, to close what they hold open."""

    __slots__ = ()
    many: ClassVar[bool] = True

    @abstractmethod
    def revoked(self, jti: str, user_id: int) -> None:
        """The token `jti` of this user is revoked, and that is committed. Plain: only starts what takes time."""

    @abstractmethod
    def shut_out(self, user_id: int) -> None:
        """This user is not active any more, and that is committed. Plain, as `revoked`."""


class AllRevoked(Revoked):
    """Tells several."""

    __slots__ = ("_listeners",)

    def __init__(self, listeners: Iterable[Revoked]) -> None:
        self._listeners = tuple(listeners)

    def revoked(self, jti: str, user_id: int) -> None:
        """To each."""
        for listener in self._listeners:
            listener.revoked(jti, user_id)

    def shut_out(self, user_id: int) -> None:
        """To each."""
        for listener in self._listeners:
            listener.shut_out(user_id)

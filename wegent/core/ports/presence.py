"""Who is there: keys that lapse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping


class Presence(ABC):
    """Keys with a time to live, for devices and workers. No leases here: those belong to the store.

    Every call raises `BrokerAway` where whoever keeps the keys does not answer.
    """

    __slots__ = ()

    @abstractmethod
    async def set(self, key: str, value: str, *, ttl: float) -> None:
        """Set or renew a key for `ttl` seconds."""

    @abstractmethod
    async def discard(self, key: str, value: str) -> bool:
        """Remove the key if it still has this value; whether it had."""

    @abstractmethod
    async def get(self, key: str) -> str | None:
        """The key's value, if it has not lapsed."""

    @abstractmethod
    async def find(self, prefix: str) -> Mapping[str, str]:
        """All keys that begin so and have not lapsed, with their values."""

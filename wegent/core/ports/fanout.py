"""Messages between the workers of one deployment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

from attrs import frozen


@frozen
class Message:
    """One message of a topic. `number` grows by one per topic and sender; a missing one was lost on the way."""

    topic: str
    sender: str
    number: int
    body: bytes


class Subscription(ABC):
    """Receives messages of the topics added; used by one task."""

    __slots__ = ()

    @abstractmethod
    async def add(self, topic: str) -> None:
        """What is published after this returns is received."""

    @abstractmethod
    async def discard(self, topic: str) -> None:
        """No more of this topic; what is here already may still come."""

    @abstractmethod
    async def receive(self) -> list[Message]:
        """Wait for messages; at least one, in order per topic and sender."""


class Fanout(ABC):
    """At most once, in order per topic and sender, numbered: a gap is seen, not hidden."""

    __slots__ = ()

    @abstractmethod
    def publish(self, topic: str, body: bytes) -> None:
        """Never waits; what overflows is dropped, counted, and shows as a gap."""

    @abstractmethod
    async def flush(self) -> None:
        """Return when all that was published before is on its way."""

    @abstractmethod
    def subscribe(self) -> AbstractAsyncContextManager[Subscription]:
        """A subscription, closed with its block. A sender does not receive what it published itself."""

"""Messages between the workers of one deployment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

from attrs import frozen

from wegent.core.model import Entry, StreamId


def task_topic(task_id: int) -> str:
    """The one topic of everything of a task: events, and what its streams' log appends (protocol §6)."""
    return f"{{task:{task_id}}}"


@frozen
class Appended:
    """What a shared log has taken: it tells the task's topic of it, in the step of the append."""

    stream: StreamId
    entries: tuple[Entry, ...]


@frozen
class Message:
    """One message of a topic. `number` grows by one per topic and sender; a missing one was lost on the way.

    `body` is what was published, or what the sender's log appended: both share the numbers, in the order of the calls.
    None only repeats the number of the latest message, for those who missed it. The first message that is heard of a
    sender may have any number, and a sender that has long been silent on a topic may skip some.
    """

    topic: str
    sender: str
    number: int
    body: bytes | Appended | None


@frozen
class Lost:
    """Messages of any topic may have been lost just here, and no number tells yet: look at what is true now."""


class Subscription(ABC):
    """Receives messages of the topics added. One task receives; `add` and `discard` may be called by others."""

    __slots__ = ()

    @abstractmethod
    async def add(self, topic: str) -> None:
        """What is published after this returns is received.

        Where there is no way to the others now, this returns all the same; `Lost` comes once there is.
        """

    @abstractmethod
    async def discard(self, topic: str) -> None:
        """No more of this topic; what is here already may still come."""

    @abstractmethod
    async def receive(self) -> list[Message | Lost]:
        """Wait for messages; at least one, in order per topic and sender.

        `Lost` stands where the way was interrupted or too much waited; from there on the topics are subscribed again.
        """


class Fanout(ABC):
    """At most once, in order per topic and sender, numbered: a gap is seen, not hidden."""

    __slots__ = ()

    @abstractmethod
    def publish(self, topic: str, body: bytes) -> None:
        """Never waits; what overflows or finds no way is dropped, counted, and shows as a gap."""

    @abstractmethod
    def remind(self, topic: str) -> None:
        """Repeat the number of the latest message of this sender, if there was one. Never waits either."""

    @abstractmethod
    async def flush(self) -> None:
        """Return when all that was published before is on its way, or dropped."""

    @abstractmethod
    def subscribe(self) -> AbstractAsyncContextManager[Subscription]:
        """A subscription, closed with its block. A sender does not receive what it published itself."""

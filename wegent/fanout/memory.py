"""Fan-out, stream log and presence within one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from wegent.core.model import Ending, Entry, Snapshot, StreamId, Text
from wegent.core.ports.fanout import Appended, Fanout, Lost, Message, Subscription
from wegent.core.ports.presence import Presence
from wegent.core.ports.streamlog import StreamLog
from wegent.core.replica import Replica
from wegent.core.timers import Timers
from wegent.fanout.backlog import Backlog
from wegent.fanout.numbers import Numbers


class MemoryBus:
    """What the fan-outs of one process share: one bus carries the workers of a test, or the only worker there is."""

    def __init__(self) -> None:
        self.subscriptions: dict[_MemorySubscription, None] = {}


class MemoryFanout(Fanout):
    """One worker's end of a bus."""

    def __init__(self, bus: MemoryBus | None = None, sender: str = "") -> None:
        self._bus = bus or MemoryBus()
        self._sender = sender
        self._numbers = Numbers()
        self.dropped = 0

    def publish(self, topic: str, body: bytes) -> None:
        """Hand it to every other subscriber of the topic."""
        self._hand(Message(topic, self._sender, self._numbers.take(topic), body), len(body))

    def announce(self, topic: str, appended: Appended) -> None:
        """Hand them what a log that several workers share has taken from this one."""
        self._hand(Message(topic, self._sender, self._numbers.take(topic), appended), 0)

    def remind(self, topic: str) -> None:
        """Hand them the latest number."""
        if (number := self._numbers.latest(topic)) is not None:
            self._hand(Message(topic, self._sender, number, None), 0)

    async def flush(self) -> None:
        """Nothing is ever on its way."""
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscription]:
        """A subscription, closed with its block."""
        subscription = _MemorySubscription(self)
        self._bus.subscriptions[subscription] = None
        try:
            yield subscription
        finally:
            del self._bus.subscriptions[subscription]

    def _hand(self, message: Message, size: int) -> None:
        for subscription in self._bus.subscriptions:
            if subscription.owner is not self and message.topic in subscription.topics:
                self.dropped += not subscription.backlog.put(message, size)


class _MemorySubscription(Subscription):
    def __init__(self, owner: MemoryFanout) -> None:
        self.owner = owner
        self.topics: set[str] = set()
        self.backlog = Backlog()

    async def add(self, topic: str) -> None:
        await trio.lowlevel.checkpoint()
        self.topics.add(topic)

    async def discard(self, topic: str) -> None:
        await trio.lowlevel.checkpoint()
        self.topics.discard(topic)

    async def receive(self) -> list[Message | Lost]:
        return await self.backlog.take()


class MemoryStreamLog(StreamLog):
    """The log of a deployment of one worker: its replicas are the worker's own."""

    local = True

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._streams: dict[StreamId, Replica] = {}

    def replica(self, stream: StreamId) -> Replica:
        """The stream itself, made where it is not there yet."""
        found = self._streams.get(stream)
        if found is None:
            found = self._streams[stream] = Replica(stream)
        return found

    async def append(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """Add entries; a checkpoint comes first, so that a cancelled append has changed nothing."""
        await trio.lowlevel.checkpoint()
        self.append_now(stream, entries)

    def append_now(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """Add entries at once."""
        self.replica(stream).apply(entries)

    def append_text(self, replica: Replica, channel: str, text: str) -> None:
        """Add text at once."""
        replica.append(channel, text)

    async def read(self, stream: StreamId, since: Mapping[str, int] | None = None) -> Snapshot | None:
        """What the stream holds."""
        await trio.lowlevel.checkpoint()
        found = self._streams.get(stream)
        return None if found is None else found.snapshot(since)

    async def restore(self, stream: StreamId, snapshot: Snapshot) -> None:
        """Write back what was lost, which in memory nothing is: for logs that were made anew."""
        await trio.lowlevel.checkpoint()
        self.append_now(stream, missing(self.replica(stream), snapshot))

    async def end(self, stream: StreamId, ending: Ending, *, keep: float) -> None:
        """Seal the stream, and forget it later."""
        await trio.lowlevel.checkpoint()
        self.replica(stream).ending = ending
        self._timers.after(keep, lambda: self.forget(stream))

    def forget(self, stream: StreamId) -> None:
        """Drop the stream."""
        self._streams.pop(stream, None)

    def clear(self) -> None:
        """Drop all streams."""
        self._streams.clear()


def missing(replica: Replica, snapshot: Snapshot) -> list[Entry]:
    """What a snapshot has that a replica has not."""
    lengths = replica.lengths()
    texts = [
        Text(channel, at, text[at:]) for channel, text in snapshot.texts.items() for at in [lengths.get(channel, 0)]
    ]
    known = replica.values
    newer = [each for each in snapshot.values if each.key not in known or known[each.key].version < each.version]
    return [*(text for text in texts if text.delta), *newer]


class MemoryPresence(Presence):
    """Keys of one process."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, float]] = {}

    async def set(self, key: str, value: str, *, ttl: float) -> None:
        """Set or renew a key."""
        await trio.lowlevel.checkpoint()
        self._keys[key] = (value, trio.current_time() + ttl)

    async def discard(self, key: str, value: str) -> bool:
        """Remove the key if it still has this value."""
        await trio.lowlevel.checkpoint()
        if self._alive(key) != value:
            return False
        del self._keys[key]
        return True

    async def get(self, key: str) -> str | None:
        """The key's value."""
        await trio.lowlevel.checkpoint()
        return self._alive(key)

    async def find(self, prefix: str) -> Mapping[str, str]:
        """All keys that begin so."""
        await trio.lowlevel.checkpoint()
        found = {key: self._alive(key) for key in list(self._keys) if key.startswith(prefix)}
        return {key: value for key, value in found.items() if value is not None}

    def _alive(self, key: str) -> str | None:
        value, until = self._keys.get(key, ("", 0.0))
        if until <= trio.current_time():
            self._keys.pop(key, None)
            return None
        return value

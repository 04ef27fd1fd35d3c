"""A fan-out of one process that loses, delays and repeats messages."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import frozen

from wegent.core.ports.fanout import Lost, Message, Subscription
from wegent.fanout.memory import MemoryBus, MemoryFanout


@frozen
class Rates:
    """Shares of the messages that are lost, repeated, late (by up to `lateness` seconds, in order per topic), and of
    those after which the receiver is told that anything may be lost.
    """

    lost: float = 0.0
    again: float = 0.0
    late: float = 0.0
    lateness: float = 0.5
    cut: float = 0.0


class FaultyFanout(MemoryFanout):
    """One worker's end of a bus. What it receives suffers by `rates`, which may be changed at any time."""

    def __init__(self, bus: MemoryBus, sender: str, rng: random.Random, rates: Rates) -> None:
        super().__init__(bus, sender)
        self.rates = rates
        self._rng = rng
        self._faulty: dict[_Faulty, None] = {}

    def interrupt(self) -> None:
        """Tell all who receive that anything may be lost."""
        for each in self._faulty:
            each.lose()

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscription]:
        """A subscription, closed with its block."""
        async with super().subscribe() as inner, trio.open_nursery() as nursery:
            faulty = _Faulty(inner, self, self._rng)
            nursery.start_soon(faulty.pass_on)
            self._faulty[faulty] = None
            try:
                yield faulty
            finally:
                del self._faulty[faulty]
            nursery.cancel_scope.cancel()


class _Faulty(Subscription):
    def __init__(self, inner: Subscription, owner: FaultyFanout, rng: random.Random) -> None:
        self._inner = inner
        self._owner = owner
        self._rng = rng
        self._due: dict[tuple[str, str], float] = {}
        self._waiting: list[tuple[float, int, Message | Lost]] = []
        self._count = 0
        self._changed = trio.Event()

    async def add(self, topic: str) -> None:
        await self._inner.add(topic)

    async def discard(self, topic: str) -> None:
        await self._inner.discard(topic)

    async def pass_on(self) -> None:
        """Take what comes, and decide what becomes of it."""
        while True:
            for message in await self._inner.receive():
                for _ in range(self._copies()):
                    self._put(message)

    def lose(self) -> None:
        """Anything may be lost just here."""
        self._queue(trio.current_time(), Lost())

    def _copies(self) -> int:
        rates, roll = self._owner.rates, self._rng.random()
        return 0 if roll < rates.lost else 2 if roll < rates.lost + rates.again else 1

    def _put(self, message: Message | Lost) -> None:
        rates, now = self._owner.rates, trio.current_time()
        due = now + (self._rng.random() * rates.lateness if self._rng.random() < rates.late else 0.0)
        if isinstance(message, Message):
            key = (message.topic, message.sender)
            due = self._due[key] = max(due, self._due.get(key, 0.0))
        self._queue(due, message)
        if self._rng.random() < rates.cut:
            self._queue(now, Lost())

    def _queue(self, due: float, message: Message | Lost) -> None:
        self._count += 1
        self._waiting.append((due, self._count, message))
        self._waiting.sort(key=lambda each: each[:2])
        self._changed.set()

    async def receive(self) -> list[Message | Lost]:
        await trio.lowlevel.checkpoint()
        while True:
            now = trio.current_time()
            due = [message for when, _, message in self._waiting if when <= now]
            if due:
                self._waiting = [each for each in self._waiting if each[0] > now]
                return due
            self._changed = trio.Event()
            with trio.move_on_at(self._waiting[0][0] if self._waiting else trio.current_time() + 1e6):
                await self._changed.wait()

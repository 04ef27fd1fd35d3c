"""Several workers of one deployment in one process, on a virtual clock.

async with deployment(2, ScriptedExecutor(default=[say("hello")])) as (one, other):
    client = await one.client("alice")
    viewer = await other.client("alice")
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field

from wegent.core.clock import VirtualClock
from wegent.core.ports.executor import Executor
from wegent.core.ports.streamlog import StreamLog
from wegent.core.relay import Relay
from wegent.core.timers import Timers
from wegent.fanout.holding import HoldingLog
from wegent.fanout.memory import MemoryBus, MemoryStreamLog
from wegent.server.implied import StoreRows, decode_told, encode_told
from wegent.server.ports.store import Store
from wegent.storage.memory import MemoryStore
from wegent.testing.faulty_fanout import FaultyFanout, Rates
from wegent.testing.harness import Application
from wegent.testing.shared_log import BreakableLog


@define
class Shared:
    """What the workers of a deployment share: a store, a log, and the way between them."""

    store: Store = field(factory=lambda: MemoryStore(VirtualClock()))
    timers: Timers = field(factory=Timers)
    kept: MemoryStreamLog = field(init=False)
    bus: MemoryBus = field(factory=MemoryBus)
    rng: random.Random = field(factory=lambda: random.Random(0))  # noqa: S311 - it decides what is tested
    rates: Rates = field(factory=Rates)
    away: bool = False
    """Whether the log and the way between the workers are gone."""

    def __attrs_post_init__(self) -> None:
        self.kept = MemoryStreamLog(self.timers)

    def forget(self) -> None:
        """The log comes back empty."""
        self.kept.clear()


class SharingApplication(Application):
    """One worker of a deployment."""

    def __init__(self, shared: Shared, executor: Executor, name: str, **options: Any) -> None:
        self.shared = shared
        self.fanout = FaultyFanout(shared.bus, name, shared.rng, shared.rates)
        super().__init__(executor, owner=name, **options)

    def make_store(self) -> Store:
        """The one of all workers."""
        return self.shared.store

    def make_log(self) -> StreamLog:
        """The one of all workers, and this one's copies."""
        shared = BreakableLog(self.shared.kept, self.fanout, lambda: self.shared.away, self.timers)
        return HoldingLog(shared, self.timers)

    def make_relay(self) -> Relay:
        """Rooms reach over workers."""
        return self.relay_of(Relay)

    def relay_of(self, kind: type[Relay]) -> Relay:
        """A relay of that kind."""
        rows = StoreRows(self.store)
        return kind(self.fanout, self.rooms, self.streams, rows, self.registry, encode=encode_told, decode=decode_told)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, and write back what the log has lost."""
        async with trio.open_nursery() as nursery:
            assert isinstance(self.log, HoldingLog)
            nursery.start_soon(self.log.run)
            await super().run(task_status=task_status)


@asynccontextmanager
async def deployment(
    workers: int, executor: Executor, shared: Shared | None = None, **options: Any
) -> AsyncIterator[Sequence[SharingApplication]]:
    """Workers `worker-1`, … at work; everything is cancelled at the block's end."""
    shared = shared or Shared()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.timers.run)
        apps = [SharingApplication(shared, executor, f"worker-{index + 1}", **options) for index in range(workers)]
        for app in apps:
            await nursery.start(app.run)
        yield apps
        nursery.cancel_scope.cancel()

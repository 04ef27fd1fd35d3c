"""Random lives of a task over a shared log that goes away, forgets, and does things without saying so."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
import trio
from attrs import evolve

from wegent.core.errors import BrokerAway
from wegent.core.model import Ending, Entry, StreamId
from wegent.core.ports.streamlog import StreamLog
from wegent.core.timers import Timers
from wegent.fanout.holding import HoldingLog
from wegent.fanout.memory import MemoryStreamLog
from wegent.testing.chaos import DistantLog, Plan, random_pause
from wegent.testing.simulator import SimulatedApplication, simulate

PLAN = Plan(clients=3, actions=10, slow_store=0.3, pause=0.1, distant_log=True)
STORIES = 60


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failing engines and an absent log are what is tested here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Outages:
    """Whether the log is away changes with each look at it, now and then."""

    def __init__(self, rng: random.Random, timers: Timers) -> None:
        self._rng = rng
        self._timers = timers
        self._away = False
        self.log = DistantLog(timers, self._pass)
        self.holding = HoldingLog(self.log, timers)
        self.refused = self.lost = 0

    async def _pass(self) -> None:
        await random_pause(self._rng)
        if self._rng.random() < (0.3 if self._away else 0.1):
            self._away = not self._away
            if not self._away and self._rng.random() < 0.7:
                if self._rng.random() < 0.5:
                    self.lost += 1
                    self.log.kept = MemoryStreamLog(self._timers)
                self.holding.returned()
        if self._away:
            self.refused += 1
            raise BrokerAway("away")


class WithOutages(SimulatedApplication):
    """An application whose log is away in about a quarter of all calls."""

    seen: ClassVar[list[Outages]]

    def make_log(self) -> StreamLog:
        self.outages = Outages(self.rng, self.timers)
        self.seen.append(self.outages)
        return self.outages.holding

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.outages.holding.run)
            await super().run(task_status=task_status)


def told(application: type[SimulatedApplication], seeds: Sequence[int]) -> Iterator[list[str]]:
    for seed in seeds:
        plan = PLAN if seed % 2 else evolve(PLAN, group=True, actors=("alice", "bob"))
        yield simulate(seed, plan, application=application).complaints


def test_everybody_ends_with_what_the_engine_wrote() -> None:
    seen: list[Outages] = []
    application = type("Watched", (WithOutages,), {"seen": seen})
    for number, complaints in enumerate(told(application, range(STORIES))):
        assert not complaints, number
    assert sum(each.refused for each in seen) > STORIES
    assert sum(each.lost for each in seen) > STORIES / 10


class Forgetful(HoldingLog):
    """Takes what it is told while the log is away, and says nothing of the log having been shorter."""

    async def append(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        await self._shared.append(stream, entries)

    async def end(self, stream: StreamId, ending: Ending, *, keep: float) -> None:
        await self._shared.end(stream, ending, keep=keep)


def test_without_the_worker_s_own_copies_runs_would_break() -> None:
    """The broken variant: what the stories would catch."""

    class Broken(WithOutages):
        seen: ClassVar[list[Outages]] = []

        def make_log(self) -> StreamLog:
            super().make_log()
            self.outages.holding = Forgetful(self.outages.log, self.timers)
            return self.outages.holding

    assert any(told(Broken, range(20)))

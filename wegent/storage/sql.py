"""The store in a database: threads for units, retries, and what happens while the database is away."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

import trio
from attrs import frozen
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from wegent.core.clock import Clock
from wegent.core.errors import StoreAway
from wegent.server.ports.store import Store, Unit
from wegent.storage.engines import make_engine
from wegent.storage.faults import AWAY, BUSY, Fault, LostRace, as_error, diagnose
from wegent.storage.line import Line

T = TypeVar("T")

_log = logging.getLogger(__name__)

_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.1


@frozen
class Limits:
    """How a `SqlStore` uses its database.

    Attributes:
        timeout: seconds that a call waits for its turn, and then for the database, before it is `StoreAway`.
        readers, writers: threads, and connections; SQLite has one writer whatever is said here.
        races: how often a unit is run again after a deadlock or a unique key that somebody else took.
        probe: seconds between attempts to reach a database that is away.
    """

    timeout: float = 5.0
    readers: int = 4
    writers: int = 4
    races: int = 8
    probe: float = 0.25


class Lane:
    """The threads of one kind of unit, and a line for each."""

    __slots__ = ("free", "limiter", "lines", "writing")

    def __init__(self, url: URL, clock: Clock, limits: Limits, *, writing: bool) -> None:
        count = limits.writers if writing else limits.readers
        if writing and url.get_backend_name() == "sqlite":
            count = 1
        engine = make_engine(url, writing=writing, timeout=limits.timeout)
        self.writing = writing
        self.limiter = trio.CapacityLimiter(count)
        self.lines = [Line(engine, clock, writing=writing) for _ in range(count)]
        # Popped and appended in the threads; the limiter lets in no more of them than there are lines.
        self.free = list(self.lines)


class SqlStore(Store):
    """Runs units in worker threads, on connections of its own. Made by `open_store`, which also looks after it.

    While the database is away, one task tries to reach it, and calls fail at once instead of each finding out by
    itself: the first after `timeout`, the others without delay. What is not committed then is the callers' to
    repeat.
    """

    __slots__ = ("_away", "_closed", "_limits", "_news", "_probe", "_reads", "_writes")

    def __init__(self, url: URL, clock: Clock, limits: Limits) -> None:
        self._limits = limits
        self._reads = Lane(url, clock, limits, writing=False)
        self._writes = Lane(url, clock, limits, writing=True)
        self._probe = Line(make_engine(url, writing=False, timeout=limits.timeout), clock, writing=False)
        self._away = False
        self._closed = False
        self._news = trio.Event()

    async def read(self, work: Callable[[Unit], T]) -> T:
        """One consistent view of the rows; a `work` that changes any gets a RuntimeError."""
        return await self._call(self._reads, work)

    async def write(self, work: Callable[[Unit], T]) -> T:
        """Commit what `work` changed, or nothing where it raises."""
        return await self._call(self._writes, work)

    async def ready(self) -> None:
        """Return if the database answers; raises `StoreAway`."""
        await self._call(self._reads, lambda unit: unit.beats())

    async def _call(self, lane: Lane, work: Callable[[Unit], T]) -> T:
        asked = time.monotonic()
        try:
            return await trio.to_thread.run_sync(self._in_thread, lane, work, asked, limiter=lane.limiter)
        except StoreAway:
            if self._away:
                self._news.set()
            raise

    def _in_thread(self, lane: Lane, work: Callable[[Unit], T], asked: float) -> T:
        if self._closed:
            raise StoreAway("the store is closed")
        if self._away:
            raise StoreAway(AWAY)
        now = time.monotonic()
        if now - asked > self._limits.timeout:
            raise StoreAway(BUSY)
        line = lane.free.pop()
        try:
            return self._insist(line, work, now + self._limits.timeout)
        finally:
            line.limit(None)
            lane.free.append(line)

    def _insist(self, line: Line, work: Callable[[Unit], T], deadline: float) -> T:
        """Run the unit until it is through, or has failed for good."""
        races, reconnected = 0, False
        line.limit(deadline)
        while True:
            try:
                return line.run(work)
            except LostRace:
                # A key that is still taken at the second look was not taken by a race.
                if races >= min(2, self._limits.races):
                    raise
                races += 1
            except DBAPIError as error:
                fault = diagnose(error)
                late = time.monotonic() >= deadline
                if fault is Fault.RACE and races < self._limits.races and not late:
                    races += 1
                elif fault is Fault.LOST and not (reconnected or line.committing or late):
                    reconnected = True
                    line.drop()
                    continue
                else:
                    self._fail(line, fault, error)
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE, _PAUSE * 2**races)))  # noqa: S311 - no secret

    def _fail(self, line: Line, fault: Fault, error: DBAPIError) -> None:
        if fault in {Fault.LOST, Fault.SETUP}:
            line.drop()
            if not self._away:
                _log.warning("the database is away: %s", type(error.orig).__name__)
            self._away = True
        told = as_error(fault)
        if told is None:
            raise error
        raise told from error

    # what open_store runs beside it

    async def look_after(self, life: trio.CancelScope) -> None:
        """Runs until `life`, a scope that nobody has entered yet, is cancelled."""
        with life:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._reach)
                if self._reads.lines[0].can_hang:
                    nursery.start_soon(self._cut_overdue)

    async def _reach(self) -> None:
        """Reach for the database while it is away."""
        while True:
            await self._news.wait()
            if await trio.to_thread.run_sync(self._reached, abandon_on_cancel=True):
                for line in (*self._reads.lines, *self._writes.lines):
                    line.distrust()
                self._away = False
                self._news = trio.Event()
                _log.warning("the database is back")
            else:
                await trio.sleep(self._limits.probe)

    async def _cut_overdue(self) -> None:
        """Break connections whose unit is past its time."""
        lines = (*self._reads.lines, *self._writes.lines, self._probe)
        while True:
            await trio.sleep(min(0.5, self._limits.timeout / 10))
            for line in lines:
                line.cut()

    def _reached(self) -> bool:
        self._probe.limit(time.monotonic() + self._limits.timeout)
        try:
            self._probe.run(lambda unit: unit.beats())
        except DBAPIError:
            return False
        finally:
            self._probe.limit(None)
            self._probe.drop()
        return True

    def close(self) -> None:
        """Close all connections; may take as long as the database takes. Later calls are `StoreAway`."""
        self._closed = True
        for line in (*self._reads.lines, *self._writes.lines):
            line.close()

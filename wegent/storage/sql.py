"""The store in a database: threads for units, retries, and what happens while the database is away."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from typing import Any, Final, TypeVar

import trio
from attrs import frozen
from outcome import Error, Outcome, capture
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from wegent.core.clock import Clock
from wegent.core.errors import StoreAway
from wegent.core.ports.tracing import Tracer
from wegent.server.ports.store import Store, Unit
from wegent.storage.engines import make_engine
from wegent.storage.faults import AWAY, BUSY, Fault, LostRace, as_error, diagnose
from wegent.storage.line import Line
from wegent.storage.tracing import trace_statements

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


SQLITE_READERS: Final = 2
"""SQLite works in our own process: more threads would only wait for each other."""
BATCH: Final = 16
"""Units that one thread runs in a row where no other thread could run them sooner."""


class Call:
    """One unit that somebody waits for."""

    __slots__ = ("asked", "result", "task", "token", "work")

    def __init__(self, work: Callable[[Unit], Any]) -> None:
        self.work = work
        self.asked = time.monotonic()
        self.task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        self.token = [None]  # popped, which is one step, by the thread that begins or the caller that gives up
        self.result: Outcome[Any] | None = None

    def claim(self) -> bool:
        """Whether the call was neither begun nor given up before; called from either side."""
        try:
            self.token.pop()
        except IndexError:
            return False
        return True


class Lane:
    """The threads of one kind of unit, a line for each, and the calls that wait for them.

    Under load a thread takes several calls at once: handing one to a thread costs more than many a unit.
    """

    __slots__ = ("arrived", "batch", "busy", "engine", "free", "lines", "open", "waiting", "writing")

    def __init__(self, url: URL, clock: Clock, limits: Limits, *, writing: bool) -> None:
        count = limits.writers if writing else limits.readers
        if url.get_backend_name() == "sqlite":
            count = 1 if writing else min(count, SQLITE_READERS)
        engine = self.engine = make_engine(url, writing=writing, timeout=limits.timeout)
        self.writing = writing
        # A write may wait for a lock; behind it another one should only stand where there is one writer anyway.
        self.batch = 1 if writing and count > 1 else BATCH
        self.busy = 0
        self.waiting: deque[Call] = deque()
        self.arrived = trio.lowlevel.ParkingLot()
        self.open = True
        self.lines = [Line(engine, clock, writing=writing) for _ in range(count)]
        # Popped and appended in the threads; there are no more of them than there are lines.
        self.free = list(self.lines)

    def take(self) -> list[Call]:
        """The next calls for one thread; those that idle threads can take are left to them."""
        idle = len(self.lines) - self.busy - 1
        count = min(self.batch, max(1, len(self.waiting) - idle))
        return [self.waiting.popleft() for _ in range(count)]


def _answer(calls: Iterable[Call]) -> None:
    """Hand back what came of the calls to those who still wait."""
    for call in calls:
        if call.task is not None:
            trio.lowlevel.reschedule(call.task, call.result or Error(StoreAway("the store is closed")))


def _within(work: Callable[[Unit], T]) -> Callable[[Unit], T]:
    """The same in the caller's context, whatever thread it runs in, so that its span is found there."""
    context = copy_context()
    return lambda unit: context.run(work, unit)


class SqlStore(Store):
    """Runs units in worker threads, on connections of its own. Made by `open_store`, which also looks after it.

    While the database is away, one task tries to reach it, and calls fail at once instead of each finding out by
    itself: the first after `timeout`, the others without delay. What is not committed then is the callers' to
    repeat.
    """

    __slots__ = ("_away", "_closed", "_limits", "_news", "_probe", "_reads", "_threads", "_traced", "_writes")

    def __init__(self, url: URL, clock: Clock, limits: Limits) -> None:
        self._limits = limits
        self._reads = Lane(url, clock, limits, writing=False)
        self._writes = Lane(url, clock, limits, writing=True)
        self._threads = trio.CapacityLimiter(len(self._reads.lines) + len(self._writes.lines))
        self._probe = Line(make_engine(url, writing=False, timeout=limits.timeout), clock, writing=False)
        self._away = False
        self._closed = False
        self._news = trio.Event()
        self._traced = False

    def trace(self, tracer: Tracer) -> None:
        """Tell of each statement; to be called before the first unit. It costs each of them something."""
        self._traced = True
        for engine in (self._reads.engine, self._writes.engine):
            trace_statements(engine, tracer)

    @property
    def readers(self) -> int:
        """How many reads go on at once."""
        return len(self._reads.lines)

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
        await trio.lowlevel.checkpoint_if_cancelled()
        if not lane.open:
            raise StoreAway("the store is closed")
        call = Call(_within(work) if self._traced else work)
        lane.waiting.append(call)
        lane.arrived.unpark()

        def abort(_: object) -> trio.lowlevel.Abort:
            if not call.claim():
                return trio.lowlevel.Abort.FAILED
            call.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        try:
            result: T = await trio.lowlevel.wait_task_rescheduled(abort)
        except StoreAway:
            if self._away:
                self._news.set()
            raise
        return result

    async def _serve(self, lane: Lane) -> None:
        """One of the lane's threads: take calls, run them, hand back what came of them."""
        try:
            while True:
                while not lane.waiting:
                    await lane.arrived.park()
                batch = lane.take()
                lane.busy += 1
                try:
                    await trio.to_thread.run_sync(self._run_batch, lane, batch, limiter=self._threads)
                finally:
                    lane.busy -= 1
                    _answer(batch)
        finally:
            lane.open = False
            _answer(lane.waiting)
            lane.waiting.clear()

    def _run_batch(self, lane: Lane, batch: Sequence[Call]) -> None:
        for call in batch:
            if call.claim():
                call.result = capture(self._in_thread, lane, call.work, call.asked)

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
                for lane in (self._reads, self._writes):
                    for _ in lane.lines:
                        nursery.start_soon(self._serve, lane)
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

"""The store in memory: for tests on a virtual clock, and for a server that need not remember."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from wegent.core.clock import Clock
from wegent.server.ports.store import Store, Unit
from wegent.storage.memory_tables import Tables
from wegent.storage.memory_unit import MemoryUnit

T = TypeVar("T")


class MemoryStore(Store):
    """Keeps the rows in dictionaries. A unit runs between two checkpoints without one of its own; no threads.

    A unit that raises leaves nothing behind, ids that it took excepted (as with a database). Tests override
    `_pause` to schedule something between, or to raise `StoreAway` from it: before the unit nothing has
    happened, after a write it is committed although the caller is told that nobody knows.
    """

    __slots__ = ("_clock", "_tables")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tables = Tables()

    async def read(self, work: Callable[[Unit], T]) -> T:
        """One consistent view of the rows; a `work` that changes any gets a RuntimeError."""
        return await self._run(work, writable=False)

    async def write(self, work: Callable[[Unit], T]) -> T:
        """Commit what `work` changed, or nothing where it raises."""
        return await self._run(work, writable=True)

    async def _pause(self) -> None:
        """What comes before and after each unit: one checkpoint, unless a test knows better."""
        await trio.lowlevel.checkpoint()

    async def _run(self, work: Callable[[Unit], T], *, writable: bool) -> T:
        await self._pause()
        result = self._step(work, writable=writable)
        # Shielded: as with a thread call, the result of what was done comes before Cancelled is seen.
        with trio.CancelScope(shield=True):
            await self._pause()
        return result

    def _step(self, work: Callable[[Unit], T], *, writable: bool) -> T:
        unit = MemoryUnit(self._tables, self._clock, writable=writable)
        try:
            result = work(unit)
        except BaseException:
            self._tables.undo()
            raise
        finally:
            unit.close()
        self._tables.keep()
        return result

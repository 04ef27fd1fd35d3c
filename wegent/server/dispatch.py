"""Takes waiting rows for this worker's executors, and starts their runs (protocol §7)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import trio

from wegent.core.errors import Overloaded
from wegent.core.runs import Runs
from wegent.server.claiming import Claim
from wegent.server.runbook import StoreRunBook

log = logging.getLogger(__name__)
SCAN_EVERY = 2.0
"""Seconds between looks at the queue that nobody asked for."""
RELEASED_FOR = 5.0
"""Seconds that a release is remembered: a row that waits behind another is claimable by itself by then."""


class Dispatcher:
    """Claims rows within each executor's limit. A nudge claims at once; a scan finds what no nudge told of."""

    def __init__(self, book: StoreRunBook, runs: Runs, owner: str, limits: Mapping[str, int]) -> None:
        self._book = book
        self._runs = runs
        self._owner = owner
        self._limits = limits
        self._released: dict[int, float] = {}
        self._nudged = trio.Event()
        self.paused = False

    def nudge(self, subtask_id: int | None = None) -> None:
        """There may be work; `subtask_id` is a row whose making has been told and that may be claimed now."""
        if subtask_id is not None:
            self._released[subtask_id] = trio.current_time()
        self._nudged.set()

    async def run(self) -> None:
        """Claim and start until cancelled."""
        while True:
            self._nudged = trio.Event()
            try:
                while not self.paused and await self._claim():
                    pass
            except Overloaded as error:
                log.warning("no runs are claimed: %s", error.sentence)
            with trio.move_on_after(SCAN_EVERY):
                await self._nudged.wait()

    async def _claim(self) -> bool:
        """One claim; whether there may be more."""
        free = {target: most - self._runs.running(target) for target, most in self._limits.items()}
        targets = [target for target, room in free.items() if room > 0]
        if not targets:
            return False
        now = trio.current_time()
        self._released = {row: since for row, since in self._released.items() if now - since < RELEASED_FOR}
        waiting = await self._book.depths()
        limits = {target: free[target] for target in targets if target in waiting}
        if not limits:
            return False
        jobs = await self._book.claim(Claim(limits, self._owner, released=tuple(self._released)))
        for job in jobs:
            self._released.pop(job.subtask_id, None)
            self._runs.start(job)
        return len(jobs) == sum(limits.values())

"""Takes waiting rows for this worker's executors, and starts their runs (protocol §7)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from wegent.core.errors import Overloaded
from wegent.core.runs import Runs
from wegent.server.queueing import Queue

log = logging.getLogger(__name__)


class Dispatcher:
    """Claims rows within each executor's limit, for runs in this worker's own process."""

    def __init__(self, queue: Queue, runs: Runs, limits: Mapping[str, int]) -> None:
        """`limits` are the most runs at once, by target."""
        self._queue = queue
        self._runs = runs
        self._limits = limits

    async def run(self) -> None:
        """Claim and start until cancelled."""
        with self._queue.watch(self._limits) as watch:
            while True:
                hot = await watch.wait()
                try:
                    await self._claim(hot)
                except Overloaded as error:
                    log.warning("no runs are claimed: %s", error.sentence)

    async def _claim(self, targets: Collection[str]) -> None:
        free = {target: self._limits[target] - self._runs.running(target) for target in targets}
        for job in await self._queue.claim(free, self._runs.owner):
            self._runs.start(job)

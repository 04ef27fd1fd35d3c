"""What waits for a device that will not come is ended."""

from __future__ import annotations

import logging
from datetime import timedelta

import trio

from wegent.core.clock import Clock
from wegent.core.errors import Overloaded
from wegent.server.device_rows import end_waiting
from wegent.server.owners import device_of
from wegent.server.ports.store import Store
from wegent.server.telling import Teller

log = logging.getLogger(__name__)
EVERY_S = 5.0


class DeviceSweeper:
    """Looks now and then who waits for a device that was deleted, or is away for longer than `window` seconds."""

    def __init__(self, store: Store, clock: Clock, voice: Teller, window: float) -> None:
        self._store = store
        self._clock = clock
        self._voice = voice
        self._window = timedelta(seconds=window)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await trio.sleep(EVERY_S)
            try:
                for target in await self._store.read(lambda unit: unit.depths()):
                    if device_of(target) is not None:
                        await self._end_waiting(target)
            except Overloaded as error:
                log.warning("nobody knows what waits for devices: %s", error.sentence)

    async def _end_waiting(self, target: str) -> None:
        now = self._clock.now()
        ended = await self._store.write(lambda unit: end_waiting(unit, target, now=now, window=self._window))
        for row, view in ended:
            self._voice.ending(row, view)

"""A beat that many share: one timer for all who wait for it, however many they are."""

from __future__ import annotations

import math

import trio


class Metronome:
    """Wakes everybody who waits at the same moments, `interval` seconds apart.

    A timer of its own costs each waiter several times what being woken does. So the first who waits sleeps for
    all; if it is cancelled, the others wake early and one of them takes its place.
    """

    __slots__ = ("_led", "_lot", "interval")

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._lot = trio.lowlevel.ParkingLot()
        self._led = False

    async def beat(self) -> None:
        """Wait until the next beat, or now and then a little less."""
        if self._led:
            await self._lot.park()
            return
        self._led = True
        try:
            # A thousandth more, or rounding may find the present beat to be the next one.
            past = math.floor(trio.current_time() / self.interval + 0.001)
            await trio.sleep_until((past + 1) * self.interval)
        finally:
            self._led = False
            self._lot.unpark_all()

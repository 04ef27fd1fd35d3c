"""How busy this worker's loop is, and how long work that gains by being joined should wait therefore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import trio

SPARE, FULL = 0.5, 0.85
"""Shares of the time: less is no load, and nothing waits; from the greater one on things wait the longest."""
LONGEST = 0.025
"""Seconds: too short to be seen by anybody."""
LOOK, MEMORY = 0.02, 0.15
"""Seconds that are looked at together, and over which the share is averaged."""


class Load(trio.abc.Instrument):
    """Measures what share of the time the loop does not wait for something to happen.

    Not the processor's time: where others have the processor, or a quota is used up, the loop is no less behind.
    """

    def __init__(self) -> None:
        self.busy = 0.0
        self.need = 0.0
        """From 0, while there is time to spare, to 1, where there is none: how much it is worth to wait and join."""
        self.rest = 0.0
        """Seconds that work may wait for more of its kind; 0 while there is time to spare."""
        self._idle = 0.0
        self._waits_since = 0.0
        self._since = perf_counter()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the loop of the calling task while the block runs."""
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)

    def before_io_wait(self, timeout: float) -> None:
        """The loop has nothing to run."""
        if timeout > 0:
            self._waits_since = perf_counter()

    def after_io_wait(self, timeout: float) -> None:
        """Something has happened, or it is time."""
        now = perf_counter()
        if timeout > 0:
            self._idle += now - self._waits_since
        if now - self._since >= LOOK:
            self.observe(now - self._since, self._idle)
            self._since, self._idle = now, 0.0

    def observe(self, passed: float, idle: float) -> None:
        """Take in that the loop waited `idle` of `passed` seconds."""
        share = 1.0 - min(1.0, idle / passed)
        self.busy += (share - self.busy) * min(1.0, passed / MEMORY)
        self.need = min(1.0, max(0.0, (self.busy - SPARE) / (FULL - SPARE)))
        self.rest = LONGEST * self.need

"""Wall time, from one place that a test can replace. Deadlines use `trio.current_time()` instead."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime

import trio


class Clock(ABC):
    """What rows and tokens take their times from."""

    __slots__ = ()

    @abstractmethod
    def time(self) -> float:
        """Seconds since the epoch."""

    def now(self) -> datetime:
        """The same as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)


class SystemClock(Clock):
    """The machine's own clock."""

    __slots__ = ()

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class VirtualClock(Clock):
    """Wall time that follows Trio's clock, so that a test on a `MockClock` has one time only."""

    __slots__ = ("_epoch",)

    def __init__(self, epoch: float = 1_700_000_000.0) -> None:
        self._epoch = epoch

    def time(self) -> float:
        """Seconds since the epoch: the given one plus `trio.current_time()`."""
        return self._epoch + trio.current_time()

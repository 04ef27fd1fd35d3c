"""Every deadline that would otherwise be a task: one heap, one task that sleeps to the earliest."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from itertools import count

import trio

log = logging.getLogger(__name__)


class Timer:
    """One deadline. `cancel` is cheap and may be called at any time, also after it has fired."""

    __slots__ = ("_owner", "callback", "deadline")

    def __init__(self, deadline: float, callback: Callable[[], None], owner: Timers) -> None:
        self.deadline = deadline
        self.callback: Callable[[], None] | None = callback
        self._owner = owner

    def cancel(self) -> None:
        """The callback will not be called any more."""
        if self.callback is not None:
            self.callback = None
            self._owner._forget_one()


class Timers:
    """Calls plain functions at deadlines of Trio's clock.

    The one place where callbacks are allowed: a callback only sets state, queues a frame or cancels a scope. One that
    raises is logged and harms no other.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._cancelled = 0
        self._earlier = trio.Event()

    def at(self, deadline: float, callback: Callable[[], None]) -> Timer:
        """Call `callback()` once `trio.current_time()` has reached `deadline`."""
        timer = Timer(deadline, callback, self)
        first = not self._heap or deadline < self._heap[0][0]
        heapq.heappush(self._heap, (deadline, next(self._order), timer))
        if first:
            self._earlier.set()
        return timer

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """The same, `seconds` from now."""
        return self.at(trio.current_time() + seconds, callback)

    async def run(self) -> None:
        """Serve until cancelled; the kernel holds one task of this."""
        while True:
            self._earlier = trio.Event()
            self._fire(trio.current_time())
            deadline = self._heap[0][0] if self._heap else float("inf")
            with trio.move_on_at(deadline):
                await self._earlier.wait()

    def _fire(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            timer = heapq.heappop(heap)[2]
            callback, timer.callback = timer.callback, None
            if callback is None:
                self._cancelled -= 1
                continue
            try:
                callback()
            except Exception:
                log.exception("a timer's callback failed")

    def _forget_one(self) -> None:
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 4 > len(self._heap):
            self._heap[:] = [item for item in self._heap if item[2].callback is not None]  # `_fire` holds the same list
            heapq.heapify(self._heap)
            self._cancelled = 0

"""Tokens at even distances, each stamped with the time at which it was due."""

from __future__ import annotations

import time

import trio

BATCH = 32  # tokens before others get a turn while behind
LEAST = 0.001  # seconds of a sleep: what has become due meanwhile comes together


def token(at: int, size: int) -> str:
    """A token of `size` characters that says when it was written (monotonic nanoseconds)."""
    return f"@{at:016x}".ljust(size, ".")


class Pace:
    """When token k is due: `rate` a second, or as soon as the others have had their turn (0)."""

    def __init__(self, rate: float) -> None:
        self._interval = 1e9 / rate if rate else 0.0
        self._start = time.monotonic_ns()

    async def wait(self, k: int) -> int:
        """Return at the time of token k, which is given."""
        if not self._interval:
            await trio.lowlevel.checkpoint()
            return time.monotonic_ns()
        due = self._start + int(k * self._interval)
        ahead = due - time.monotonic_ns()
        if ahead > 0:
            await trio.sleep(max(LEAST, ahead / 1e9))
        elif k % BATCH == 0:
            await trio.lowlevel.checkpoint()
        return due

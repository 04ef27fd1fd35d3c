"""The jobs at work on this machine, and the end of all of them (protocol §7.1, §8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import trio

from wegent.client.monitor import Monitor
from wegent.client.running import LocalRun, Send


class LocalRuns(Mapping[tuple[int, int], LocalRun]):
    """The attempts at work here, by subtask and attempt."""

    def __init__(self, monitor: Monitor) -> None:
        self._runs: dict[tuple[int, int], LocalRun] = {}
        self._monitor = monitor
        self._freed = trio.Event()

    def __getitem__(self, key: tuple[int, int]) -> LocalRun:
        return self._runs[key]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def begin(self, nursery: trio.Nursery, run: LocalRun, send: Send, *, every: float) -> None:
        """Let it live, see `LocalRun.live`. One of the same attempt, which came back by another lease, is stopped."""
        if (earlier := self._runs.get(run.key)) is not None:
            earlier.stop()
        self._runs[run.key] = run
        nursery.start_soon(self._live, run, send, every)

    async def _live(self, run: LocalRun, send: Send, every: float) -> None:
        self._monitor.began(run)
        try:
            await run.live(send, every=every)
        finally:
            if self._runs.get(run.key) is run:
                del self._runs[run.key]
            self._freed.set()
            self._freed = trio.Event()
            self._monitor.ended(run)

    async def freed(self) -> None:
        """Wait until the next of them is over."""
        await self._freed.wait()

    async def finish(self, deadline: float, hurry: trio.Event) -> None:
        """Wait until there are none, or `deadline` (Trio's clock), or `hurry`."""
        with trio.move_on_at(deadline) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, hurry, scope)
                while self._runs:
                    await self.freed()
                nursery.cancel_scope.cancel()


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()

"""Cancels something at its 1st, 2nd, … nth checkpoint, until it completes without being cancelled.

    async def attempt(cut: Cut) -> None:
        sink = MemorySink()
        with trio.CancelScope() as scope, cut.at(scope.cancel):
            await executor.run(job, sink)
        assert not processes_left()

    count = await at_every_checkpoint(attempt)

For executors, engines and whatever else must leave nothing behind. Checkpoints are counted in the task that enters
`cut.at`, and in all tasks below it that begin inside.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio


class Cut(trio.abc.Instrument):
    """Calls something at the nth checkpoint, once. `done`: it was called; `passed` checkpoints were seen."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.passed = 0
        self.done = False
        self._call: Callable[[], object] | None = None
        self._below: trio.lowlevel.Task | None = None
        self._watched: dict[trio.lowlevel.Task, bool] = {}

    @contextmanager
    def at(self, call: Callable[[], object]) -> Iterator[Cut]:
        """Inside, `call()` at the nth checkpoint: plain, it cancels a scope or sets an event."""
        self.begin(call)
        try:
            yield self
        finally:
            self.stop()

    def begin(self, call: Callable[[], object]) -> None:
        """The same without a block: from here on, until `stop`."""
        self._call = call
        self._below = trio.lowlevel.current_task()
        self._watched = {self._below: True}
        trio.lowlevel.add_instrument(self)

    def stop(self) -> None:
        """Count no more."""
        if self._below is not None:
            self._below = None
            trio.lowlevel.remove_instrument(self)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """A task whose parent is watched is watched too."""
        parent = task.parent_nursery
        if parent is not None and self._watched.get(parent.parent_task):
            self._watched[task] = True

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """It is gone."""
        self._watched.pop(task, None)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """The task has come to a checkpoint, where it waits now."""
        if not self.done and task in self._watched:
            self.passed += 1
            if self.passed >= self.nth and self._call is not None:
                self.done = True
                self._call()


async def at_every_checkpoint(attempt: Callable[[Cut], Awaitable[object]], *, most: int = 10_000) -> int:
    """Call `attempt` with a `Cut` at 1, 2, 3, … until one is not cut; how many were.

    Raises:
        AssertionError: there seems to be no end of checkpoints.
    """
    for nth in range(1, most + 1):
        cut = Cut(nth)
        try:
            await attempt(cut)
        finally:
            cut.stop()
        if not cut.done:
            return nth - 1
    message = f"not done after {most} checkpoints"
    raise AssertionError(message)

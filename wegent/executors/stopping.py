"""Cancelling what cannot be cancelled at a checkpoint: a process, a container. It is asked, and then made to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio
from attrs import frozen

T = TypeVar("T")


@frozen
class Step:
    """One way of ending something: `act`, and how many seconds it has to work, those of `act` included."""

    act: Callable[[], Awaitable[object]]
    seconds: float


async def stoppable(work: Callable[[], Awaitable[T]], steps: Sequence[Step]) -> T:
    """Do `work`. Cancelled from outside, take one step after the other until it ends; after the last, cancel it.

    `work` runs shielded, so that it hears the end of what it talks to: no longer than all steps have seconds. Then
    Cancelled goes on, whatever `work` returned or raised meanwhile.
    """
    ended = trio.Event()
    results: list[T] = []
    failures: list[Exception] = []
    scope = trio.CancelScope(shield=True)

    async def shielded() -> None:
        try:
            with scope:
                results.append(await work())
        except Exception as error:
            failures.append(error)
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shielded)
        try:
            await ended.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await _take(steps, ended)
            scope.cancel()
            raise
    if failures:
        raise failures[0]
    return results[0]


async def _take(steps: Sequence[Step], ended: trio.Event) -> None:
    for step in steps:
        with trio.move_on_after(step.seconds):
            await step.act()
            await ended.wait()
            return

"""Cancelling what cannot be cancelled at a checkpoint: a process, a container. It is asked, and then made to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio
from attrs import frozen

T = TypeVar("T")
LAST_WORDS_S = 0.5
"""How long work may still take in what was said, once there is nothing more to stop."""


@frozen
class Step:
    """One way of ending something: `act`, and how many seconds it has to work, those of `act` included."""

    act: Callable[[], Awaitable[object]]
    seconds: float


async def stoppable(
    work: Callable[[], Awaitable[T]], steps: Sequence[Step], gone: Callable[[], Awaitable[object]] | None = None
) -> T:
    """Do `work`. Cancelled from outside, take one step after the other until it ends; after the last, cancel it.

    `work` runs shielded, so that it hears the end of what it talks to: no longer than all steps have seconds, and not
    much longer than `gone` takes to return, which waits until there is nothing left to stop. Then Cancelled goes on,
    whatever `work` returned or raised meanwhile.
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
                await _stop(steps, ended, gone or trio.sleep_forever)
            scope.cancel()
            raise
    if failures:
        raise failures[0]
    return results[0]


async def _stop(steps: Sequence[Step], ended: trio.Event, gone: Callable[[], Awaitable[object]]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_take, steps, ended, nursery.cancel_scope)
        await gone()
        nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS_S


async def _take(steps: Sequence[Step], ended: trio.Event, scope: trio.CancelScope) -> None:
    for step in steps:
        with trio.move_on_after(step.seconds) as waiting:
            await step.act()
            await ended.wait()
        if not waiting.cancelled_caught:
            break
    scope.cancel()

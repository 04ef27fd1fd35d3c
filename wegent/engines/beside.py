"""A task beside a block of code, which keeps its exceptions to itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio


@asynccontextmanager
async def beside(work: Callable[..., Awaitable[Any]]) -> AsyncIterator[None]:
    """Start `work`, run the block, cancel `work`. What the block raises is not put into a group."""
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(work)
        try:
            yield
        except BaseException as error:
            failure = error
        nursery.cancel_scope.shield = True  # else a cancellation from outside would take the place of `failure`
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure

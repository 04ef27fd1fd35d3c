"""Calls that are repeated until the store answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from wegent.core.errors import Overloaded

log = logging.getLogger(__name__)
T = TypeVar("T")
FIRST_S, MOST_S = 0.1, 2.0


async def persist(call: Callable[..., Awaitable[T]], *args: Any) -> T:
    """`await call(*args)`, again and again while the store is away; for what must be done, however late."""
    delay = FIRST_S
    while True:
        try:
            return await call(*args)
        except Overloaded as error:
            log.warning("%s waits for the store: %s", getattr(call, "__name__", "a call"), error.sentence)
        await trio.sleep(delay)
        delay = min(2 * delay, MOST_S)

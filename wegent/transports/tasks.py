"""Tasks of one connection, held by its transport's nursery and ended with the connection.

A nursery and a scope for each connection would be a fifth of what an idle one holds; most have no task but the one
that reads. So the transport's nursery holds them all, and each has a scope for as long as it is at work.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

log = logging.getLogger(__name__)


class ConnectionTasks:
    """Starts tasks that live no longer than their connection. `nursery` outlives all connections of the transport."""

    __slots__ = ("_closed", "_nursery", "_on_failure", "_scopes")

    def __init__(self, nursery: trio.Nursery, on_failure: Callable[[], None]) -> None:
        """`on_failure` is plain: a task raised what it should have handled, and the connection should end."""
        self._nursery = nursery
        self._on_failure = on_failure
        self._scopes: list[trio.CancelScope] = []
        self._closed = False

    def start_soon(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Run a task; after `cancel`, and when the transport ends, nothing begins."""
        if not self._closed and not self._nursery.cancel_scope.cancel_called:
            self._nursery.start_soon(self._run, call, args)

    async def _run(self, call: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        if self._closed:
            return
        scope = trio.CancelScope()
        self._scopes.append(scope)
        try:
            with scope:
                await call(*args)
        except Exception:
            log.exception("a task of a connection failed")
            self._on_failure()
        finally:
            self._scopes.remove(scope)

    def cancel(self) -> None:
        """End them all; for good."""
        self._closed = True
        for scope in self._scopes:
            scope.cancel()

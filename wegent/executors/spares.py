"""Runners that are started before anybody needs them: most of what a short run costs is that start."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import trio

from wegent.core.errors import RunFailed
from wegent.executors.child import Child

_log = logging.getLogger(__name__)
Open = Callable[[Sequence[str]], AbstractAsyncContextManager[Child]]


class Spares:
    """At most one spare runner for each program, and `most` in all, once `serve` is on and the program was used.

    A spare is a child like any other, under a keeper and limits of its own. It serves one run, then it is gone.
    """

    def __init__(self, start: Open, most: int) -> None:
        self._start = start
        self._most = most
        self._ready: dict[tuple[str, ...], Spare] = {}
        self._wanted: list[tuple[str, ...]] = []
        self._wake = trio.Event()
        self._serving = False

    def take(self, program: Sequence[str]) -> Spare | None:
        """The program's spare, if there is one, which is the caller's to close; another is started in its place."""
        key = tuple(program)
        spare = self._ready.pop(key, None)
        if self._serving and key not in self._wanted and len(self._ready) + len(self._wanted) < self._most:
            self._wanted.append(key)
            self._wake.set()
        return spare

    async def serve(self) -> None:
        """Start what is wanted, until cancelled; then end what is left."""
        self._serving = True
        try:
            while True:
                while self._wanted:
                    await self._make(self._wanted[0])
                    del self._wanted[0]  # not before: a `take` meanwhile must not have a second one started
                self._wake = trio.Event()
                await self._wake.wait()
        finally:
            self._serving = False
            with trio.CancelScope(shield=True):
                while self._ready:
                    await self._ready.popitem()[1].aclose()

    async def _make(self, program: tuple[str, ...]) -> None:
        stack = AsyncExitStack()
        try:
            child = await stack.enter_async_context(self._start(program))
        except RunFailed as error:
            _log.warning("no spare runner can be started: %s", error.sentence)
            return
        self._ready[program] = Spare(child, stack)


class Spare:
    """A runner that waits for a place and a job. It may still be starting."""

    def __init__(self, child: Child, stack: AsyncExitStack) -> None:
        self.child = child
        self._stack = stack

    async def place(self, folder: Path, environment: Mapping[str, str]) -> bool:
        """Give it a folder, and what its environment lacks; False if it has ended meanwhile."""
        line = json.dumps({"type": "place", "folder": str(folder), "environment": dict(environment)})
        try:
            await self.child.stdin.send_all(line.encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def aclose(self) -> None:
        """End it, and all that came of it."""
        await self._stack.aclose()

"""Whether this worker lives, and whether it is ready."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from wegent.core.errors import WegentError

Check = Callable[[], Awaitable[None]]
"""Returns if the part works; raises `WegentError` with a sentence if not."""


class Health:
    """Checks by name, made anew each time somebody asks."""

    def __init__(self, *, timeout: float = 3.0) -> None:
        self._checks: dict[str, Check] = {}
        self._dispensable: set[str] = set()
        self._timeout = timeout
        self.draining = False

    def add(self, name: str, check: Check, *, vital: bool = True) -> None:
        """Ask `check` from now on; one that is not `vital` is told of, and the worker is ready without it."""
        self._checks[name] = check
        if not vital:
            self._dispensable.add(name)

    async def ready(self) -> tuple[bool, dict[str, str]]:
        """Whether all is well, and a word on each part."""
        words: dict[str, str] = {"draining": "yes"} if self.draining else {}
        async with trio.open_nursery() as nursery:
            for name, check in self._checks.items():
                nursery.start_soon(self._ask, name, check, words)
        good = all(word == "ok" or name in self._dispensable for name, word in words.items())
        return good and not self.draining, dict(sorted(words.items()))

    async def _ask(self, name: str, check: Check, words: dict[str, str]) -> None:
        words[name] = f"no answer within {self._timeout:g} s"
        try:
            with trio.move_on_after(self._timeout):
                await check()
                words[name] = "ok"
        except WegentError as error:
            words[name] = error.sentence

"""A sink that keeps what it is told, and can be as slow as its test wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from wegent.core.ports.executor import Sink


class MemorySink(Sink):
    """Records every call in order.

    Attributes:
        calls: (method, argument) of every call that returned; for progress and skill the argument is a tuple.
        answers: what `skill` returns, by skill name.
    """

    __slots__ = ("_open", "answers", "calls", "changed")

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.changed = trio.Event()
        self._open = trio.Event()
        self._open.set()

    def hold(self) -> None:
        """From now on calls wait until `release`."""
        self._open = trio.Event()

    def release(self) -> None:
        """Let the calls that wait, and those that come, through."""
        self._open.set()

    @property
    def content(self) -> str:
        """The whole `content` channel."""
        return self._joined("text")

    @property
    def reasoning(self) -> str:
        """The whole `thinking` channel."""
        return self._joined("thinking")

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """Every block as it was set, oldest first."""
        return [argument for name, argument in self.calls if name == "block"]

    def _joined(self, method: str) -> str:
        return "".join(argument for name, argument in self.calls if name == method)

    async def wait_for(self, part: str) -> None:
        """Wait until `part` stands in the content."""
        while part not in self.content:
            self.changed = trio.Event()
            await self.changed.wait()

    async def _record(self, name: str, argument: Any) -> None:
        await trio.lowlevel.checkpoint()
        await self._open.wait()
        self.calls.append((name, argument))
        self.changed.set()

    async def text(self, delta: str) -> None:
        """Record it."""
        await self._record("text", delta)

    async def thinking(self, delta: str) -> None:
        """Record it."""
        await self._record("thinking", delta)

    async def block(self, block: Mapping[str, Any]) -> None:
        """Record it."""
        await self._record("block", dict(block))

    async def progress(self, progress: int, message: str | None = None) -> None:
        """Record it."""
        await self._record("progress", (progress, message))

    async def app(self, app: Mapping[str, Any]) -> None:
        """Record it."""
        await self._record("app", dict(app))

    async def skill(self, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """Record it, and answer what `answers` holds for it."""
        await self._record("skill", (skill_name, action, dict(data)))
        return self.answers.get(skill_name)

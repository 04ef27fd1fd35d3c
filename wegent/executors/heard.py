"""A sink that hands everything on, and keeps the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wegent.core.ports.executor import Sink
from wegent.core.text import clean


class HeardSink(Sink):
    """Hands on; what it keeps is bounded by what the other sink takes."""

    __slots__ = ("_sink", "_texts")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._texts: list[str] = []

    @property
    def said(self) -> str:
        """The content so far."""
        return clean("".join(self._texts))

    async def text(self, delta: str) -> None:
        """See `Sink.text`."""
        await self._sink.text(delta)
        self._texts.append(delta)

    async def thinking(self, delta: str) -> None:
        """See `Sink.thinking`."""
        await self._sink.thinking(delta)

    def text_now(self, delta: str) -> bool:
        """See `Sink.text_now`."""
        taken = self._sink.text_now(delta)
        if taken:
            self._texts.append(delta)
        return taken

    def thinking_now(self, delta: str) -> bool:
        """See `Sink.thinking_now`."""
        return self._sink.thinking_now(delta)

    async def block(self, block: Mapping[str, Any]) -> None:
        """See `Sink.block`."""
        await self._sink.block(block)

    async def progress(self, progress: int, message: str | None = None) -> None:
        """See `Sink.progress`."""
        await self._sink.progress(progress, message)

    async def app(self, app: Mapping[str, Any]) -> None:
        """See `Sink.app`."""
        await self._sink.app(app)

    async def skill(self, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """See `Sink.skill`."""
        return await self._sink.skill(skill_name, action, data)

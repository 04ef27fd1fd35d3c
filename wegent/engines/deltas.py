"""What is said on its way to a sink: adjacent deltas of a channel become one, and the order is kept."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from wegent.core.ports.executor import Sink


class Said(Enum):
    """What an entry is."""

    TEXT = 1
    THINKING = 2
    BLOCK = 3


class Deltas:
    """Collects what one read brought and hands it on in as few calls as keep the order.

    Attributes:
        begun: whether there ever was anything; from then on a request must not be sent anew.
        size: code points of text that wait.
    """

    __slots__ = ("_entries", "_last", "_parts", "begun", "size")

    def __init__(self) -> None:
        self._entries: list[tuple[Said, Any]] = []
        self._last: Said | None = None
        self._parts: list[str] = []
        self.begun = False
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def text(self, delta: str) -> None:
        """Add to the content."""
        self._add(Said.TEXT, delta)

    def thinking(self, delta: str) -> None:
        """Add to the thinking."""
        self._add(Said.THINKING, delta)

    def block(self, block: Mapping[str, Any]) -> None:
        """Set a block."""
        self._entries.append((Said.BLOCK, block))
        self._last = Said.BLOCK
        self.begun = True

    def _add(self, kind: Said, delta: str) -> None:
        if not delta:
            return
        self.size += len(delta)
        if self._last is kind:
            self._parts.append(delta)
            return
        self._parts = [delta]
        self._last = kind
        self._entries.append((kind, self._parts))
        self.begun = True

    def take(self) -> list[tuple[Said, Any]]:
        """All that waits, in order: a text for each stretch of a channel, a mapping for a block."""
        entries = [
            (kind, value if kind is Said.BLOCK else value[0] if len(value) == 1 else "".join(value))
            for kind, value in self._entries
        ]
        self._entries, self._last, self.size = [], None, 0
        return entries

    def write_now(self, sink: Sink) -> bool:
        """Hand on what the sink takes without waiting, in order; whether that was all."""
        entries = self._entries
        while entries:
            kind, value = entries[0]
            if kind is Said.BLOCK:
                return False
            text = value[0] if len(value) == 1 else "".join(value)
            if not (sink.text_now(text) if kind is Said.TEXT else sink.thinking_now(text)):
                return False
            del entries[0]
            self.size -= len(text)
            self._last = entries[-1][0] if entries else None
        return True

    async def flush(self, sink: Sink) -> None:
        """Hand on all that waits; takes as long as the sink does."""
        if not self._entries:
            return
        for kind, value in self.take():
            if kind is Said.TEXT:
                await sink.text(value)
            elif kind is Said.THINKING:
                await sink.thinking(value)
            else:
                await sink.block(value)

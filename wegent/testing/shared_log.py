"""A log that several workers of one process share, for tests on a virtual clock: nothing of it is local."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import trio

from wegent.core.errors import BrokerAway, OffsetMismatch, Sealed
from wegent.core.model import Ending, Entry, Snapshot, StreamId, Text
from wegent.core.ports.fanout import Appended, task_topic
from wegent.core.ports.streamlog import StreamLog
from wegent.core.replica import Replica
from wegent.core.timers import Timers
from wegent.fanout.memory import MemoryFanout, MemoryStreamLog, missing

DELAY = 0.002
"""Seconds from the posting of a text to its answer."""


class SharedMemoryLog(StreamLog):
    """One worker's access to `kept`, which all of them have; appends are announced by the worker's fan-out."""

    def __init__(self, kept: MemoryStreamLog, fanout: MemoryFanout, timers: Timers | None = None) -> None:
        """`timers` are the worker's; with them text can be posted, and is answered a moment later."""
        self._kept = kept
        self._fanout = fanout
        self._timers = timers

    async def append(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """Add entries, and tell of them in the same step."""
        await trio.lowlevel.checkpoint()
        self._append_now(stream, entries)

    def post_text(self, replica: Replica, channel: str, text: str, done: Callable[[bool], None]) -> bool:
        """Add text, and tell of it in the same step."""
        if self._timers is None:
            return False
        try:
            self._append_now(replica.stream, (Text(channel, replica.length(channel), text),))
        except (OffsetMismatch, Sealed):
            self._timers.after(DELAY, lambda: done(False))
        else:
            self._timers.after(DELAY, lambda: done(True))
        return True

    async def read(self, stream: StreamId, since: Mapping[str, int] | None = None) -> Snapshot | None:
        """What the stream holds."""
        return await self._kept.read(stream, since)

    async def restore(self, stream: StreamId, snapshot: Snapshot) -> None:
        """Write back what was lost, and tell of it."""
        await trio.lowlevel.checkpoint()
        self._append_now(stream, missing(self._kept.replica(stream), snapshot))

    async def end(self, stream: StreamId, ending: Ending, *, keep: float) -> None:
        """Seal the stream."""
        await self._kept.end(stream, ending, keep=keep)

    def _append_now(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        self._kept.append_now(stream, entries)
        self._fanout.announce(task_topic(stream.task_id), Appended(stream, tuple(entries)))


class BreakableLog(SharedMemoryLog):
    """One that is away while `away` says so; then nothing that is asked of it is done."""

    def __init__(
        self, kept: MemoryStreamLog, fanout: MemoryFanout, away: Callable[[], bool], timers: Timers | None = None
    ) -> None:
        super().__init__(kept, fanout, timers)
        self._away = away

    async def append(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """Add entries, and tell of them in the same step."""
        await self._there()
        await super().append(stream, entries)

    def post_text(self, replica: Replica, channel: str, text: str, done: Callable[[bool], None]) -> bool:
        """Add text; the answer is lost if the log goes away before it, or is away, which nobody has noticed yet."""

        def answer(good: bool) -> None:
            done(good and not self._away())

        if not self._away():
            return super().post_text(replica, channel, text, answer)
        if self._timers is not None:
            self._timers.after(DELAY, lambda: answer(False))
        return self._timers is not None

    async def read(self, stream: StreamId, since: Mapping[str, int] | None = None) -> Snapshot | None:
        """What the stream holds."""
        await self._there()
        return await super().read(stream, since)

    async def restore(self, stream: StreamId, snapshot: Snapshot) -> None:
        """Write back what was lost, and tell of it."""
        await self._there()
        await super().restore(stream, snapshot)

    async def end(self, stream: StreamId, ending: Ending, *, keep: float) -> None:
        """Seal the stream."""
        await self._there()
        await super().end(stream, ending, keep=keep)

    async def _there(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._away():
            message = "the log is away"
            raise BrokerAway(message)

"""A log that several workers of one process share, for tests on a virtual clock: nothing of it is local."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import trio

from wegent.core.errors import BrokerAway
from wegent.core.model import Ending, Entry, Snapshot, StreamId
from wegent.core.ports.fanout import Appended, task_topic
from wegent.core.ports.streamlog import StreamLog
from wegent.fanout.memory import MemoryFanout, MemoryStreamLog, missing


class SharedMemoryLog(StreamLog):
    """One worker's access to `kept`, which all of them have; appends are announced by the worker's fan-out."""

    def __init__(self, kept: MemoryStreamLog, fanout: MemoryFanout) -> None:
        self._kept = kept
        self._fanout = fanout

    async def append(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """Add entries, and tell of them in the same step."""
        await trio.lowlevel.checkpoint()
        self._append_now(stream, entries)

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

    def __init__(self, kept: MemoryStreamLog, fanout: MemoryFanout, away: Callable[[], bool]) -> None:
        super().__init__(kept, fanout)
        self._away = away

    async def append(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """Add entries, and tell of them in the same step."""
        await self._there()
        await super().append(stream, entries)

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

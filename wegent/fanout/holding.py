"""A shared log that may go away, and the worker's own copies that are the log meanwhile (protocol §6.6)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import trio

from wegent.core.errors import BrokerAway, OffsetMismatch, Sealed
from wegent.core.model import Ending, EndingStatus, Entry, Snapshot, StreamId
from wegent.core.ports.streamlog import StreamLog
from wegent.core.replica import Replica
from wegent.core.timers import Timers

log = logging.getLogger(__name__)
AGAIN = 1.0
"""Seconds between two attempts to write a stream back to a log that is there and does not take it."""
AT_ONCE = 16
"""Streams that are written back side by side."""
_NOTHING = Ending(EndingStatus.CANCELLED)


class _Held:
    """A stream that this worker writes. `behind`: the shared log may lack some of it.

    `new`: nobody has written it, so whatever the shared log has of it is not of this stream.
    """

    __slots__ = ("behind", "ending", "lock", "new", "not_before", "replica", "until")

    def __init__(self, replica: Replica, *, new: bool) -> None:
        self.replica = replica
        self.new = new
        self.behind = False
        self.not_before = float("-inf")
        self.ending: Ending | None = None
        self.until = float("inf")
        self.lock = trio.Lock()


class HoldingLog(StreamLog):
    """Forwards to a shared log; while that is away, takes what the worker's own streams say, and writes it back later.

    `returned` is to be called whenever the shared log may have lost something, `run` writes back until cancelled. What
    has been taken is bounded by the copies, which the worker has in any case.
    """

    def __init__(self, shared: StreamLog, timers: Timers) -> None:
        self._shared = shared
        self._timers = timers
        self._held: dict[StreamId, _Held] = {}
        self._wake = trio.Event()

    @property
    def behind(self) -> int:
        """How many streams the shared log may lack something of."""
        return sum(held.behind for held in self._held.values())

    def hold(self, replica: Replica, *, new: bool = False) -> None:
        """Have its copy; a stream that was held already keeps its state."""
        held = self._held.get(replica.stream)
        if held is None or new:
            self._held[replica.stream] = _Held(replica, new=new)
        else:
            held.replica = replica

    def forget(self, stream: StreamId) -> None:
        """Let go of the copy."""
        self._held.pop(stream, None)

    async def append(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """Add to the shared log, or where that is away and the stream is held, leave it to the copy."""
        held = self._held.get(stream)
        if held is None:
            await self._shared.append(stream, entries)
            return
        async with held.lock:
            if held.behind and trio.current_time() < held.not_before:
                return
            try:
                await self._begin(held)
                await self._write_back(held)
                await self._append(held, entries)
            except BrokerAway:
                self._fall_behind(held)

    def post_text(self, replica: Replica, channel: str, text: str, done: Callable[[bool], None]) -> bool:
        """To the shared log, if that is there and has all that came before."""
        held = self._held.get(replica.stream)
        if held is None or held.new or held.behind or held.lock.locked():
            return False
        return self._shared.post_text(replica, channel, text, done)

    async def read(self, stream: StreamId, since: Mapping[str, int] | None = None) -> Snapshot | None:
        """What the shared log holds, or where that is away, the copy."""
        try:
            return await self._shared.read(stream, since)
        except BrokerAway:
            if (held := self._held.get(stream)) is None:
                raise
            await trio.lowlevel.checkpoint()
            return held.replica.snapshot(since)

    async def restore(self, stream: StreamId, snapshot: Snapshot) -> None:
        """Write back to the shared log; where that is away, the snapshot is the copy until there is a better one."""
        try:
            await self._shared.restore(stream, snapshot)
        except BrokerAway:
            if stream not in self._held:
                self.hold(Replica.of(stream, snapshot))
            self._fall_behind(self._held[stream])

    async def end(self, stream: StreamId, ending: Ending, *, keep: float) -> None:
        """Seal the stream, in the shared log as soon as that is there."""
        held = self._held.get(stream)
        if held is None:
            await self._shared.end(stream, ending, keep=keep)
            return
        held.ending, held.until = ending, trio.current_time() + keep
        self._timers.after(keep, lambda: self._lapse(held))
        async with held.lock:
            held.behind = True  # for all that is known: once it is sealed, nothing can be mended
            try:
                await self._begin(held)
                await self._write_back(held)
            except BrokerAway:
                self._fall_behind(held)

    def returned(self) -> None:
        """The shared log is there again, and may have lost anything."""
        for held in self._held.values():
            held.behind = True
            held.not_before = float("-inf")
        self._wake.set()

    async def run(self) -> None:
        """Write back what the shared log lacks, until cancelled."""
        limiter = trio.CapacityLimiter(AT_ONCE)
        while True:
            self._wake = trio.Event()
            async with trio.open_nursery() as nursery:
                for held in list(self._held.values()):
                    if held.behind and trio.current_time() >= held.not_before:
                        nursery.start_soon(self._write_back_quietly, held, limiter)
            with trio.move_on_after(AGAIN):
                await self._wake.wait()

    async def _begin(self, held: _Held) -> None:
        """Empty a new stream: an earlier database may have had one of that name."""
        if held.new:
            if await self._shared.read(held.replica.stream) is not None:
                log.warning("stream %s was in the log already, of an earlier database", held.replica.stream)
                await self._shared.end(held.replica.stream, _NOTHING, keep=0)
            held.new = False

    async def _append(self, held: _Held, entries: Sequence[Entry]) -> None:
        stream = held.replica.stream
        try:
            await self._shared.append(stream, entries)
        except OffsetMismatch as error:
            if error.offset >= held.replica.length(error.channel):
                raise
            held.behind = True  # the log has lost something, and nobody said so
            await self._write_back(held)
            await self._shared.append(stream, entries)

    async def _write_back(self, held: _Held) -> None:
        """Bring the shared log up to the copy, and to its ending."""
        if not held.behind:
            return
        replica = held.replica
        known = await self._shared.read(replica.stream, replica.lengths())
        if known is None or (known.ending is None and _lacks(known, replica)):
            await self._shared.restore(replica.stream, replica.snapshot())
        elif known.ending is not None and held.ending is None:
            message = "the stream was ended elsewhere"
            raise Sealed(message)
        if held.ending is not None:
            await self._shared.end(replica.stream, held.ending, keep=max(0.0, held.until - trio.current_time()))
        held.behind = False

    async def _write_back_quietly(self, held: _Held, limiter: trio.CapacityLimiter) -> None:
        async with limiter, held.lock:
            try:
                await self._begin(held)
                await self._write_back(held)
            except BrokerAway:
                self._fall_behind(held)
            except (OffsetMismatch, Sealed) as error:
                log.warning("stream %s can't be written back: %s", held.replica.stream, error.sentence)
                held.behind = False

    def _fall_behind(self, held: _Held) -> None:
        held.behind = True
        held.not_before = trio.current_time() + AGAIN

    def _lapse(self, held: _Held) -> None:
        if self._held.get(held.replica.stream) is held:
            del self._held[held.replica.stream]


def _lacks(known: Snapshot, replica: Replica) -> bool:
    """Whether the copy has something that the log does not have."""
    versions = {value.key: value.version for value in known.values}
    return any(known.lengths.get(channel, 0) < length for channel, length in replica.lengths().items()) or any(
        versions.get(key, -1) < value.version for key, value in replica.values.items()
    )

"""What running streams have said is saved beside their rows, all changed ones in one transaction."""

from __future__ import annotations

import trio

from wegent.core.model import Snapshot, StreamId, Text
from wegent.core.ports.runbook import RunBook, Unsaved
from wegent.core.replica import Replica


class Tail:
    """How much of one stream the store has."""

    __slots__ = ("_lengths", "_versions", "lease", "replica")

    def __init__(self, replica: Replica, lease: str, saved: Snapshot | None = None) -> None:
        """`saved` is what the store has already."""
        self.replica = replica
        self.lease = lease
        self._lengths = {channel: len(text) for channel, text in saved.texts.items()} if saved else {}
        self._versions = {value.key: value.version for value in saved.values} if saved else {}

    def unsaved(self) -> Unsaved | None:
        """What the store does not have yet, if anything."""
        replica, lengths = self.replica, self._lengths
        texts = [
            Text(channel, lengths.get(channel, 0), replica.text(channel, lengths.get(channel, 0)))
            for channel, length in replica.lengths().items()
            if length > lengths.get(channel, 0)
        ]
        values = [v for v in replica.values.values() if v.version > self._versions.get(v.key, 0)]
        return Unsaved(replica.stream, self.lease, [*texts, *values]) if texts or values else None

    def mark_saved(self, unsaved: Unsaved) -> None:
        """The store has it now."""
        for entry in unsaved.entries:
            if isinstance(entry, Text):
                self._lengths[entry.channel] = entry.offset + len(entry.delta)
            else:
                self._versions[entry.key] = entry.version


class Saver:
    """The streams whose text has to be found again should this worker die."""

    def __init__(self, book: RunBook) -> None:
        self._book = book
        self._tails: dict[StreamId, Tail] = {}
        self._turn = trio.Lock()

    def add(self, tail: Tail) -> None:
        """Save it from now on."""
        self._tails[tail.replica.stream] = tail

    def discard(self, tail: Tail) -> None:
        """Save it no more: its row has it, or it is somebody else's."""
        if self._tails.get(tail.replica.stream) is tail:
            del self._tails[tail.replica.stream]

    async def save(self) -> None:
        """Save what is new, in one transaction; raises `StoreAway`.

        One at a time: of two parts that begin at one place, the later commit must be the longer one.
        """
        async with self._turn:
            pairs = [(tail, unsaved) for tail in self._tails.values() if (unsaved := tail.unsaved()) is not None]
            if pairs:
                await self._book.save([unsaved for _, unsaved in pairs])
                for tail, unsaved in pairs:
                    tail.mark_saved(unsaved)

"""The streams that this worker writes, or follows for its viewers: log first, then everybody who watches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from wegent.core.catchup import CatchUp, Chunk, Delta
from wegent.core.errors import OffsetMismatch, Sealed
from wegent.core.model import CONTENT, Ending, EndingStatus, Entry, Snapshot, StreamId, Text, Value
from wegent.core.replica import Replica
from wegent.core.told import Told

if TYPE_CHECKING:
    from wegent.core.ports.streamlog import StreamLog
    from wegent.core.rooms import Rooms
    from wegent.core.timers import Timers


PIECE = 40_000
"""Code points of one chunk of what was heard late; with four bytes each it fits a frame."""
VALUES_SIZE = 200_000
"""Characters of the values of one such chunk, about."""


class Voice(ABC):
    """How the application tells of streams: in which room, and in which words."""

    __slots__ = ()

    @abstractmethod
    def room(self, task_id: int) -> tuple[str, str]:
        """Namespace and name of the room that hears the streams of a task."""

    @abstractmethod
    def chunk(self, chunk: Chunk) -> tuple[str, dict[str, Any]]:
        """Event and payload of new text and values; a plain dict (see `Wire.plain`), for it is made once per delta."""

    def beside(self, task_id: int, value: Value) -> tuple[str, Any] | None:
        """Event and payload that tell of a value once more, for those who wait for it and view no stream."""
        del task_id, value
        return None


class Streams:
    """Replicas of the streams that this worker knows, and for a while after their end: those it writes, and those of
    others that somebody here views.

    A stream is followed from `follow` to `unfollow`: its replica stays the same one, whoever writes it.
    """

    def __init__(self, log: StreamLog, rooms: Rooms, timers: Timers, voice: Voice, *, keep: float = 60.0) -> None:
        self._log = log
        self.local = log.local
        """Whether appending takes no waiting."""
        self._rooms = rooms
        self._timers = timers
        self._voice = voice
        self._keep = keep
        self._replicas: dict[StreamId, Replica] = {}
        self._own: set[StreamId] = set()
        self._followed: set[StreamId] = set()
        self._latest: dict[Replica, Delta | None] = {}
        """What was told last of a stream, if more can be joined to it."""

    def __len__(self) -> int:
        return len(self._replicas)

    def open(self, stream: StreamId, revision: int) -> Replica:
        """Begin a stream that this worker will write; `revision` is the task's at the attempt's start."""
        if self.local:
            replica = self._log.replica(stream)
        else:
            replica = self._replicas.get(stream) or Replica(stream)
        replica.revision = revision
        return self._write(replica, new=True)

    async def recall(self, stream: StreamId, revision: int, snapshot: Snapshot) -> Replica:
        """The same for one that has been written before, of which the store has `snapshot` and the log maybe more."""
        with suppress(Sealed):  # then what was written until then is all there will be
            await self._log.restore(stream, snapshot)
        if self.local:
            return self.open(stream, revision)
        found = await self._log.read(stream) or snapshot
        replica = self._replicas.get(stream)
        if replica is None:
            return self._write(Replica.of(stream, found, revision))
        self.hear(stream, whole(found))
        return self._write(replica)

    def _write(self, replica: Replica, *, new: bool = False) -> Replica:
        self._replicas[replica.stream] = replica
        self._own.add(replica.stream)
        self._log.hold(replica, new=new)
        return replica

    def written(self) -> set[int]:
        """The tasks of which this worker writes a stream that has not ended."""
        return {stream.task_id for stream in self._own if self.running(stream)}

    def room_of(self, task_id: int) -> str:
        """The name of the room that hears the streams of a task."""
        return self._voice.room(task_id)[1]

    def own(self, stream: StreamId) -> bool:
        """Whether this worker writes it."""
        return stream in self._own

    def running(self, stream: StreamId) -> bool:
        """Whether the stream is known here and has not ended."""
        replica = self._replicas.get(stream)
        return replica is not None and replica.ending is None

    def told(self, stream: StreamId) -> bool:
        """Whether it is known here, and who is in the room is told what it says."""
        replica = self._replicas.get(stream)
        return replica is not None and not replica.muted

    async def kept(self, stream: StreamId) -> Snapshot | None:
        """What a shared log has of a stream that some other worker wrote; None where the log is this worker's memory.

        Raises:
            BrokerAway: the log does not answer.
        """
        if self.local:
            await trio.lowlevel.checkpoint()
            return None
        return await self._log.read(stream)

    async def missing(self, stream: StreamId) -> list[Entry]:
        """What the log has of a stream beyond this worker's copy, if it has anything.

        Raises:
            BrokerAway: the log does not answer.
        """
        known = self._replicas.get(stream)
        since = {} if known is None else known.lengths()
        found = await self._log.read(stream, since)
        return [] if found is None else whole(found, since)

    def get(self, stream: StreamId) -> Replica | None:
        """The stream as far as this worker knows it."""
        return self._replicas.get(stream)

    async def append(self, replica: Replica, texts: Mapping[str, str], values: Sequence[Value]) -> None:
        """Add text at the channels' ends, and values: to the log, and from there on to everybody, in one plain step."""
        if self.local:
            await trio.lowlevel.checkpoint()
            self.append_now(replica, texts, values)
            return
        placed, entries = _placed(replica, texts, values)
        await self._log.append(replica.stream, entries)
        if any(replica.length(channel) != offset for channel, (offset, _) in placed.items()):
            if self._replicas.get(replica.stream) is replica:
                self.hear(replica.stream, entries)  # some was heard meanwhile, and told
            return
        replica.apply(entries)
        self._tell(replica, placed, values)

    def append_now(self, replica: Replica, texts: Mapping[str, str], values: Sequence[Value]) -> None:
        """The same without waiting, where the log is `local`."""
        if not values and len(texts) == 1:
            [(channel, text)] = texts.items()
            self.say(replica, text, channel)
            return
        placed, entries = _placed(replica, texts, values)
        self._log.append_now(replica.stream, entries)
        self._tell(replica, placed, values)

    def say(self, replica: Replica, text: str, channel: str = CONTENT, *, gathered: bool = False) -> None:
        """The same for text at the end of one channel: the way of tokens.

        `gathered`: as much has been joined already as the load needs; it is told without waiting for more.
        """
        self._log.append_text(replica, channel, text)
        self._told_text(replica, channel, text, gathered=gathered)

    def post(self, replica: Replica, channel: str, text: str, done: Callable[[str], None]) -> bool:
        """The same where the log is shared: told once the log has it, in the step in which `done` is called, with what
        has to be appended still, since nobody knows whether it is there. Returns False where nothing was begun.
        """
        offset = replica.length(channel)

        def told(good: bool) -> None:
            if good and self._replicas.get(replica.stream) is replica:
                self.hear(replica.stream, (Text(channel, offset, text),))
            done("" if good else text[replica.length(channel) - offset :])  # some may have been heard meanwhile

        return self._log.post_text(replica, channel, text, told)

    def _told_text(self, replica: Replica, channel: str, text: str, *, gathered: bool = False) -> None:
        """Tell what has just been added at the end of a channel."""
        latest = self._latest.get(replica)
        if latest is None or not latest.join(channel, text):
            placed = {channel: (replica.length(channel) - len(text), text)}
            self._tell(replica, placed, (), gathered=gathered)

    def _tell(
        self,
        replica: Replica,
        placed: Mapping[str, tuple[int, str]],
        values: Sequence[Value],
        *,
        gathered: bool = False,
        known: Mapping[str, int] | None = None,
    ) -> None:
        if replica.muted:
            return
        namespace, room = self._voice.room(replica.stream.task_id)
        if (namespace, room) not in self._rooms:
            self._latest.pop(replica, None)
            return
        length = replica.length() if known is None else known.get(CONTENT, 0)
        lengths = None if known is None else dict(known)
        chunk = Chunk(replica.stream, placed, tuple(values), length, gathered, lengths)
        self._latest[replica] = self._rooms.emit_chunk(namespace, room, replica, chunk, self._voice.chunk)
        for value in values:
            if (beside := self._voice.beside(replica.stream.task_id, value)) is not None:
                self._rooms.emit_here(Told(namespace, room, *beside))

    def hear(self, stream: StreamId, entries: Sequence[Entry]) -> bool:
        """Take in what the log has got from another worker, and tell what is new of it; what is there is skipped.

        A stream that nobody has told the start of is muted. False: something before the entries is missing.
        """
        replica = self._replicas.get(stream)
        if replica is None:
            replica = self._replicas[stream] = Replica(stream)
            replica.muted = True
        if replica.ending is not None or not entries:
            return True
        if len(entries) == 1 and isinstance(text := entries[0], Text) and text.offset == replica.length(text.channel):
            replica.append(text.channel, text.delta)
            if not replica.muted:
                self._told_text(replica, text.channel, text.delta)
            return True
        lengths, values = replica.lengths(), replica.newer(entries)
        try:
            replica.apply(entries)
        except OffsetMismatch:
            return False
        self._tell_more(replica, lengths, values)
        return True

    def _tell_more(self, replica: Replica, lengths: Mapping[str, int], values: Sequence[Value]) -> None:
        """Tell what a replica has beyond `lengths`, in pieces that fit a frame."""
        if replica.muted:
            return
        known = {channel: lengths.get(channel, 0) for channel in replica.texts}
        for channel, length in replica.lengths().items():
            for start in range(known[channel], length, PIECE):
                text = replica.text(channel, start, start + PIECE)
                latest = self._latest.get(replica)
                if latest is None or not latest.join(channel, text):
                    self._tell(replica, {channel: (start, text)}, (), known=known)
                known[channel] = start + len(text)
        for group in _groups(values):
            self._tell(replica, {}, group, known=known)

    def mute(self, stream: StreamId) -> None:
        """Tell nobody of it until `meet`."""
        if (replica := self._replicas.get(stream)) is not None:
            replica.muted = True
            self._latest.pop(replica, None)

    def meet(self, stream: StreamId, revision: int, known: Sequence[Entry] = ()) -> None:
        """Its start was told at this revision: what it has said is told now, but for what is `known` to all."""
        replica = self._replicas.get(stream)
        if replica is None:
            replica = self._replicas[stream] = Replica(stream, revision)
            replica.muted = True
        if known:
            self.hear(stream, known)
        if replica.muted:
            replica.muted = False
            replica.revision = replica.revision or revision
            if not known:
                self._tell_more(replica, {}, list(replica.values.values()))

    def over(self, stream: StreamId, status: EndingStatus) -> None:
        """Its ending was told."""
        replica = self._replicas.get(stream)
        if replica is not None and replica.ending is None:
            replica.ending = Ending(status)
            self._latest.pop(replica, None)
            self._timers.after(self._keep, lambda: self._forget(replica))

    def follow(self, stream: StreamId) -> None:
        """Somebody here views it."""
        self._followed.add(stream)

    def unfollow(self, stream: StreamId) -> None:
        """Nobody does any more; a copy of what others write is dropped."""
        self._followed.discard(stream)
        if stream not in self._own and (replica := self._replicas.get(stream)) is not None:
            self._forget(replica)

    async def end(self, replica: Replica, ending: Ending) -> None:
        """Seal the log; the replica stays for those who are still reading it."""
        replica.ending = ending
        self._latest.pop(replica, None)
        stream = replica.stream
        self._timers.after(self._keep, lambda: self._forget(replica))
        await self._log.end(stream, ending, keep=self._keep)

    async def seal(self, stream: StreamId, ending: Ending) -> None:
        """Seal a stream in a shared log whose writer is lost, so that it lapses; raises `BrokerAway`."""
        if not self.local:
            await self._log.end(stream, ending, keep=self._keep)

    def discard(self, replica: Replica) -> None:
        """Write a stream no more whose attempt is no longer this worker's."""
        self._own.discard(replica.stream)
        if replica.stream not in self._followed:
            self._forget(replica)
        self._log.forget(replica.stream)

    def _forget(self, replica: Replica) -> None:
        self._latest.pop(replica, None)
        if self._replicas.get(replica.stream) is replica:
            del self._replicas[replica.stream]
            self._own.discard(replica.stream)
            self._followed.discard(replica.stream)

    def cursor(self, replica: Replica, *, offset: int) -> CatchUp:
        """Everything of a stream from the content offset on: other channels whole, all values (protocol §3, resume)."""
        namespace, room = self._voice.room(replica.stream.task_id)
        return CatchUp(
            replica,
            self._voice.chunk,
            namespace=namespace,
            room=room,
            offsets={"content": offset},
            keys=replica.values,
        )


def _placed(
    replica: Replica, texts: Mapping[str, str], values: Sequence[Value]
) -> tuple[dict[str, tuple[int, str]], list[Entry]]:
    """The texts with their offsets, and all as entries of the log."""
    placed = {channel: (replica.length(channel), delta) for channel, delta in texts.items()}
    entries: list[Entry] = [Text(channel, offset, delta) for channel, (offset, delta) in placed.items()]
    entries.extend(values)
    return placed, entries


def whole(snapshot: Snapshot, since: Mapping[str, int] | None = None) -> list[Entry]:
    """All that a snapshot holds, read from `since` on, as entries."""
    since = since or {}
    texts = [Text(channel, since.get(channel, 0), text) for channel, text in snapshot.texts.items() if text]
    return [*texts, *snapshot.values]


def _groups(values: Sequence[Value]) -> Iterator[list[Value]]:
    group: list[Value] = []
    size = 0
    for value in values:
        weight = len(repr(value.data))
        if group and size + weight > VALUES_SIZE:
            yield group
            group, size = [], 0
        group.append(value)
        size += weight
    if group:
        yield group

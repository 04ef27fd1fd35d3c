"""The streams of this worker's runs: log first, then everybody who watches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from wegent.core.catchup import CatchUp, Chunk, Delta
from wegent.core.errors import Sealed
from wegent.core.model import CONTENT, Ending, Entry, Snapshot, StreamId, Text, Value
from wegent.core.replica import Replica

if TYPE_CHECKING:
    from wegent.core.ports.streamlog import StreamLog
    from wegent.core.rooms import Rooms
    from wegent.core.timers import Timers


class Voice(ABC):
    """How the application tells of streams: in which room, and in which words."""

    __slots__ = ()

    @abstractmethod
    def room(self, task_id: int) -> tuple[str, str]:
        """Namespace and name of the room that hears the streams of a task."""

    @abstractmethod
    def chunk(self, chunk: Chunk) -> tuple[str, dict[str, Any]]:
        """Event and payload of new text and values; a plain dict (see `Wire.plain`), for it is made once per delta."""


class Streams:
    """Replicas of the streams that this worker knows: its own runs', and for a while after their end."""

    def __init__(self, log: StreamLog, rooms: Rooms, timers: Timers, voice: Voice, *, keep: float = 60.0) -> None:
        self._log = log
        self.local = log.local
        """Whether appending takes no waiting."""
        self._rooms = rooms
        self._timers = timers
        self._voice = voice
        self._keep = keep
        self._replicas: dict[StreamId, Replica] = {}
        self._latest: dict[Replica, Delta | None] = {}
        """What was told last of a stream, if more can be joined to it."""

    def __len__(self) -> int:
        return len(self._replicas)

    def open(self, stream: StreamId, revision: int) -> Replica:
        """Begin a stream that this worker will write; `revision` is the task's at the attempt's start."""
        replica = self._log.replica(stream) if self.local else Replica(stream)
        replica.revision = revision
        return self._keep_copy(replica, new=True)

    async def recall(self, stream: StreamId, revision: int, snapshot: Snapshot) -> Replica:
        """The same for one that has been written before, of which the store has `snapshot` and the log maybe more."""
        with suppress(Sealed):  # then what was written until then is all there will be
            await self._log.restore(stream, snapshot)
        if self.local:
            return self.open(stream, revision)
        found = await self._log.read(stream)
        return self._keep_copy(Replica.of(stream, found or snapshot, revision))

    def _keep_copy(self, replica: Replica, *, new: bool = False) -> Replica:
        self._replicas[replica.stream] = replica
        self._log.hold(replica, new=new)
        return replica

    async def kept(self, stream: StreamId) -> Snapshot | None:
        """What a shared log has of a stream that some other worker wrote; None where the log is this worker's memory.

        Raises:
            BrokerAway: the log does not answer.
        """
        if self.local:
            await trio.lowlevel.checkpoint()
            return None
        return await self._log.read(stream)

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
    ) -> None:
        namespace, room = self._voice.room(replica.stream.task_id)
        chunk = Chunk(replica.stream, placed, tuple(values), replica.length(), gathered)
        self._latest[replica] = self._rooms.emit_chunk(namespace, room, replica, chunk, self._voice.chunk)

    async def end(self, replica: Replica, ending: Ending) -> None:
        """Seal the log; the replica stays for those who are still reading it."""
        replica.ending = ending
        self._latest.pop(replica, None)
        stream = replica.stream
        self._timers.after(self._keep, lambda: self._forget(replica))
        await self._log.end(stream, ending, keep=self._keep)

    def discard(self, replica: Replica) -> None:
        """Forget a stream whose attempt is no longer this worker's."""
        self._forget(replica)
        self._log.forget(replica.stream)

    def _forget(self, replica: Replica) -> None:
        self._latest.pop(replica, None)
        if self._replicas.get(replica.stream) is replica:
            del self._replicas[replica.stream]

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

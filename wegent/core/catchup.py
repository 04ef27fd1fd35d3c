"""What a connection has missed of a stream, made into chunks when their turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from wegent.core.model import CONTENT, StreamId, Value

if TYPE_CHECKING:
    from wegent.core.ports.wire import Wire
    from wegent.core.replica import Replica
    from wegent.core.rooms import Room

FRAME_BUDGET = 500_000
"""Bytes of text and values in one chunk; what surrounds them fits below the limit of a frame, 512 KiB."""
JOINED = 512
"""Code points that a delta grows to at most by joining."""


@frozen
class Chunk:
    """New text of one stream, by channel as (offset, delta), and values that changed.

    `length` is that of the content channel as its receivers know it before the chunk, in code points; `lengths` those
    of all channels, where that is not what the replica held before. What is `gathered` leaves at once; else it may
    wait for more to be joined with.
    """

    stream: StreamId
    texts: Mapping[str, tuple[int, str]]
    values: tuple[Value, ...] = ()
    length: int = 0
    gathered: bool = False
    lengths: Mapping[str, int] | None = None


Render = Callable[[Chunk], tuple[str, dict[str, Any]]]
"""Makes a chunk into the event and payload that clients know; see `Wire.plain` for what it may be made of."""


class CatchUp:
    """A cursor in a stream for one session: everything from here to the replica's end is still to be sent.

    Text that arrives while the cursor waits costs nothing, it is read from the shared replica when its turn comes.
    """

    __slots__ = ("keys", "namespace", "offsets", "render", "replica", "room")

    def __init__(
        self,
        replica: Replica,
        render: Render,
        *,
        namespace: str,
        room: str,
        offsets: Mapping[str, int],
        keys: Iterable[str] = (),
    ) -> None:
        self.replica = replica
        self.render = render
        self.namespace = namespace
        self.room = room
        self.offsets = dict(offsets)
        self.keys = dict.fromkeys(keys)

    @classmethod
    def behind(cls, delta: Delta) -> CatchUp:
        """The cursor of one who has had everything before this delta."""
        known = delta.chunk.lengths
        offsets = delta.replica.lengths() if known is None else dict(known)
        offsets.update((channel, offset) for channel, (offset, _) in delta.chunk.texts.items())
        keys = (value.key for value in delta.chunk.values)
        return cls(
            delta.replica,
            delta.render,
            namespace=delta.namespace,
            room=delta.room,
            offsets=offsets,
            keys=keys,
        )

    def miss(self, values: Iterable[Value]) -> None:
        """Note values that changed while the cursor waits; text needs no note."""
        for value in values:
            self.keys[value.key] = None

    def next(self, wire: Wire, budget: int = FRAME_BUDGET) -> bytes | None:
        """The next chunk's frame, of at most `budget` bytes of text and values; None when all is sent."""
        left = budget
        texts: dict[str, tuple[int, str]] = {}
        for channel, text in self.replica.texts.items():
            start = self.offsets.get(channel, 0)
            stop, taken = text.fit(start, left)
            if stop == start:
                continue
            texts[channel] = (start, text.slice(start, stop))
            self.offsets[channel] = stop
            left -= taken
            if left < budget // 8 or stop < len(text):
                return self._frame(wire, texts, ())
        values = self._values(left, empty=not texts)
        return self._frame(wire, texts, values) if texts or values else None

    def _values(self, left: int, *, empty: bool) -> tuple[Value, ...]:
        taken: list[Value] = []
        for key in list(self.keys):
            value = self.replica.values[key]
            left -= 2 * len(repr(value.data))
            if left < 0 and (taken or not empty):
                break
            del self.keys[key]
            taken.append(value)
        return tuple(taken)

    def _frame(self, wire: Wire, texts: Mapping[str, tuple[int, str]], values: tuple[Value, ...]) -> bytes:
        event, payload = self.render(Chunk(self.replica.stream, texts, values, self.offsets.get(CONTENT, 0)))
        return wire.plain(self.namespace, event, payload)


class Emission:
    """One event to many: spelled once for each wire that somebody listens on, and shared."""

    __slots__ = ("_frames", "event", "namespace", "payload")

    def __init__(self, namespace: str, event: str, payload: Any) -> None:
        self.namespace = namespace
        self.event = event
        self.payload = payload
        self._frames: dict[Wire, bytes] = {}

    def spell(self, wire: Wire) -> bytes:
        """The event's bytes on this wire."""
        frame = self._frames.get(wire)
        if frame is None:
            frame = self._frames[wire] = wire.event(self.namespace, self.event, self.payload)
        return frame


class Delta:
    """A chunk on its way to a room: what receivers get who are not behind.

    A short one of one channel's text takes in what follows it, as long as nobody's copy has become bytes: under load a
    stream's tokens leave together, and each costs the same however many hear it.
    """

    __slots__ = (
        "_channel", "_frames", "_left", "_more", "_room", "_turn",
        "chunk", "namespace", "render", "replica", "room", "size",
    )  # fmt: skip

    def __init__(self, replica: Replica, chunk: Chunk, render: Render, namespace: str, room: str) -> None:
        self.replica = replica
        self.chunk = chunk
        self.render = render
        self.namespace = namespace
        self.room = room
        self.size = 0
        """What it may become, in bytes; 0: nothing else than it is."""
        self._frames: dict[Wire, bytes] = {}
        self._more: list[str] = []
        self._room: Room | None = None
        self._left = self._turn = 0
        self._channel = ""
        if not chunk.values and len(chunk.texts) == 1:
            [(self._channel, (_, text))] = chunk.texts.items()
            if len(text) < JOINED:
                self.size, self._left = len(text) + JOINED, JOINED - len(text)

    def keep_open(self, room: Room) -> Delta:
        """Take more in from now on, while the room stays as it is."""
        self._room, self._turn = room, room.turn
        return self

    def join(self, channel: str, text: str) -> bool:
        """Take in text that follows, for all who have this queued; False: too late, tell it by itself."""
        room = self._room
        if room is None or room.turn != self._turn or channel != self._channel or len(text) > self._left:
            return False
        self._more.append(text)
        self._left -= len(text)
        return True

    def spell(self, wire: Wire) -> bytes:
        """The chunk's bytes on this wire; it takes nothing in any more."""
        frame = self._frames.get(wire)
        if frame is None:
            self._close()
            event, payload = self.render(self.chunk)
            frame = self._frames[wire] = wire.plain(self.namespace, event, payload)
        return frame

    def _close(self) -> None:
        self._room = None
        if self._more:
            offset, text = self.chunk.texts[self._channel]
            text = "".join((text, *self._more))
            chunk = self.chunk
            self.chunk = Chunk(chunk.stream, {self._channel: (offset, text)}, (), chunk.length, lengths=chunk.lengths)
            self._more = []

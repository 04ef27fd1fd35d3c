"""What a connection has missed of a stream, made into chunks when their turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from wegent.core.model import CONTENT, StreamId, Value

if TYPE_CHECKING:
    from wegent.core.ports.wire import Wire
    from wegent.core.replica import Replica

FRAME_BUDGET = 500_000
"""Bytes of text and values in one chunk; what surrounds them fits below the limit of a frame, 512 KiB."""


@frozen
class Chunk:
    """New text of one stream, by channel as (offset, delta), and values that changed.

    `length` is that of the content channel as its receivers know it before the chunk, in code points.
    """

    stream: StreamId
    texts: Mapping[str, tuple[int, str]]
    values: tuple[Value, ...] = ()
    length: int = 0


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
        offsets = delta.replica.lengths()
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


class Delta(Emission):
    """A chunk on its way to a room: what receivers get who are not behind."""

    __slots__ = ("chunk", "render", "replica", "room")

    def __init__(self, replica: Replica, chunk: Chunk, render: Render, namespace: str, room: str) -> None:
        event, payload = render(chunk)
        super().__init__(namespace, event, payload)
        self.replica = replica
        self.chunk = chunk
        self.render = render
        self.room = room

    def spell(self, wire: Wire) -> bytes:
        """The chunk's bytes on this wire."""
        frame = self._frames.get(wire)
        if frame is None:
            frame = self._frames[wire] = wire.plain(self.namespace, self.event, self.payload)
        return frame

"""The sink that runs write to: a pending batch, and one append in flight."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from wegent.core.errors import RunFailed
from wegent.core.model import CONTENT, THINKING, Value
from wegent.core.ports.executor import Sink
from wegent.core.text import SurrogateJoiner
from wegent.core.values import PIECE, Values, output_limit

if TYPE_CHECKING:
    from wegent.core.clock import Clock
    from wegent.core.replica import Replica
    from wegent.core.streams import Streams

PENDING_LIMIT = 65_536
"""Code points that may wait for the append in flight."""
MOST_WAITING = 256
"""Values that may wait for the append in flight."""
PATIENCE = 5.0
"""Seconds that the end of a run waits for the answer to what it has posted, at most."""
Ask = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]


class StreamSink(Sink):
    """Joins what a run says while an append is under way into the next one; `pump` does the appending."""

    __slots__ = (
        "_ask", "_closed", "_failure", "_idle", "_in_flight", "_joiners", "_known", "_left", "_length", "_pending",
        "_posting", "_refused", "_replica", "_room", "_size", "_streams", "_values", "_wake", "on_first_text",
    )  # fmt: skip

    def __init__(
        self, streams: Streams, replica: Replica, clock: Clock, *, max_length: int, ask: Ask | None = None
    ) -> None:
        self._streams = streams
        self._replica = replica
        self._ask = ask
        self._left = max_length
        self._length = replica.length()
        self._known = Values(clock, replica.values)
        self._joiners: dict[str, SurrogateJoiner] = {}
        self._pending: dict[str, list[str]] = {}
        self._values: dict[str, Value] = {}
        self._size = 0
        self._in_flight = False
        self._posting = not streams.local
        self._refused = False
        self._wake = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._idle = trio.lowlevel.ParkingLot()
        self._failure: Exception | None = None
        self.on_first_text: Callable[[], None] | None = None
        self._closed = False

    async def text(self, delta: str) -> None:
        """Append to the `content` channel."""
        if not self._append_now(CONTENT, delta, gathered=False):
            self._add(CONTENT, delta)
        await self._wait_for_room()

    async def thinking(self, delta: str) -> None:
        """Append to the `thinking` channel."""
        if not self._append_now(THINKING, delta, gathered=False):
            self._add(THINKING, delta)
        await self._wait_for_room()

    def text_now(self, delta: str) -> bool:
        """Append to the `content` channel, if the log is here and nothing waits to be appended before."""
        return self._append_now(CONTENT, delta, gathered=True)

    def thinking_now(self, delta: str) -> bool:
        """Append to the `thinking` channel, likewise."""
        return self._append_now(THINKING, delta, gathered=True)

    async def block(self, block: Mapping[str, Any]) -> None:
        """Set a block; see the port."""
        await self._set(self._known.block(block, self._length))

    async def progress(self, progress: int, message: str | None = None) -> None:
        """Tell how far the work is, 0 to 100."""
        await self._set(self._known.progress(progress, message))

    async def app(self, app: Mapping[str, Any]) -> None:
        """Tell of a running app's preview."""
        await self._set(self._known.app(app))

    async def skill(self, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """Ask the viewers of the task, behind all that was said before."""
        if self._ask is None:
            message = "this server has nobody to ask for skills"
            raise RunFailed(message, type="protocol")
        await self.flush()
        return await self._ask(skill_name, action, data)

    async def flush(self) -> None:
        """Return when all that was written so far is in the log, or dropped because the sink was closed."""
        while self._size or self._values or self._in_flight:
            await self._idle.park()
        await trio.lowlevel.checkpoint()

    async def finish(self) -> None:
        """What the joiners kept back, then `flush`."""
        for channel, joiner in self._joiners.items():
            if rest := joiner.finish():
                self._queue(channel, rest)
        await self.flush()

    async def pump(self) -> None:
        """Append what is pending and was not posted, one batch at a time, until cancelled."""
        try:
            while True:
                while self._in_flight or not self.pending:
                    await self._wake.park()
                if not self._post():
                    await self._append_pending()
        finally:
            self._posting = False
            with trio.move_on_after(PATIENCE, shield=True):
                while self._in_flight:
                    await self._idle.park()

    async def _append_pending(self) -> None:
        """One append of what waits now; cancellation waits until it is done, for a half is not to be had."""
        texts, values = self._take()
        self._in_flight, self._refused = True, False
        try:
            with trio.CancelScope(shield=True):
                await self._streams.append(self._replica, texts, values)
        finally:
            self._in_flight = False
            if not self.pending:
                self._idle.unpark_all()
        self._room.unpark_all()

    def _begin(self) -> None:
        """See that what is pending is appended: at once if it can be posted, else by the pump."""
        if not (self._in_flight or self._post()) and self._wake:
            self._wake.unpark()

    def _post(self) -> bool:
        """Hand what waits to the log in this very step, where that is text of one channel: no task wakes for it."""
        if not self._posting or self._refused or self._values or len(self._pending) != 1 or self._size > PIECE:
            return False
        [(channel, deltas)] = self._pending.items()
        text = "".join(deltas)
        if not self._streams.post(self._replica, channel, text, partial(self._posted, channel)):
            return False
        self._told_first()
        self._pending, self._size, self._in_flight = {}, 0, True
        return True

    def _posted(self, channel: str, rest: str) -> None:
        self._in_flight = False
        if rest and not self._closed:  # the pump appends it once more, and knows what to do where that fails
            self._pending = {channel: [rest, *self._pending.pop(channel, [])], **self._pending}
            self._size += len(rest)
            self._refused = True
            self._wake.unpark()
        elif self.pending:
            self._begin()
        if self._idle:
            self._idle.unpark_all()
        if self._room:
            self._room.unpark_all()

    def close(self) -> None:
        """Take no more: what has not been appended, and what is written from now on, is dropped."""
        self._closed = True
        self._pending, self._values, self._size = {}, {}, 0
        self._room.unpark_all()
        if not self._in_flight:
            self._idle.unpark_all()

    @property
    def pending(self) -> bool:
        """Whether anything has not been appended yet."""
        return bool(self._size or self._values)

    @property
    def failure(self) -> Exception | None:
        """Why the run must fail, whatever its executor makes of it: it wrote more than is kept."""
        return self._failure

    def _append_now(self, channel: str, delta: str, *, gathered: bool) -> bool:
        waits = self._size or self._values or self._in_flight
        if waits or self._closed or not self._streams.local or len(delta) >= min(self._left, PIECE):
            return False
        if text := self._joined(channel, delta):
            self._left -= len(text)
            self._length += len(text) if channel == CONTENT else 0
            self._told_first()
            self._streams.say(self._replica, text, channel, gathered=gathered)
        return True

    def _add(self, channel: str, delta: str) -> None:
        if delta := self._joined(channel, delta):
            self._queue(channel, delta)

    def _joined(self, channel: str, delta: str) -> str:
        joiner = self._joiners.get(channel)
        if joiner is None:
            joiner = self._joiners[channel] = SurrogateJoiner()
        return joiner.feed(delta)

    def _queue(self, channel: str, delta: str) -> None:
        if self._closed:
            return
        if len(delta) > self._left:
            self._fail()
            delta = delta[: self._left]
        self._left -= len(delta)
        if delta:
            self._pending.setdefault(channel, []).append(delta)
            self._size += len(delta)
            self._length += len(delta) if channel == CONTENT else 0
            self._begin()

    def _fail(self) -> None:
        self._failure = output_limit()

    async def _set(self, value: Value) -> None:
        if not self._known.add(value):
            self._fail()
        elif not self._closed:
            self._values[value.key] = value
            self._wake.unpark()
        await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        self._check()
        await trio.lowlevel.checkpoint()
        while self._size > PENDING_LIMIT or len(self._values) > MOST_WAITING:
            await self._room.park()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _told_first(self) -> None:
        if self.on_first_text is not None:
            self.on_first_text()
            self.on_first_text = None

    def _take(self) -> tuple[dict[str, str], list[Value]]:
        if self._pending:
            self._told_first()
        texts = {channel: "".join(deltas) for channel, deltas in self._pending.items()}
        values = list(self._values.values())
        self._pending, self._values, self._size = {}, {}, 0
        left = PIECE
        for channel, text in texts.items():
            piece, rest = text[:left], text[left:]
            left -= len(piece)
            texts[channel] = piece
            if rest:
                self._pending[channel] = [rest]
                self._size += len(rest)
        if self._size:  # values tell of text before them: they wait until it is there
            self._values, values = {value.key: value for value in values}, []
        return {channel: text for channel, text in texts.items() if text}, values

"""The sink that runs write to: a pending batch, and one append in flight."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from wegent.core.errors import InvalidPayload, RunFailed
from wegent.core.model import CONTENT, THINKING, Value
from wegent.core.ports.executor import Sink
from wegent.core.text import SurrogateJoiner, clean

if TYPE_CHECKING:
    from wegent.core.clock import Clock
    from wegent.core.replica import Replica
    from wegent.core.streams import Streams

PENDING_LIMIT = 65_536
"""Code points that may wait for the append in flight."""
PIECE = 65_536
"""Code points of one append at most: its chunk fits a frame whatever it holds."""
VALUE_LIMIT = 100_000
"""Code points of one string within a block."""

Ask = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]
_MERGED = ("type", "tool_name", "tool_input", "tool_output", "status", "timestamp")


class StreamSink(Sink):
    """Joins what a run says while an append is under way into the next one; `pump` does the appending."""

    __slots__ = (
        "_ask", "_clock", "_closed", "_failure", "_idle", "_in_flight", "_joiners", "_left", "_pending", "_replica",
        "_room", "_size", "_streams", "_values", "_wake",
    )  # fmt: skip

    def __init__(
        self, streams: Streams, replica: Replica, clock: Clock, *, max_length: int, ask: Ask | None = None
    ) -> None:
        self._streams = streams
        self._replica = replica
        self._clock = clock
        self._ask = ask
        self._left = max_length
        self._joiners: dict[str, SurrogateJoiner] = {}
        self._pending: dict[str, list[str]] = {}
        self._values: dict[str, Value] = {}
        self._size = 0
        self._in_flight = False
        self._wake = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._idle = trio.lowlevel.ParkingLot()
        self._failure: Exception | None = None
        self._closed = False

    async def text(self, delta: str) -> None:
        """Append to the `content` channel."""
        self._add(CONTENT, delta)
        await self._wait_for_room()

    async def thinking(self, delta: str) -> None:
        """Append to the `thinking` channel."""
        self._add(THINKING, delta)
        await self._wait_for_room()

    async def block(self, block: Mapping[str, Any]) -> None:
        """Set a block; see the port."""
        block_id = block.get("id")
        if not isinstance(block_id, str) or not block_id:
            message = "a block needs an `id`, a string that names it within its stream"
            raise InvalidPayload(message)
        key = f"block:{block_id}"
        known = self._values.get(key) or self._replica.values.get(key)
        data: dict[str, Any] = {"id": block_id, "type": "tool", "status": "pending"}
        if known is not None:
            data.update(known.data)
        data.update((name, _bounded(block[name])) for name in _MERGED if block.get(name) is not None)
        data["version"] = max(int(block.get("version") or 0), known.version + 1 if known is not None else 1)
        data.setdefault("timestamp", self._clock.now().isoformat())
        data.setdefault("at", int(block["at"]) if block.get("at") is not None else self._length())
        await self._set(Value(key, data["version"], "block", data))

    async def progress(self, progress: int, message: str | None = None) -> None:
        """Tell how far the work is, 0 to 100."""
        data: dict[str, Any] = {"progress": max(0, min(100, int(progress)))}
        if message:
            data["message"] = clean(message)[:500]
        await self._set(Value("progress", self._version("progress"), "progress", data))

    async def app(self, app: Mapping[str, Any]) -> None:
        """Tell of a running app's preview."""
        data = {name: _bounded(app.get(name)) for name in ("name", "address", "previewUrl")}
        await self._set(Value("app", self._version("app"), "app", data))

    async def skill(self, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """Ask the viewers of the task."""
        if self._ask is None:
            message = "this server has nobody to ask for skills"
            raise RunFailed(message, type="protocol")
        return await self._ask(skill_name, action, data)

    async def flush(self) -> None:
        """Return when all that was written so far is in the log."""
        if self._streams.local:
            self._append_now()
        while self._size or self._values or self._in_flight:
            await self._idle.park()
            self._check()
        await trio.lowlevel.checkpoint()

    async def finish(self) -> None:
        """What the joiners kept back, then `flush`."""
        for channel, joiner in self._joiners.items():
            if rest := joiner.finish():
                self._queue(channel, rest)
        await self.flush()

    async def pump(self) -> None:
        """Append what is pending, one batch at a time, until cancelled."""
        while True:
            while not self._size and not self._values:
                await self._wake.park()
            await self.append_pending()

    async def append_pending(self) -> None:
        """One append of what waits now; cancellation waits until it is done, for a half is not to be had."""
        texts, values = self._take()
        self._in_flight = True
        try:
            with trio.CancelScope(shield=True):
                await self._streams.append(self._replica, texts, values)
        finally:
            self._in_flight = False
            if not self._size and not self._values:
                self._idle.unpark_all()
        self._room.unpark_all()

    def _append_now(self) -> None:
        """A local log takes what there is at once: no task is woken for it."""
        while self._size or self._values:
            self._streams.append_now(self._replica, *self._take())

    def close(self) -> None:
        """Take no more: what is written from now on is dropped."""
        self._left = 0
        self._closed = True

    @property
    def pending(self) -> bool:
        """Whether anything has not been appended yet."""
        return bool(self._size or self._values)

    def _add(self, channel: str, delta: str) -> None:
        joiner = self._joiners.get(channel)
        if joiner is None:
            joiner = self._joiners[channel] = SurrogateJoiner()
        if delta := joiner.feed(delta):
            self._queue(channel, delta)

    def _queue(self, channel: str, delta: str) -> None:
        if len(delta) > self._left and not self._closed:
            self._failure = RunFailed("the output is longer than this server keeps of one stream", type="output_limit")
            delta = delta[: self._left]
        self._left -= len(delta)
        if delta:
            self._pending.setdefault(channel, []).append(delta)
            self._size += len(delta)
            if not self._streams.local:
                self._wake.unpark()

    async def _set(self, value: Value) -> None:
        if not self._closed:
            self._values[value.key] = value
            if not self._streams.local:
                self._wake.unpark()
        await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        if self._streams.local:
            self._append_now()
        self._check()
        await trio.lowlevel.checkpoint()
        while self._size > PENDING_LIMIT or len(self._values) > 256:
            await self._room.park()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _length(self) -> int:
        return self._replica.length() + sum(map(len, self._pending.get(CONTENT, ())))

    def _version(self, key: str) -> int:
        known = self._values.get(key) or self._replica.values.get(key)
        return 1 if known is None else known.version + 1

    def _take(self) -> tuple[dict[str, str], list[Value]]:
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


def _bounded(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        value = clean(value)
        return value if len(value) <= VALUE_LIMIT else value[:VALUE_LIMIT] + "…"
    if depth > 32:
        return None
    if isinstance(value, Mapping):
        return {clean(str(k)): _bounded(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_bounded(item, depth + 1) for item in value]
    return value

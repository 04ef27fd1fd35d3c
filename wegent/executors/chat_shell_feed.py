"""The sink of the Chat Shell service: what an engine says, as server-sent events (protocol §9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from wegent.codec import CodecError, encode
from wegent.core.errors import RunFailed
from wegent.core.ports.executor import Sink
from wegent.core.text import SurrogateJoiner
from wegent.engines.deltas import Deltas, Said
from wegent.engines.sse import encode_event
from wegent.protocol.chat_shell import (
    ContentDelta,
    ResponseCancelled,
    ResponseDone,
    ResponseError,
    ResponseStart,
    ThinkingDelta,
    ToolDone,
    ToolProgress,
    ToolStart,
)
from wegent.protocol.limits import MAX_STREAM

Ending = ResponseDone | ResponseCancelled | ResponseError
_NAMES: dict[type[Any], str] = {
    ResponseStart: "response.start",
    ContentDelta: "content.delta",
    ThinkingDelta: "thinking.delta",
    ToolStart: "tool.start",
    ToolProgress: "tool.progress",
    ToolDone: "tool.done",
    ResponseDone: "response.done",
    ResponseCancelled: "response.cancelled",
    ResponseError: "response.error",
}
_COMMENT = b": still here\n\n"


def event_bytes(event: Any) -> bytes:
    """One event as it goes over the wire."""
    return encode_event(encode(event), _NAMES[type(event)])


class EventFeed(Sink):
    """Holds what was said until it is taken; joined, not queued.

    Past `most` code points, or as many blocks, a call waits until they are taken. One that waits for longer than
    `stall_s` fails the run: whoever should take them is gone without a word.
    """

    __slots__ = (
        "_blocks", "_deltas", "_ending", "_joiners", "_length", "_most", "_over", "_ping", "_room", "_said", "_stall_s",
        "_started", "_there", "_tools",
    )  # fmt: skip

    def __init__(self, start: ResponseStart, *, most: int = 65536, stall_s: float = 300.0) -> None:
        self._most = most
        self._stall_s = stall_s
        self._started: ResponseStart | None = start
        self._ending: Ending | None = None
        self._deltas = Deltas()
        self._joiners = {Said.TEXT: SurrogateJoiner(), Said.THINKING: SurrogateJoiner()}
        self._said: list[str] = []
        self._length = 0
        self._blocks = 0
        self._tools: dict[str, _ToolUse] = {}
        self._there = trio.Event()
        self._room = trio.Event()
        self._ping = False
        self._over = False

    @property
    def partial(self) -> str:
        """All content so far."""
        return "".join(self._said)

    async def text(self, delta: str) -> None:
        """See `Sink.text`."""
        await self._make_room()
        delta = self._joiners[Said.TEXT].feed(delta)
        self._count(delta)
        self._said.append(delta)
        self._deltas.text(delta)
        self._there.set()

    async def thinking(self, delta: str) -> None:
        """See `Sink.thinking`."""
        await self._make_room()
        delta = self._joiners[Said.THINKING].feed(delta)
        self._count(delta)
        self._deltas.thinking(delta)
        self._there.set()

    async def block(self, block: Mapping[str, Any]) -> None:
        """See `Sink.block`; a tool's use is told by `tool.start`, `tool.progress` and `tool.done`."""
        await self._make_room()
        self._blocks += 1
        self._deltas.block(dict(block))
        self._there.set()

    async def progress(self, progress: int, message: str | None = None) -> None:
        """Nothing: the service has no event for it."""
        await trio.lowlevel.checkpoint()

    async def app(self, app: Mapping[str, Any]) -> None:
        """Nothing: the service has no event for it."""
        await trio.lowlevel.checkpoint()

    async def skill(self, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """Not here: the viewers are not the service's."""
        await trio.lowlevel.checkpoint()
        raise RunFailed(f"The skill `{skill_name}` can't be asked for from a Chat Shell service.")

    def end(self, ending: Ending) -> None:
        """Say how it ended, behind all that was said. Only the first ending counts."""
        if self._ending is not None:
            return
        self._deltas.text(self._joiners[Said.TEXT].finish())
        self._deltas.thinking(self._joiners[Said.THINKING].finish())
        self._ending = ending
        self._there.set()

    def ping(self) -> None:
        """Have something written, so that whoever reads knows that somebody is here."""
        self._ping = True
        self._there.set()

    async def take(self) -> bytes | None:
        """All that waits, as events; waits for some. The ending comes last, and None behind it."""
        await trio.lowlevel.checkpoint()
        if self._over:
            return None
        while not (self._started or self._deltas or self._ending or self._ping):
            self._there = trio.Event()
            await self._there.wait()
        return self._take_now()

    def _take_now(self) -> bytes:
        pieces = [event_bytes(self._started)] if self._started else []
        pieces += [data for kind, value in self._deltas.take() for data in self._events(kind, value)]
        if self._ending is not None:
            pieces.append(event_bytes(self._ending))
            self._over = True
        self._started, self._ping, self._blocks = None, False, 0
        self._room.set()
        return b"".join(pieces) or _COMMENT

    def _events(self, kind: Said, value: Any) -> list[bytes]:
        if kind is Said.TEXT:
            return [event_bytes(ContentDelta(text=value))]
        if kind is Said.THINKING:
            return [event_bytes(ThinkingDelta(text=value))]
        tool = self._tools.setdefault(str(value.get("id")), _ToolUse())
        return [_safely(event) for event in tool.events(value)]

    def _count(self, delta: str) -> None:
        self._length += len(delta)
        if self._length > MAX_STREAM:
            raise RunFailed(f"The answer is longer than {MAX_STREAM:,} characters.", type="output_limit")

    async def _make_room(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self._is_full():
            return
        with trio.move_on_after(self._stall_s):
            while self._is_full():
                self._room = trio.Event()
                await self._room.wait()
            return
        raise RunFailed(f"Nobody read the answer for {self._stall_s:g} seconds.", type="timeout")

    def _is_full(self) -> bool:
        return self._deltas.size >= self._most or self._blocks >= 1000


class _ToolUse:
    """One tool at work: makes events of the versions of its block."""

    __slots__ = ("_since", "_started")

    def __init__(self) -> None:
        self._started = False
        self._since = trio.current_time()

    def events(self, block: Mapping[str, Any]) -> list[ToolStart | ToolProgress | ToolDone]:
        tool_id, output, status = str(block.get("id")), block.get("tool_output"), block.get("status")
        made: list[ToolStart | ToolProgress | ToolDone] = []
        if not self._started:
            self._started = True
            made.append(ToolStart(id=tool_id, name=str(block.get("tool_name", "")), input=block.get("tool_input")))
        if status == "streaming":
            made.append(ToolProgress(id=tool_id, output=output))
        elif status in ("done", "error"):
            took = int((trio.current_time() - self._since) * 1000)
            error = str(output) if status == "error" else None
            made.append(ToolDone(id=tool_id, output=output, duration_ms=took, error=error))
        return made


def _safely(event: ToolStart | ToolProgress | ToolDone) -> bytes:
    """A tool's input and output may be anything; what is no JSON must not end the answer."""
    try:
        return event_bytes(event)
    except CodecError as error:
        told = f"(not shown: {error.sentence})"
        if isinstance(event, ToolStart):
            return event_bytes(ToolStart(id=event.id, name=event.name, input=told))
        if isinstance(event, ToolProgress):
            return event_bytes(ToolProgress(id=event.id, output=told))
        failed = None if event.error is None else told
        return event_bytes(ToolDone(id=event.id, output=told, duration_ms=event.duration_ms, error=failed))

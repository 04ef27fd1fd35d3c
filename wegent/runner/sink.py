"""The sink of an agent that runs behind the runner protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from wegent.core.errors import RunFailed
from wegent.core.ports.executor import Sink
from wegent.runner.wire import Wire

PIECE = 60_000
"""Code points of one line's text: it fits whatever they are."""


class WireSink(Sink):
    """Sends each call as a line; a call returns when the line is with the operating system."""

    __slots__ = ("_asked", "_blocks", "_count", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._asked: dict[str, _Question] = {}
        self._blocks: dict[Any, dict[str, Any]] = {}
        self._count = 0

    async def text(self, delta: str) -> None:
        """Append to the `content` channel."""
        await self._say_in_pieces("chunk", delta)

    async def thinking(self, delta: str) -> None:
        """Append to the `thinking` channel."""
        await self._say_in_pieces("thinking", delta)

    async def block(self, block: Mapping[str, Any]) -> None:
        """Set a block; see the port."""
        known = self._blocks.setdefault(block.get("id"), {"tool_name": "tool", "status": "pending"})
        known.update((name, block[name]) for name in known if block.get(name) is not None)
        await self._wire.say("block", **{**{name: block[name] for name in block if name != "type"}, **known})

    async def progress(self, progress: int, message: str | None = None) -> None:
        """Tell how far the work is, 0 to 100."""
        await self._wire.say("progress", progress=max(0, min(100, int(progress))), message=message)

    async def app(self, app: Mapping[str, Any]) -> None:
        """Tell of a running app's preview."""
        await self._wire.say("app", **{name: app.get(name) for name in ("name", "address", "previewUrl")})

    async def skill(self, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """Ask the viewers of the task, and wait for the first answer; see the port."""
        self._count += 1
        question = self._asked[str(self._count)] = _Question()
        try:
            await self._wire.say("skill", id=str(self._count), skill_name=skill_name, action=action, data=data)
            await question.answered.wait()
        finally:
            del self._asked[str(self._count)]
        if not question.success:
            raise RunFailed(question.error)
        return question.result

    def answer(self, told: Mapping[str, Any]) -> None:
        """An answer has come; for a question that nobody asks any more it is nothing."""
        question = self._asked.get(str(told.get("id")))
        if question is not None:
            question.success = bool(told.get("success"))
            question.result = told.get("result")
            question.error = str(told.get("error") or "The skill failed.")
            question.answered.set()

    async def _say_in_pieces(self, kind: str, delta: str) -> None:
        for start in range(0, len(delta), PIECE):
            await self._wire.say(kind, content=delta[start : start + PIECE])
        if not delta:
            await trio.lowlevel.checkpoint()


class _Question:
    def __init__(self) -> None:
        self.answered = trio.Event()
        self.success = False
        self.result: Any = None
        self.error = ""

"""A plugin for a test server: an engine that writes numbered lines with the time of their writing, at a steady rate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

import trio

from wegent.core.ports.executor import Sink
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.protocol.chat_shell import ResponseRequest
from wegent.server.ports.engine import Completion, Engine

NAME = "stamping"
LINE = 512
BEAT = 0.01
SETTINGS = ('plugins.add=["tests.e2e.stamping:StampingPlugin"]', f"chat-shell.engine={NAME}")


def line(number: int) -> str:
    """`number`, nanoseconds of the clock that all processes share, and filling: LINE characters in all."""
    return f"{number:08d} {time.monotonic_ns():020d} ".ljust(LINE - 1, "abcdefgh"[number % 8]) + "\n"


def first_line(offset: int, text: str) -> int | None:
    """Where in a piece of the stream its first line with number and time starts. Every number in it is checked."""
    first = -offset % LINE
    starts = range(first, len(text) - 29, LINE)
    numbers = [int(text[start : start + 8]) for start in starts]
    assert numbers == list(range((offset + first) // LINE, (offset + first) // LINE + len(numbers)))
    return first if numbers else None


class StampingEngine(Engine):
    """Answers `LINES RATE`: so many lines, so many of them a second."""

    __slots__ = ()

    async def run(self, request: ResponseRequest, sink: Sink) -> Completion:
        lines, rate = map(int, str(request.messages[-1].content).split())
        written, started = 0, trio.current_time()
        while written < lines:
            await trio.sleep_until(started + (written + 1) / rate + BEAT)
            due = min(lines, int((trio.current_time() - started) * rate))
            await sink.text("".join(map(line, range(written, due))))
            written = due
        return Completion(NAME)


class StampingPlugin(Plugin):
    """Brings it."""

    name = NAME
    provides: ClassVar[tuple[type[Any], ...]] = (Engine,)

    async def run(self, config: Any, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        del config, deps
        task_status.started([Provision(Engine, StampingEngine(), NAME)])

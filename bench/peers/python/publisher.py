"""Streams made inside the server: token k of all rooms in turn, at even distances, each stamped with its time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

Chunk = Callable[[int, int, int, str], Awaitable[None]]
BATCH = 32  # emissions before others get a turn while behind
LEAST = 0.001  # seconds of a sleep: what has become due meanwhile comes together


class Publisher:
    """Emits `count` tokens of `size` characters into each of `rooms` tasks, `rate` a second and room; 0: unpaced."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._subtasks = itertools.count(1_000_001)
        self._kept: dict[int, tuple[int, list[str]]] = {}

    def snapshot(self, task_id: int) -> dict[str, object] | None:
        """What a client that joins now needs: the text so far of a stream that is kept."""
        if task_id not in self._kept:
            return None
        subtask_id, parts = self._kept[task_id]
        text = "".join(parts)
        parts[:] = [text]
        return {"subtask_id": subtask_id, "attempt": 1, "offset": len(text), "cached_content": text}

    async def run(
        self, base: int, rooms: int, count: int, rate: float, size: int, preload: int = 0, keep: bool = False
    ) -> None:
        subtasks = [next(self._subtasks) for _ in range(rooms)]
        padding, offset = "." * (size - 17), preload // size * size
        if keep:
            first = f"@{time.monotonic_ns():016x}{padding}" * (preload // size)
            self._kept = {base + i: (subtasks[i], [first]) for i in range(rooms)}
        interval = 1e9 / (rate * rooms) if rate else 0.0
        start = time.monotonic_ns()
        for k in range(count * rooms):
            due = start + int(k * interval) if rate else time.monotonic_ns()
            ahead = due - time.monotonic_ns()
            if ahead > 0:
                await asyncio.sleep(max(LEAST, ahead / 1e9))
            elif k % BATCH == 0 or not rate:
                await asyncio.sleep(0)
            turn, room = divmod(k, rooms)
            content = f"@{due:016x}{padding}"
            if keep:
                self._kept[base + room][1].append(content)
            await self._chunk(base + room, subtasks[room], offset + turn * size, content)

"""What running containers use, as metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio
from attrs import define

from wegent.core.errors import RunFailed
from wegent.core.instruments import Registry
from wegent.executors.docker.engine import Engine

EVERY_S = 5.0


@define
class _Used:
    cpu_s: float = 0.0
    memory: int = 0


class Meter:
    """Asks the engine now and then. What a container used after the last time it was asked for is not counted."""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._engine = engine
        self._used: dict[str, _Used] = {}
        self._cpu = registry.counter("wegent_container_cpu_seconds", "CPU time of containers")
        registry.gauge("wegent_containers", "Containers that run", lambda: len(self._used))
        registry.gauge("wegent_container_memory_bytes", "Memory that containers use", self._memory)

    @contextmanager
    def watching(self, container: str) -> Iterator[None]:
        """The container runs while the block does."""
        self._used[container] = _Used()
        try:
            yield
        finally:
            del self._used[container]

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await trio.sleep(EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Ask once for each; where there is no answer nothing changes."""
        for container, used in list(self._used.items()):
            try:
                cpu_s, memory = await self._engine.usage(container)
            except RunFailed:
                continue
            self._cpu.add(max(0.0, cpu_s - used.cpu_s))
            used.cpu_s, used.memory = max(cpu_s, used.cpu_s), memory

    def _memory(self) -> int:
        return sum(used.memory for used in self._used.values())

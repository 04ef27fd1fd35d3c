"""The containers of tasks: one a task, made for its first message, kept stopped for the next, removed when idle."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import trio

from wegent.codec import encode
from wegent.executors.docker.container import Container
from wegent.executors.docker.engine import Engine
from wegent.executors.docker.metering import Meter
from wegent.executors.errorlog import ErrorLog

log = logging.getLogger(__name__)
INSTANCE, TASK, SETTINGS = "wegent.instance", "wegent.task_id", "wegent.settings"
"""Labels: which server made it, for which task, and of what."""
_TICK_S = 1.0
"""The engine tells the time in whole seconds: it may be so much later."""


class Containers:
    """All containers of one server, which has an `instance` that no other server of the engine has, and which stays
    over its restarts. One that is in use here is touched by nobody else; any other of this server that runs is one of
    an earlier life.
    """

    def __init__(self, engine: Engine, instance: str, meter: Meter, *, idle: float, kept: int) -> None:
        self._engine = engine
        self._meter = meter
        self._instance = instance
        self._idle = idle
        self._kept = kept
        self._tasks: dict[int, trio.Lock] = {}

    @asynccontextmanager
    async def running(
        self, task_id: int, image: str, settings: Mapping[str, Any], errors: ErrorLog
    ) -> AsyncIterator[Container]:
        """The task's container with a runner started in it, new or kept; when the block is left it does not run.

        Raises:
            RunFailed: there is no engine, no such image, or no such program.
        """
        async with self._held(task_id):
            name = await self._obtain(task_id, image, settings)
            async with self._engine.attached(name, errors.add) as (stdin, stdout):
                container = Container(self._engine, name, stdin, stdout)
                with self._meter.watching(name):
                    try:
                        await container.start()
                        yield container
                    finally:
                        await container.aclose()

    async def collect(self) -> None:
        """Remove those that nobody uses: of an earlier life, stopped for long, or more than may be kept.

        Raises:
            RunFailed: there is no engine.
        """
        now, found = await self._engine.labelled(f"{INSTANCE}={self._instance}")
        stopped: list[tuple[datetime, int, str]] = []
        for one in found:
            task_id, container = _number(one["Labels"].get(TASK)), str(one["Id"])
            since = await self._stopped_since(container)
            if since is not None and (now - since).total_seconds() + _TICK_S < self._idle:
                stopped.append((since, task_id, container))
            else:
                await self._remove(task_id, container, since)
        for since, task_id, container in sorted(stopped)[: -self._kept or None]:
            await self._remove(task_id, container, since)

    async def _stopped_since(self, container: str) -> datetime | None:
        state = ((await self._engine.inspect(container)) or {"State": {}})["State"]
        return datetime.fromisoformat(state["FinishedAt"]) if state.get("Status") == "exited" else None

    async def _remove(self, task_id: int, container: str, since: datetime | None) -> None:
        """Remove it, unless a run has it, or has had it meanwhile."""
        if task_id in self._tasks:
            return
        async with self._held(task_id):
            if await self._stopped_since(container) == since:
                await self._engine.remove(container)
                log.info("removed container %s of task %d", container[:12], task_id)

    async def _obtain(self, task_id: int, image: str, settings: Mapping[str, Any]) -> str:
        """The id of the task's container, which does not run: the one that is there if it is made of the same, or a new
        one.
        """
        made_of = hashlib.sha256(encode([image, settings])).hexdigest()[:32]
        name = f"wegent-{self._instance}-{task_id}"
        found = await self._engine.inspect(name)
        if found is not None:
            labels = found["Config"]["Labels"] or {}
            if found["State"]["Status"] in ("created", "exited") and labels.get(SETTINGS) == made_of:
                return str(found["Id"])
            await self._engine.remove(found["Id"])
        labels = {INSTANCE: self._instance, TASK: str(task_id), SETTINGS: made_of}
        return await self._engine.create(name, image, {**settings, "Labels": labels})

    @asynccontextmanager
    async def _held(self, task_id: int) -> AsyncIterator[None]:
        lock = self._tasks.setdefault(task_id, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._tasks.pop(task_id, None)


def _number(label: str | None) -> int:
    return int(label) if label and label.isdecimal() else 0

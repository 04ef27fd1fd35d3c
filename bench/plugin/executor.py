"""Executor `bench`: a run that streams what its message asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import trio

from bench.plugin.pace import Pace, token
from wegent.core.model import Job, Outcome
from wegent.core.ports.executor import Executor, Sink
from wegent.core.ports.plugin import Deps, Plugin, Provision

NAME = "bench"


class StreamExecutor(Executor):
    """Says so much at once, and then token after token."""

    __slots__ = ("_gathered", "_said")

    def __init__(self) -> None:
        self._gathered: list[Sink] = []
        self._said = trio.Event()

    async def run(self, job: Job, sink: Sink) -> Outcome:
        """The message is `@stream` and the parameters as JSON (`events.Start`)."""
        what = json.loads(job.spec.prompt.partition(" ")[2])
        if what["runs"]:
            await self._together(sink, what)
            return Outcome({})
        size, pace = what["size"], Pace(what["rate"])
        await sink.text(token(await pace.wait(0), size) * (what["preload"] // size))
        for k in range(what["count"]):
            await sink.text(token(await pace.wait(k), size))
        return Outcome({})

    async def _together(self, sink: Sink, what: dict[str, Any]) -> None:
        """The last run to come says the tokens of all in turn, as `events.publish` does."""
        self._gathered.append(sink)
        if len(self._gathered) < what["rooms"]:
            await self._said.wait()
            return
        pace = Pace(what["rate"] * what["rooms"])
        for k in range(what["count"] * what["rooms"]):
            at = await pace.wait(k)
            await self._gathered[k % what["rooms"]].text(token(at, what["size"]))
        self._said.set()


class ExecutorPlugin(Plugin):
    """Brings it."""

    name = "bench-executor"
    provides: ClassVar[tuple[type[Any], ...]] = (Executor,)

    async def run(self, config: Any, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Nothing to open or close."""
        del config, deps
        task_status.started([Provision(Executor, StreamExecutor(), NAME)])

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

    __slots__ = ()

    async def run(self, job: Job, sink: Sink) -> Outcome:
        """The message is `@stream` and the parameters as JSON."""
        what = json.loads(job.spec.prompt.partition(" ")[2])
        size, pace = what["size"], Pace(what["rate"])
        await sink.text(token(await pace.wait(0), size) * (what["preload"] // size))
        for k in range(what["count"]):
            await sink.text(token(await pace.wait(k), size))
        return Outcome({})


class ExecutorPlugin(Plugin):
    """Brings it."""

    name = "bench-executor"
    provides: ClassVar[tuple[type[Any], ...]] = (Executor,)

    async def run(self, config: Any, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Nothing to open or close."""
        del config, deps
        task_status.started([Provision(Executor, StreamExecutor(), NAME)])

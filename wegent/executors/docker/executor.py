"""Executor `docker`: an agent is a program that speaks the runner protocol, in a container (protocol §7.2, §7.3)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import trio

from wegent.core.errors import RunFailed
from wegent.core.instruments import Registry
from wegent.core.model import Job, Outcome
from wegent.core.ports.executor import Executor, Sink
from wegent.executors.docker.container import Container
from wegent.executors.docker.engine import Engine
from wegent.executors.docker.keeping import Containers
from wegent.executors.docker.metering import Meter
from wegent.executors.docker.options import DockerOptions, Plan
from wegent.executors.errorlog import ErrorLog
from wegent.executors.exits import Exit, without_a_word
from wegent.executors.program import converse
from wegent.executors.workspace import Workspaces

_CANT_RUN = (126, 127)
"""Exit codes of a container's init that can't start the program."""


class DockerExecutor(Executor):
    """One container a task, with the task's folder in it. It runs while a run does, and not longer."""

    __slots__ = ("_containers", "_engine", "_options", "_threads", "_workspaces")

    def __init__(
        self, engine: Engine, instance: str, workspaces: Workspaces, options: DockerOptions, meter: Meter | None = None
    ) -> None:
        """`instance` names this server among all that use the engine, over its restarts."""
        meter = meter or Meter(engine, Registry())
        self._containers = Containers(engine, instance, meter, idle=options.idle, kept=options.kept)
        self._engine = engine
        self._options = options
        self._threads = trio.CapacityLimiter(4)
        self._workspaces = workspaces

    async def run(self, job: Job, sink: Sink) -> Outcome:
        """Start the runner in its container, and pass on what it says; see `Executor.run`."""
        options, plan = self._options, self._options.plan(job.spec.bot)
        folder = await self._workspaces.prepare(job.spec)
        await trio.to_thread.run_sync(_give, folder, options.owner, limiter=self._threads)
        settings = options.settings(plan, job.task_id, folder)
        errors = ErrorLog(job.stream)
        try:
            with trio.move_on_after(options.timeout):
                async with self._containers.running(job.task_id, plan.image, settings, errors) as container:
                    return await self._converse(container, plan, job, sink)
        finally:
            errors.close()
        raise RunFailed(f"The runner did not end within {options.timeout:g} seconds.", type="timeout")

    async def reclaim(self) -> None:
        """Remove the containers that an earlier life left, and those that nobody has used for long.

        Raises:
            RunFailed: there is no engine.
        """
        await self._containers.collect()

    async def _converse(self, container: Container, plan: Plan, job: Job, sink: Sink) -> Outcome:
        options = self._options
        try:
            return await converse(container, job, sink, grace=options.grace, exit=options.exit)
        except RunFailed as error:
            if error.type in ("killed", "runner_exit"):
                await self._judge(await container.stopped(options.exit), plan, error)
            raise

    async def _judge(self, how: Exit, plan: Plan, error: RunFailed) -> None:
        """Raise what says more of an end than the runner could, or was there to."""
        if how.out_of_memory:
            raise without_a_word(how) from error
        if how.code in _CANT_RUN:
            named = f"program {plan.program[0]!r}" if plan.program else "program"
            message = f"The image {plan.image!r} has no {named} that can be run."
            raise RunFailed(message, type="runner_exit") from error
        if how.signal == signal.SIGTERM:  # an engine that is stopped ends its containers so, and then itself
            with trio.move_on_after(self._options.exit):
                await self._engine.lost()


def _give(folder: Path, owner: tuple[int, int]) -> None:
    """Let the container's user have the folder and what was cloned into it. Others than root can give nothing away."""
    uid, gid = owner
    if os.getuid() or (folder.stat().st_uid, folder.stat().st_gid) == owner:
        return
    for path, folders, files in os.walk(folder):
        for name in folders + files:
            os.chown(Path(path, name), uid, gid, follow_symlinks=False)
    os.chown(folder, uid, gid)  # the last: it tells that all of it was done

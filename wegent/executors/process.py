"""Executor `process`: an agent is a program that speaks the runner protocol, under a keeper (protocol §7.2, §7.3)."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from attrs import field, frozen

from wegent.core.errors import RunFailed
from wegent.core.model import Job, Outcome
from wegent.core.ports.executor import Executor, Sink
from wegent.executors.agents import unknown_shell, with_defaults
from wegent.executors.child import Child, Limits, open_child
from wegent.executors.errorlog import ErrorLog
from wegent.executors.program import converse
from wegent.executors.spares import Spares
from wegent.executors.workspace import Workspaces
from wegent.runner.environment import MARK, plain


@frozen
class ProcessOptions:
    """`agents` (`module:function`) and `commands` (a program and its arguments) by shell type. Seconds: `timeout` of a
    whole run, `grace` between the steps of its end, `exit` for a runner to end after its last word. `environment` is
    added to what programs get, `pass_environment` names what they get of the server's own. `spares` are runners that
    are started before there is a run for them, one for each agent that was used; 0: none.
    """

    agents: Mapping[str, str] = field(factory=dict)
    commands: Mapping[str, tuple[str, ...]] = field(factory=dict)
    limits: Limits = field(factory=Limits)
    timeout: float = 3_600.0
    grace: float = 5.0
    exit: float = 2.0
    environment: Mapping[str, str] = field(factory=dict)
    pass_environment: tuple[str, ...] = ()
    spares: int = 2


class ProcessExecutor(Executor):
    """One child process a run, in its task's folder. Nothing of its tree outlives the run, nor the server."""

    __slots__ = ("_agents", "_options", "_spares", "_workspaces")

    def __init__(self, workspaces: Workspaces, options: ProcessOptions | None = None) -> None:
        self._options = options or ProcessOptions()
        self._agents = with_defaults(self._options.agents)
        self._workspaces = workspaces
        self._spares = Spares(self._start_spare, self._options.spares)

    async def serve(self) -> None:
        """Keep spare runners, until cancelled. Without it every run starts its own."""
        await self._spares.serve()

    async def run(self, job: Job, sink: Sink) -> Outcome:
        """Start the runner, and pass on what it says; see `Executor.run`."""
        program = self._program(job.spec.bot.shell_type)
        folder = await self._workspaces.prepare(job.spec)
        options = self._options
        with trio.move_on_after(options.timeout):
            async with self._child(program, folder, job) as child:
                beside = [partial(_log_errors, job, child.stderr)]
                return await converse(child, job, sink, grace=options.grace, exit=options.exit, beside=beside)
        raise RunFailed(f"The runner did not end within {options.timeout:g} seconds.", type="timeout")

    async def reclaim(self) -> None:
        """Remove what an earlier life left in the folder of workspaces; processes it can't have left: each keeper ends
        its tree when the server's end of its socket is gone.
        """
        await self._workspaces.reclaim()

    @asynccontextmanager
    async def _child(self, program: Sequence[str], folder: Path, job: Job) -> AsyncIterator[Child]:
        """A spare, or else one that is started now."""
        mark = {MARK: str(job.task_id)}
        spare = None if job.spec.bot.shell_type in self._options.commands else self._spares.take(program)
        if spare is not None:
            async with aclosing(spare):
                if await spare.place(folder, mark):
                    yield spare.child
                    return
        environment = {**self._environment(), **mark}
        async with open_child(program, folder=folder, environment=environment, limits=self._options.limits) as child:
            yield child

    def _start_spare(self, program: Sequence[str]) -> AbstractAsyncContextManager[Child]:
        return open_child(program, folder=Path("/"), environment=self._environment(), limits=self._options.limits)

    def _program(self, shell_type: str) -> Sequence[str]:
        if program := self._options.commands.get(shell_type):
            return program
        reference = self._agents.get(shell_type)
        if reference is None:
            raise unknown_shell("process", shell_type, [*self._agents, *self._options.commands])
        return [sys.executable, "-P", "-m", "wegent.runner", reference]

    def _environment(self) -> dict[str, str]:
        return {**plain(self._options.pass_environment), **self._options.environment}


async def _log_errors(job: Job, stream: trio.abc.ReceiveStream) -> None:
    written = ErrorLog(job.stream)
    try:
        async for data in stream:
            written.add(data)
    finally:
        written.close()

"""Executor `process`: an agent is a program that speaks the runner protocol, under a keeper (protocol §7.2, §7.3)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial

import trio
from attrs import field, frozen

from wegent.core.errors import RunFailed
from wegent.core.model import Job, Outcome
from wegent.core.ports.executor import Executor, Sink
from wegent.executors.agents import unknown_shell, with_defaults
from wegent.executors.child import Child, Limits, open_child
from wegent.executors.exits import without_a_word
from wegent.executors.runner import Conversation
from wegent.executors.stopping import Step, stoppable
from wegent.executors.workspace import Workspaces
from wegent.runner.environment import MARK, plain

log = logging.getLogger(__name__)
MOST_LOG = 65_536
"""Bytes of one runner's standard error that may be logged."""


@frozen
class ProcessOptions:
    """`agents` (`module:function`) and `commands` (a program and its arguments) by shell type. Seconds: `timeout` of a
    whole run, `grace` between the steps of its end, `exit` for a runner to end after its last word. `environment` is
    added to what programs get, `pass_environment` names what they get of the server's own.
    """

    agents: Mapping[str, str] = field(factory=dict)
    commands: Mapping[str, tuple[str, ...]] = field(factory=dict)
    limits: Limits = field(factory=Limits)
    timeout: float = 3_600.0
    grace: float = 5.0
    exit: float = 2.0
    environment: Mapping[str, str] = field(factory=dict)
    pass_environment: tuple[str, ...] = ()


class ProcessExecutor(Executor):
    """One child process a run, in its task's folder. Nothing of its tree outlives the run, nor the server."""

    __slots__ = ("_agents", "_options", "_workspaces")

    def __init__(self, workspaces: Workspaces, options: ProcessOptions | None = None) -> None:
        self._options = options or ProcessOptions()
        self._agents = with_defaults(self._options.agents)
        self._workspaces = workspaces

    async def run(self, job: Job, sink: Sink) -> Outcome:
        """Start the runner, and pass on what it says; see `Executor.run`."""
        program = self._program(job.spec.bot.shell_type)
        folder = await self._workspaces.prepare(job.spec)
        options = self._options
        with trio.move_on_after(options.timeout):
            async with open_child(
                program, folder=folder, environment=self._environment(job), limits=options.limits
            ) as child:
                talk = Conversation(child.stdout, child.stdin, job.spec, sink)
                steps = [Step(act, options.grace) for act in (talk.cancel, child.terminate, child.kill)]
                return await stoppable(partial(self._work, job, child, talk), steps, child.gone)
        raise RunFailed(f"The runner did not end within {options.timeout:g} seconds.", type="timeout")

    async def reclaim(self) -> None:
        """Remove what an earlier life left in the folder of workspaces; processes it can't have left: each keeper ends
        its tree when the server's end of its socket is gone.
        """
        await self._workspaces.reclaim()

    async def _work(self, job: Job, child: Child, talk: Conversation) -> Outcome:
        outcomes: list[Outcome] = []
        failures: list[RunFailed] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_log_errors, job, child.stderr)
            nursery.start_soon(_guard, child, failures, nursery.cancel_scope)
            try:
                outcomes += await self._hear(child, talk, nursery)
            except RunFailed as error:
                failures.append(error)
            nursery.cancel_scope.cancel()
        if not outcomes:
            raise failures[0]
        return outcomes[0]

    async def _hear(self, child: Child, talk: Conversation, nursery: trio.Nursery) -> list[Outcome]:
        outcome = await talk.run()
        if outcome is None:
            raise without_a_word(await child.ended())
        nursery.start_soon(_ignore, child.stdout)
        with trio.move_on_after(self._options.exit):
            await child.gone()
        return [outcome]

    def _program(self, shell_type: str) -> Sequence[str]:
        if program := self._options.commands.get(shell_type):
            return program
        reference = self._agents.get(shell_type)
        if reference is None:
            raise unknown_shell("process", shell_type, [*self._agents, *self._options.commands])
        return [sys.executable, "-P", "-m", "wegent.runner", reference]

    def _environment(self, job: Job) -> dict[str, str]:
        base = plain(self._options.pass_environment)
        return {**base, **self._options.environment, MARK: str(job.task_id)}


async def _guard(child: Child, failures: list[RunFailed], scope: trio.CancelScope) -> None:
    """A runner without a keeper is not waited for: what is left of it may hold its streams open for ever."""
    try:
        await child.ended()
    except RunFailed as error:
        failures.append(error)
        scope.cancel()


async def _ignore(stream: trio.abc.ReceiveStream) -> None:
    async for _ in stream:
        pass


async def _log_errors(job: Job, stream: trio.abc.ReceiveStream) -> None:
    """What a runner writes to standard error may hold what people said: it is logged at DEBUG only."""
    size = 0
    try:
        async for data in stream:
            if size < MOST_LOG:
                log.debug("runner of %s: %s", job.stream, bytes(data[: MOST_LOG - size]).decode(errors="replace"))
            size += len(data)
    finally:
        if size:
            log.info("the runner of %s wrote %d bytes to its log", job.stream, size)

"""Executor `local`: an agent is an async function in the server's own process. For trusted agents and research."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from wegent.codec import decode, encode
from wegent.core.model import Job, Outcome
from wegent.core.ports.executor import Executor, Sink
from wegent.executors.agents import unknown_shell, with_defaults
from wegent.executors.handing import spec_of
from wegent.executors.workspace import Workspaces
from wegent.runner import job as agents_job
from wegent.runner.agent import Agent, load


class LocalExecutor(Executor):
    """Calls `await agent(job, sink)`. An agent that blocks blocks the server; one that ignores Cancelled is waited for
    until the server ends its run over its head.
    """

    __slots__ = ("_agents", "_loaded", "_workspaces")

    def __init__(self, workspaces: Workspaces, agents: Mapping[str, str | Agent] | None = None) -> None:
        """`agents` by shell type: functions, or where they are (`module:function`)."""
        given = dict(agents or {})
        named = {shell: agent for shell, agent in given.items() if isinstance(agent, str)}
        self._agents = with_defaults(named)
        self._loaded: dict[str, Agent] = {shell: a for shell, a in given.items() if not isinstance(a, str)}
        self._workspaces = workspaces

    async def run(self, job: Job, sink: Sink) -> Outcome:
        """Call the agent; see `Executor.run`."""
        agent = await self._agent(job.spec.bot.shell_type)
        folder = await self._workspaces.prepare(job.spec)
        workbench = await agent(agents_job.Job.read(decode(encode(spec_of(job))), folder), sink)
        return Outcome({} if workbench is None else {"workbench": dict(workbench)})

    async def reclaim(self) -> None:
        """Remove what an earlier life left in the folder of workspaces."""
        await self._workspaces.reclaim()

    async def _agent(self, shell_type: str) -> Agent:
        if shell_type not in self._loaded:
            reference = self._agents.get(shell_type)
            if reference is None:
                raise unknown_shell("local", shell_type, [*self._agents, *self._loaded])
            self._loaded[shell_type] = await trio.to_thread.run_sync(load, reference)
        return self._loaded[shell_type]

"""A program that speaks the runner protocol, wherever it runs, and one run of it from `start` to its end (§7.2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from wegent.core.errors import RunFailed
from wegent.core.model import Job, Outcome
from wegent.core.ports.executor import Sink
from wegent.executors.exits import Exit, without_a_word
from wegent.executors.handing import spec_of
from wegent.executors.runner import Conversation
from wegent.executors.stopping import Step, stoppable


class Program(ABC):
    """A program that runs, with everything that came of it. Who started it ends it, and closes its streams."""

    stdin: trio.abc.SendStream
    stdout: trio.abc.ReceiveStream

    @abstractmethod
    async def terminate(self) -> None:
        """Send SIGTERM; to a program that has ended it is nothing. Never fails."""

    @abstractmethod
    async def kill(self) -> None:
        """Send SIGKILL to all that came of it. Never fails."""

    @abstractmethod
    async def ended(self) -> Exit:
        """How the program ended, once nothing is left of it; the same however often it is asked.

        Raises:
            RunFailed: it could not be started, or what watches over it is gone.
        """

    async def gone(self) -> None:
        """Return when nothing is left of it, however it ended, or nobody can tell any more."""
        try:
            await self.ended()
        except RunFailed:
            return


async def converse(
    program: Program,
    job: Job,
    sink: Sink,
    *,
    grace: float,
    exit: float,
    beside: Sequence[Callable[[], Awaitable[object]]] = (),
) -> Outcome:
    """Give the program its job and pass on what it says. Seconds: `grace` between the steps of its end when the run is
    cancelled, `exit` for it to end after its last word. `beside` are done meanwhile.

    Raises:
        RunFailed: the program said so, or ended without a word, or said what the protocol does not know.
    """
    talk = Conversation(program.stdout, program.stdin, spec_of(job), sink)
    steps = [Step(act, grace) for act in (talk.cancel, program.terminate, program.kill)]
    return await stoppable(partial(_work, program, talk, exit, beside), steps, program.gone)


async def _work(
    program: Program, talk: Conversation, exit: float, beside: Sequence[Callable[[], Awaitable[object]]]
) -> Outcome:
    outcomes: list[Outcome] = []
    failures: list[RunFailed] = []
    async with trio.open_nursery() as nursery:
        for other in beside:
            nursery.start_soon(other)
        nursery.start_soon(_guard, program, failures, nursery.cancel_scope)
        try:
            outcomes += await _hear(program, talk, exit, nursery)
        except RunFailed as error:
            failures.append(error)
        nursery.cancel_scope.cancel()
    if not outcomes:
        raise failures[0]
    return outcomes[0]


async def _hear(program: Program, talk: Conversation, exit: float, nursery: trio.Nursery) -> list[Outcome]:
    outcome = await talk.run()
    if outcome is None:
        raise without_a_word(await program.ended())
    nursery.start_soon(_ignore, program.stdout)
    with trio.move_on_after(exit):
        await program.gone()
    return [outcome]


async def _guard(program: Program, failures: list[RunFailed], scope: trio.CancelScope) -> None:
    """A program that nobody watches over is not waited for: what is left of it may hold its streams open for ever."""
    try:
        await program.ended()
    except RunFailed as error:
        failures.append(error)
        scope.cancel()


async def _ignore(stream: trio.abc.ReceiveStream) -> None:
    async for _ in stream:
        pass

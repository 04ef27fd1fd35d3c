"""A container that runs a runner, from its start to its end."""

from __future__ import annotations

import logging
import signal

import trio

from wegent.core.errors import RunFailed
from wegent.executors.docker.engine import Engine
from wegent.executors.exits import Exit
from wegent.executors.program import Program
from wegent.executors.stopping import LAST_WORDS_S

log = logging.getLogger(__name__)
_END_S = 10.0
"""How long a container may take to be killed."""
_BY_SIGNAL = 128
"""Added to the number of the signal that ended a process, it is the exit code that init gives for it."""


class Container(Program):
    """See `Program`. `SIGTERM` goes to the runner, `SIGKILL` to everything in the container."""

    def __init__(
        self, engine: Engine, container: str, stdin: trio.abc.SendStream, stdout: trio.abc.ReceiveStream
    ) -> None:
        self.name = container
        self.stdin = stdin
        self.stdout = stdout
        self._engine = engine
        self._begun = False
        self._waiting = trio.Lock()
        self._end: Exit | RunFailed | None = None

    async def start(self) -> None:
        """Start it.

        Raises:
            RunFailed: it can't be started, or there is no engine.
        """
        self._begun = True
        await self._engine.start(self.name)

    async def terminate(self) -> None:
        """Send SIGTERM to the runner."""
        await self._signal("SIGTERM")

    async def kill(self) -> None:
        """Send SIGKILL to everything in it. What it wrote last is let go if nobody reads it: the engine would wait."""
        await self._signal("SIGKILL")
        with trio.move_on_after(LAST_WORDS_S):
            await self.gone()
        await self.stdout.aclose()

    async def ended(self) -> Exit:
        """How it ended, once it does not run.

        Raises:
            RunFailed: the engine stopped meanwhile.
        """
        async with self._waiting:
            if self._end is None:
                try:
                    await self._engine.wait(self.name)
                    self._end = _exit(await self._engine.inspect(self.name))
                except RunFailed as error:
                    self._end = error
        if isinstance(self._end, RunFailed):
            raise self._end
        return self._end

    async def stopped(self, seconds: float) -> Exit:
        """How it ended by itself within so many seconds, else how when it was killed then; see `ended`."""
        with trio.move_on_after(seconds):
            return await self.ended()
        await self.kill()
        return await self.ended()

    async def aclose(self) -> None:
        """End it if it runs; it stays, stopped.

        Takes `_END_S` at most, cancelled or not; should it run then, a collection ends it.
        """
        with trio.CancelScope(shield=True), trio.move_on_after(_END_S):
            if self._begun and not isinstance(self._end, Exit):
                await self.stdout.aclose()
                if await self._signal("SIGKILL"):
                    await self.gone()

    async def _signal(self, name: str) -> bool:
        try:
            await self._engine.kill(self.name, name)
        except RunFailed as error:
            log.warning("container %s gets no %s: %s", self.name[:12], name, error.sentence)
            return False
        return True


def _exit(found: dict[str, object] | None) -> Exit:
    """How it ended, by what the engine tells; one that is gone was removed by somebody, that is, killed."""
    state = {} if found is None else found["State"]
    assert isinstance(state, dict)
    code = int(state.get("ExitCode", _BY_SIGNAL + signal.SIGKILL))
    number = code - _BY_SIGNAL if _BY_SIGNAL < code < _BY_SIGNAL + signal.NSIG else None
    return Exit(code, number, out_of_memory=bool(state.get("OOMKilled")))

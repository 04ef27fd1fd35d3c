"""What a run on a host or a device asks its task's viewers, and what comes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import trio

from wegent.core.errors import RunFailed, WegentError
from wegent.core.model import Job, StreamId
from wegent.core.remote_run import Answer, RemoteRun
from wegent.core.said import SaidSkill
from wegent.core.sink import Ask

log = logging.getLogger(__name__)


class RemoteSkills:
    """Asks for `runs`, by row, and brings the answers to whichever worker a run reports to: all that have a copy of it
    keep them.

    Where there are other workers, `tell` tells them of an answer, and `want` has them tell theirs of an attempt; both
    are plain.
    """

    def __init__(self, runs: Mapping[int, RemoteRun], ask: Callable[[Job], Ask] | None) -> None:
        self._runs = runs
        self._ask = ask
        self.tell: Callable[[StreamId, Answer], None] | None = None
        self.want: Callable[[StreamId], None] | None = None

    async def answer(self, run: RemoteRun, skill: SaidSkill) -> None:
        """Ask, and put the answer among those of the run; unless that is over before."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_with, run, nursery.cancel_scope)
            answer = await _answer(run, skill, self._ask)
            run.answer(answer)
            if self.tell is not None:
                self.tell(run.job.stream, answer)
            nursery.cancel_scope.cancel()

    def recalled(self, run: RemoteRun) -> None:
        """A copy of the run is new here."""
        if self.want is not None:
            self.want(run.job.stream)

    async def missed(self) -> None:
        """Something that was told here may be lost: ask for all answers again."""
        for run in list(self._runs.values()):
            self.recalled(run)
        await trio.lowlevel.checkpoint()

    def take(self, stream: StreamId, answer: Answer) -> None:
        """Another worker has got an answer; a repeat of its question is known here from now on."""
        run = self._runs.get(stream.subtask_id)
        if run is not None and run.job.stream == stream and answer.id not in run.asked:
            run.remember(answer.id)
            run.keep(answer)

    def tell_again(self, stream: StreamId) -> None:
        """Another worker has a copy of the run now."""
        run = self._runs.get(stream.subtask_id)
        if run is not None and run.job.stream == stream and self.tell is not None:
            for answer in run.answers.values():
                self.tell(stream, answer)


async def _answer(run: RemoteRun, skill: SaidSkill, ask: Callable[[Job], Ask] | None) -> Answer:
    try:
        if ask is None:
            message = "this server has nobody to ask for skills"
            raise RunFailed(message, type="protocol")
        return Answer(skill.id, True, await ask(run.job)(skill.skill_name, skill.action, skill.data))
    except WegentError as error:
        return Answer(skill.id, False, error=error.sentence)
    except Exception:
        log.exception("a skill request of %s failed", run.job.stream)
        return Answer(skill.id, False, error="the server failed at this; its log says more")


async def _end_with(run: RemoteRun, scope: trio.CancelScope) -> None:
    await run.over.wait()
    scope.cancel()

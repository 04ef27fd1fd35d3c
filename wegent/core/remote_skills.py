"""What a run on a host or a device asks its task's viewers, and what comes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from wegent.core.errors import RunFailed, WegentError
from wegent.core.model import Job
from wegent.core.remote_run import Answer, RemoteRun
from wegent.core.said import SaidSkill
from wegent.core.sink import Ask

log = logging.getLogger(__name__)


async def answer_skill(run: RemoteRun, skill: SaidSkill, ask: Callable[[Job], Ask] | None) -> None:
    """Ask, and put the answer among those of the run; unless that is over before."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_with, run, nursery.cancel_scope)
        run.answer(await _answer(run, skill, ask))
        nursery.cancel_scope.cancel()


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

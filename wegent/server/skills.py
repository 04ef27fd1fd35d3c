"""Skills: a run asks those who view its task for what only a front end can do (protocol §3, §4)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

import trio

from wegent.codec import CodecError, encode
from wegent.core.errors import NotFound, RunFailed
from wegent.core.model import Job, Principal
from wegent.core.rooms import Rooms
from wegent.core.sink import Ask
from wegent.core.text import bounded, clean
from wegent.protocol.events import SKILL_REQUEST
from wegent.protocol.limits import MAX_NAME, SKILL_TIMEOUT_S
from wegent.protocol.skills import SkillRequest, SkillResponse
from wegent.server.access import readable_task
from wegent.server.elsewhere import Elsewhere
from wegent.server.ports.store import Store
from wegent.server.telling import CHAT, task_room

MOST_DATA = 200_000
"""Bytes of what one request carries."""
SENTENCE_LIMIT = 2_000


class _Question:
    __slots__ = ("answer", "answered", "task_id")

    def __init__(self, task_id: int) -> None:
        self.task_id = task_id
        self.answer: SkillResponse | None = None
        self.answered = trio.Event()


class Skills:
    """Asks the room of a task; the first answer of somebody who may see the task counts."""

    def __init__(
        self, store: Store, rooms: Rooms, *, timeout: float = SKILL_TIMEOUT_S, elsewhere: Elsewhere | None = None
    ) -> None:
        self._elsewhere = elsewhere
        self._store = store
        self._rooms = rooms
        self._timeout = timeout
        self._questions: dict[str, _Question] = {}

    def __len__(self) -> int:
        return len(self._questions)

    def ask_of(self, job: Job) -> Ask:
        """What the job's sink asks with."""
        return partial(self._ask, job.task_id)

    async def _ask(self, task_id: int, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """Ask, and wait for the first answer.

        Raises:
            RunFailed: nobody answered in time (type `timeout`), the answer was a failure, or the request is too large.
        """
        request_id = f"{task_id}.{secrets.token_urlsafe(16)}"  # whoever answers is asked for the task's access anywhere
        request = _request(request_id, skill_name, action, data)
        question = self._questions[request_id] = _Question(task_id)
        try:
            self._rooms.emit(CHAT, task_room(task_id), SKILL_REQUEST, request)
            with trio.move_on_after(self._timeout):
                await question.answered.wait()
        finally:
            del self._questions[request_id]
        return self._result(question, request)

    def _result(self, question: _Question, request: SkillRequest) -> Any:
        answer = question.answer
        if answer is None:
            message = f"nobody answered the skill request {request.skill_name!r} within {self._timeout:g} s"
            raise RunFailed(message, type="timeout")
        if not answer.success:
            reason = clean(answer.error or "")[:SENTENCE_LIMIT] or "the front end did not say why"
            message = f"the skill {request.skill_name!r} failed: {reason}"
            raise RunFailed(message)
        return bounded(answer.result)

    async def respond(self, principal: Principal, response: SkillResponse) -> None:
        """Take an answer.

        Raises:
            NotFound: nobody waits for it, or not any more.
            AccessDenied: the task it was asked in is somebody else's.
        """
        task_id = _task_of(response.request_id)
        if task_id is not None and (self._elsewhere is not None or response.request_id in self._questions):
            await self._store.read(lambda unit: readable_task(unit, principal, task_id))
            if self.take(response):
                return
            if self._elsewhere is not None and response.request_id not in self._questions:
                self._elsewhere.answer(response)
                return
        message = "nobody waits for an answer to this request, or not any more"
        raise NotFound(message)

    def take(self, response: SkillResponse) -> bool:
        """An answer of somebody who may give it; False: it is not the first, or nobody asked here. Plain."""
        question = self._questions.get(response.request_id)
        if question is None or question.answer is not None:
            return False
        question.answer = response
        question.answered.set()
        return True


def _task_of(request_id: str) -> int | None:
    number, dot, _ = request_id.partition(".")
    return int(number) if dot and number.isdecimal() and len(number) < 17 else None


def _request(request_id: str, skill_name: str, action: str, data: Mapping[str, Any]) -> SkillRequest:
    request = SkillRequest(
        request_id=request_id,
        skill_name=clean(skill_name)[:MAX_NAME],
        action=clean(action)[:MAX_NAME],
        data=bounded(data),
    )
    try:
        size = len(encode(request))
    except CodecError as error:
        message = f"a skill request can't be sent: {error.sentence}"
        raise RunFailed(message, type="protocol") from None
    if size > MOST_DATA:
        message = f"a skill request carries at most {MOST_DATA} bytes, this one has {size}"
        raise RunFailed(message, type="protocol")
    return request

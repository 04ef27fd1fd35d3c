"""Following one run by listening alone: over server-sent events, or for whoever waits for an answer."""

from __future__ import annotations

import secrets
from typing import Any

from attrs import frozen

from wegent.core.closing import SHUTTING_DOWN
from wegent.core.model import Position, Principal
from wegent.core.namespaces import Namespace
from wegent.core.outbox import OutboxLimits
from wegent.core.sessions import Sessions
from wegent.protocol.chat import ChatResume
from wegent.protocol.tasks import TaskJoin
from wegent.server.joining import Joining
from wegent.server.sse import Listener
from wegent.server.telling import CHAT, task_room


@frozen
class Followed:
    """Where somebody wants to go on: a run and a place in it; without a run the active one, else the next."""

    task_id: int
    position: Position | None = None


class Followers:
    """Opens listeners, and knows those that are open."""

    def __init__(self, sessions: Sessions, joining: Joining, limits: OutboxLimits, *, worker: str = "w") -> None:
        self._sessions = sessions
        self._joining = joining
        self._limits = limits
        self._worker = worker
        self._open: set[Listener] = set()

    async def open(self, principal: Principal, what: Followed) -> Listener:
        """A listener at that place. Whoever gets it has to `close` it.

        Raises:
            NotFound, AccessDenied: there is no such task or run, or it is not theirs.
            Overloaded, ShuttingDown: not now.
        """
        listener = Listener(task_room(what.task_id), self._limits)

        async def known(_: Any) -> Principal:
            return principal

        namespace = Namespace(CHAT, convert=_nothing, authenticate=known)
        sid = f"{self._worker}.{secrets.token_urlsafe(15)}"
        listener.session = await self._sessions.open(listener, namespace, id=sid, auth=None, greet=lambda _: None)
        try:
            await self._begin(listener, what)
        except BaseException:
            listener.session.end()
            raise
        self._open.add(listener)
        return listener

    async def _begin(self, listener: Listener, what: Followed) -> None:
        assert listener.session is not None
        position = what.position
        if position is None:
            acks: list[Any] = []
            await self._joining.join(listener.session, TaskJoin(task_id=what.task_id), acks.append)  # type: ignore[arg-type]
            if acks[0].streaming is None:
                return
            position = Position(acks[0].streaming.subtask_id, acks[0].streaming.attempt, 0)
        subtask_id = position.subtask_id
        asked = ChatResume(
            task_id=what.task_id, subtask_id=subtask_id, attempt=position.attempt or None, offset=position.offset
        )
        await self._joining.resume(listener.session, asked, lambda _: listener.begin(subtask_id))  # type: ignore[arg-type]

    def close(self, listener: Listener) -> None:
        """Let go. Plain; a second time it does nothing."""
        self._open.discard(listener)
        if listener.session is not None:
            listener.session.end()

    def close_all(self) -> None:
        """The server stops: all of them end, and come back elsewhere."""
        for listener in list(self._open):
            listener.close(SHUTTING_DOWN)


def _nothing(data: Any, kind: Any) -> Any:
    return data

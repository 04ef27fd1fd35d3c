"""A task followed live over a session: joined, recovered, resumed, and what changed in it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from wegent.client.errors import ConnectionLost, Timeout
from wegent.client.merge import Resume, TaskView
from wegent.client.message import Change, ChangeKind
from wegent.client.session import Backoff, Listener, Session
from wegent.core.errors import WegentError
from wegent.protocol.events import CHAT_CANCEL, CHAT_RESUME, CHAT_RETRY, CHAT_SEND, SYNC_REQUIRED, TASK_JOIN

KEPT_CHANGES = 10_000
SEND_S = 120.0


class TaskStream(Listener):
    """One task as this client sees it; iterating gives what changes. Made by `open_task`.

    Every frame is applied to `view` in the order in which it came, acks included: so what the server holds back for a
    joining member, and sends behind the ack, needs no second holding here. One recovery runs at a time; what asks for
    another meanwhile (a reconnect, `recover`) is served by one more after it, however many ask. The sync cursor is the
    view's `revision`, which moves by acks only.
    """

    def __init__(self, session: Session, task_id: int | None = None) -> None:
        self._session = session
        self.view: TaskView | None = None if task_id is None else TaskView(task_id)
        self._recovering = False
        self._due = task_id is not None
        self._failure: WegentError | None = None
        self._over = False
        self._changes: list[Change] = []
        self._work = trio.Event()
        self._news = trio.Event()

    @property
    def task(self) -> TaskView:
        """The view of a task that there is; asking before the first message was sent is a defect."""
        assert self.view is not None, "no message was sent yet"
        return self.view

    @property
    def state(self) -> str:
        """The client task's state of protocol §5: idle, waiting_socket, joining, syncing, ready, streaming, error."""
        if self._failure is not None:
            return "error"
        if self.view is None:
            return "idle"
        if not self._session.is_ready:
            return "waiting_socket"
        if self._recovering or self._due:
            return "joining" if self.view.revision is None else "syncing"
        return "ready" if self.view.active is None else "streaming"

    # what one does

    async def send(self, team_id: int, message: str, **options: Any) -> Mapping[str, Any]:
        """Send a message, in a new task if there is none yet; the ack of `chat:send`.

        A connection that is lost before the ack is no obstacle: the message is sent again under the same
        `client_message_id`, which the server knows.

        Raises:
            Timeout: there was no ack within two minutes.
            WegentError: the server refused.
        """
        payload = {"team_id": team_id, "message": message, "client_message_id": secrets.token_hex(16), **options}
        if self.view is not None:
            payload["task_id"] = self.view.task_id
        with trio.move_on_after(SEND_S):
            while True:
                try:
                    return await self._session.emit(CHAT_SEND, payload, applied=partial(self._sent, payload))
                except (ConnectionLost, Timeout):
                    await self._session.wait_ready()
        sentence = f"the message was not acknowledged within {SEND_S:g} s"
        raise Timeout(sentence)

    async def cancel(self, subtask_id: int) -> None:
        """Stop a run. Raises `WegentError` where it may not be, or has ended."""
        await self._session.emit(CHAT_CANCEL, {"subtask_id": subtask_id})

    async def retry(self, subtask_id: int, **options: Any) -> int:
        """Ask for another attempt of a row that failed or was cancelled; which one it is.

        Raises:
            ConnectionLost, Timeout: nobody knows whether it was asked for; a recovery shows it.
            WegentError: the server refused.
        """
        payload = {"task_id": self.task.task_id, "subtask_id": subtask_id, **options}
        applied = partial(self._retried, subtask_id)
        ack = await self._session.emit(CHAT_RETRY, payload, applied=applied)
        return int(ack["attempt"])

    def recover(self) -> None:
        """Catch up: the network is back, the page is visible again, or something looks wrong."""
        if self.view is not None:
            self._due = True
            self._work.set()

    def __aiter__(self) -> TaskStream:
        return self

    async def __anext__(self) -> list[Change]:
        """What changed since the last time, as often as something does; whoever is slow gets more at a time.

        Raises:
            WegentError: the task can't be followed any more.
        """
        while not self._changes:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise StopAsyncIteration
            await self._news.wait()
        changes, self._changes, self._news = self._changes, [], trio.Event()
        return changes

    # what comes

    def ready(self) -> None:
        """A new connection knows nothing of us yet."""
        self.recover()

    def lost(self) -> None:
        """Nothing is owed on a connection that is gone."""
        if self.view is not None:
            self.view.disconnected()
        self._tell(Change(ChangeKind.STATUS))

    def over(self) -> None:
        """The session has ended."""
        self._over = True
        self._tell(Change(ChangeKind.STATUS))

    def event(self, name: str, data: Any) -> None:
        """Apply an event of the task."""
        if name == SYNC_REQUIRED:
            self.recover()
        elif self.view is not None and isinstance(data, Mapping):
            self._tell(*self.view.event(name, data))
            if self.view.lacks_text:
                self._work.set()

    def _sent(self, payload: Mapping[str, Any], ack: Mapping[str, Any]) -> None:
        if self.view is None and isinstance(ack.get("task_id"), int):
            self.view = TaskView(ack["task_id"])
        self._tell(*self.task.sent(payload, ack))

    def _retried(self, subtask_id: int, ack: Mapping[str, Any]) -> None:
        self._tell(*self.task.retried(subtask_id, ack))

    def _tell(self, *changes: Change) -> None:
        if not changes:
            return
        self._changes.extend(changes)
        if len(self._changes) > KEPT_CHANGES:
            self._changes = [Change(ChangeKind.ALL)]
        self._news.set()

    # recovery

    async def run(self) -> None:
        """Do what is due: joins and resumes, one at a time."""
        backoff, failures = Backoff(), 0
        while self._failure is None:
            if not self._due and not (self.view is not None and (wanted := self.view.requests())):
                await self._work.wait()
                self._work = trio.Event()
                continue
            try:
                await (self._join() if self._due else self._resume(wanted))
                failures = 0
            except WegentError as error:
                if not error.retry:
                    self._failure = error
                    self._tell(Change(ChangeKind.STATUS))
                    return
                self._due, failures = True, failures + 1
                await trio.sleep(backoff.wait(failures))

    async def _join(self) -> None:
        view, self._due = self.task, False
        whole = view.revision is None
        payload = {"task_id": view.task_id, **({} if whole else {"after_revision": view.revision})}
        self._recovering = True
        try:
            await self._session.emit(TASK_JOIN, payload, applied=lambda ack: self._tell(*view.joined(ack, whole=whole)))
        finally:
            self._recovering = False

    async def _resume(self, wanted: list[Resume]) -> None:
        view = self.task
        for request in wanted:
            position = {"subtask_id": request.subtask_id, "attempt": request.attempt, "offset": request.offset}
            applied = partial(self._resumed, request.subtask_id)
            try:
                await self._session.emit(CHAT_RESUME, {"task_id": view.task_id, **position}, applied=applied)
            except WegentError as error:
                view.refused(request.subtask_id)
                if error.retry:
                    raise

    def _resumed(self, subtask_id: int, ack: Mapping[str, Any]) -> None:
        self._tell(*self.task.resumed(subtask_id, ack))


@asynccontextmanager
async def open_task(session: Session, task_id: int | None = None) -> AsyncIterator[TaskStream]:
    """Follow a task within the context; without an id, the one that the first `send` makes."""
    stream = TaskStream(session, task_id)
    try:
        async with trio.open_nursery() as nursery:
            with session.listening(stream):
                nursery.start_soon(stream.run)
                yield stream
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise

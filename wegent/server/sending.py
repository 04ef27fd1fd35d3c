"""`chat:send`: a message becomes rows, then events, then a run (protocol §3)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from attrs import frozen

from wegent.core.clock import Clock
from wegent.core.errors import AccessDenied, Conflict, InvalidPayload, NotFound
from wegent.core.model import Principal
from wegent.core.ports.tracing import Tracer
from wegent.core.rooms import Rooms
from wegent.core.sessions import Session
from wegent.protocol.chat import ChatSend, ChatSendAck
from wegent.protocol.status import OnLost, Role, Status
from wegent.server.access import may_see, readable_task
from wegent.server.contexts import Contexts, Given, attach
from wegent.server.evicting import Evictions
from wegent.server.members import keep_owner
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task
from wegent.server.status import TaskView, settle, view
from wegent.server.stopping import Stop, make_way, reach
from wegent.server.targets import Targets
from wegent.server.teams import TeamSetup, setup_of, team_of
from wegent.server.telling import Teller, task_room
from wegent.server.unread import Unread, unread_of_all
from wegent.server.updates import Updates

RELEASE_AFTER = timedelta(seconds=2)
"""When a row becomes claimable by itself, should the worker that made it die before it released it."""
TITLE_LENGTH = 60

Release = Callable[[Subtask], None]
"""Says that a row may be claimed, since its making has been told."""


@frozen
class Sent:
    """What a send committed; `repeat`: all of it was there before.

    `stopping` are runs that it interrupts; `unread` says, in a group chat, how much each user has not read.
    """

    view: TaskView
    message: Subtask
    answer: Subtask | None
    created: bool
    repeat: bool = False
    stopping: tuple[Subtask, ...] = ()
    unread: tuple[Unread, ...] = ()

    @property
    def ack(self) -> ChatSendAck:
        """The ack's payload."""
        return ChatSendAck(
            task_id=self.message.task_id,
            subtask_id=self.message.id,
            message_id=self.message.message_id,
            assistant_subtask_id=None if self.answer is None else self.answer.id,
        )


class Sending:
    """Takes messages, from whichever transport."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rooms: Rooms,
        teller: Teller,
        release: Release,
        targets: Targets,
        *,
        stop: Stop | None = None,
        evictions: Evictions | None = None,
        updates: Updates | None = None,
        contexts: Contexts | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`release` makes a row's run begin, `stop` makes one end that a message interrupts.

        `evictions` are those by which people are put out of the rooms that this lets them in, `updates` those by which
        their lists are told, each of them one of a worker.
        """
        self._store = store
        self._clock = clock
        self._rooms = rooms
        self._teller = teller
        self._release = release
        self._targets = targets
        self._stop = stop
        self._updates = updates or Updates(rooms)
        self._evictions = evictions or Evictions(rooms)
        self._contexts = contexts or Contexts()
        self._tracer = tracer

    async def send(
        self,
        principal: Principal,
        payload: ChatSend,
        *,
        ack: Callable[[ChatSendAck], None],
        session: Session | None = None,
    ) -> Sent:
        """Commit, then in one plain step: enter the room, tell, ack, release."""
        check(payload)
        given = await self._contexts.gather(principal, payload)
        with self._evictions.entering(principal.user_id) as entering:
            sent = await self._store.write(lambda unit: self.commit(unit, principal, payload, given))
            if session is not None and entering.may_enter(sent.message.task_id):
                self._enter(session, task_room(sent.message.task_id))
            self.tell(sent, ack, session)
        return sent

    def _enter(self, session: Session, room: str) -> None:
        if session.open and room not in session.rooms:
            self._rooms.enter(session, room)

    def tell(self, sent: Sent, ack: Callable[[ChatSendAck], None], session: Session | None = None) -> None:
        """What follows a commit, for all but the connection it came from."""
        if sent.created and not sent.repeat:
            self._teller.created(sent.view)
        ack(sent.ack)  # before anything of the room: what was held for others may go out with the message
        if not sent.repeat:
            self._teller.said(sent.message, skip=session)
            self._teller.stopped(sent.stopping, sent.view)
            reach(self._stop, sent.stopping)
            self._updates.unread(sent.view.task, sent.unread)
        if sent.answer is not None:
            self._release(sent.answer)

    def commit(self, unit: Unit, principal: Principal, payload: ChatSend, given: Given = ()) -> Sent:
        """The rows of a message and its contexts, within somebody's unit, who calls `tell` after its commit."""
        if payload.task_id is None:
            team = team_of(unit, principal, payload.team_id)
        else:
            _existing(unit, principal, payload)
            kind = unit.kind(payload.team_id)
            if kind is None:
                message = f"team {payload.team_id} of this task is no more"
                raise NotFound(message)
            team = kind
        if (repeat := self._repeat(unit, principal, payload)) is not None:
            return repeat
        setup = setup_of(unit, team, model=payload.force_override_bot_model, asked_by=principal.user_id)
        return self._add(unit, principal, payload, setup, given)

    def _repeat(self, unit: Unit, principal: Principal, payload: ChatSend) -> Sent | None:
        if payload.client_message_id is None:
            return None
        row = unit.sent(principal.user_id, payload.client_message_id)
        if row is None:
            return None
        if row.prompt != payload.message or payload.task_id not in (None, row.task_id):
            message = "this client_message_id was used for another message"
            raise Conflict(message)
        task = readable_task(unit, principal, row.task_id)
        answers = unit.subtasks(row.task_id, after_message_id=row.message_id, limit=20)
        answer = next((each for each in answers if each.answers == row.id), None)
        return Sent(view(unit, task), row, answer, created=False, repeat=True)

    def _add(self, unit: Unit, principal: Principal, payload: ChatSend, setup: TeamSetup, given: Given) -> Sent:
        task = unit.task(payload.task_id) if payload.task_id is not None else None
        group = payload.is_group_chat if task is None else task.is_group_chat
        due = not group or setup.mentioned_in(payload.message)
        rows = 2 if due else 1
        target = self._target(unit, principal, payload, setup, task) if due else ""
        stopping: tuple[Subtask, ...] = ()
        if task is None:
            created = True
            task = self._new_task(unit, principal, payload, setup, rows)
        else:
            created = False
            task = unit.touch(task.id, messages=rows)
            if group:
                readable_task(unit, principal, task.id)  # who was removed meanwhile says no more
            if due:
                stopping = make_way(unit, principal, task, payload.if_running, self._clock)
        message = unit.add_subtask(
            task=task,
            message_id=task.last_message_id - rows + 1,
            role=Role.USER.value,
            sender_id=principal.user_id,
            sender_name=principal.user_name,
            status=Status.COMPLETED.value,
            prompt=payload.message,
            contexts=attach(unit, principal, given, task.id) if given else (),
            client_message_id=payload.client_message_id,
            completed_at=self._clock.now(),
        )
        answer = self._new_answer(unit, principal, payload, setup, task, message, target) if due else None
        if group:
            _keep_place(unit, principal, task, message, created=created)
        unread = unread_of_all(unit, task) if group else ()
        return Sent(settle(unit, task), message, answer, created, stopping=stopping, unread=unread)

    def _target(self, unit: Unit, principal: Principal, payload: ChatSend, setup: TeamSetup, task: Task | None) -> str:
        return self._targets.decide(unit, principal, setup, device_id=payload.device_id, task=task)

    def _new_task(self, unit: Unit, principal: Principal, payload: ChatSend, setup: TeamSetup, rows: int) -> Task:
        options = {
            name: value
            for name in ("git_url", "git_repo", "branch_name")
            if (value := getattr(payload, name)) is not None
        }
        return unit.add_task(
            owner_id=principal.user_id,
            team_id=setup.id,
            team_name=setup.title,
            title=payload.title or _title(payload.message),
            messages=rows,
            is_group_chat=payload.is_group_chat,
            task_type=payload.task_type.value if payload.task_type else "chat",
            device_id=payload.device_id,
            options=options,
        )

    def _new_answer(
        self,
        unit: Unit,
        principal: Principal,
        payload: ChatSend,
        setup: TeamSetup,
        task: Task,
        message: Subtask,
        target: str,
    ) -> Subtask:
        return unit.add_subtask(
            task=task,
            message_id=task.last_message_id,
            role=Role.ASSISTANT.value,
            sender_id=principal.user_id,
            sender_name=principal.user_name,
            status=Status.PENDING.value,
            answers=message.id,
            bot_name=setup.bot_name,
            shell_type=setup.shell_type,
            target=target,
            on_lost=(payload.on_lost or OnLost(setup.on_lost)).value,
            claimable_at=self._clock.now() + RELEASE_AFTER,
            options={
                "deep_thinking": payload.enable_deep_thinking,
                "web_search": payload.enable_web_search,
                "model": payload.force_override_bot_model,
                "model_by": principal.user_id,
                **self._trace(),
            },
        )

    def _trace(self) -> dict[str, str]:
        """The span that asked for the answer, for the run to be a part of."""
        traceparent = None if self._tracer is None else self._tracer.traceparent()
        return {} if traceparent is None else {"traceparent": traceparent}


def check(payload: ChatSend) -> None:
    """Raise `InvalidPayload` for what has the right shape, but says nothing."""
    if not payload.message.strip():
        message = "`message`: expected some text, got none"
        raise InvalidPayload(message)


def _existing(unit: Unit, principal: Principal, payload: ChatSend) -> None:
    task = unit.task(payload.task_id) if payload.task_id is not None else None
    if task is None or not may_see(unit, principal, task):
        message = f"task {payload.task_id} is not open to you"
        raise AccessDenied(message)
    if task.team_id != payload.team_id:
        message = f"task {task.id} talks to team {task.team_id}, not to team {payload.team_id}"
        raise Conflict(message)


def _keep_place(unit: Unit, principal: Principal, task: Task, message: Subtask, *, created: bool) -> None:
    """Who says something has read what came before it."""
    if created:
        keep_owner(unit, task, read_up_to=message.message_id)
    else:
        unit.mark_read(task.id, principal.user_id, message.message_id)


def _title(message: str) -> str:
    first = message.strip().splitlines()[0]
    return first if len(first) <= TITLE_LENGTH else first[: TITLE_LENGTH - 1].rstrip() + "…"

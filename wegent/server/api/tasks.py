"""Tasks over REST: lists, what was said, sending and cancelling (protocol §10)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import field, frozen
from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.errors import Conflict, InvalidPayload, NotFound
from wegent.core.model import Principal
from wegent.core.ports.auth import Auth
from wegent.protocol.auth import Scope
from wegent.protocol.blocks import App
from wegent.protocol.chat import ChatCancelAck, ChatSend, ChatSendAck
from wegent.protocol.fields import ID
from wegent.protocol.shape import to_wire
from wegent.protocol.status import Status
from wegent.protocol.tasks import Row
from wegent.server.access import readable_task, task_with_rows
from wegent.server.api import query
from wegent.server.api.calls import PREFIX, body_as, path_id, principal, protect, read_body, read_object, reply
from wegent.server.api.conditions import etag, version_of
from wegent.server.api.describing import Items, describes, paged, text, whole, word
from wegent.server.api.rows import RowsAsked, RowsPage, read_rows
from wegent.server.payloads import app_shown
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Task
from wegent.server.sending import Sending
from wegent.server.stopping import Cancelling
from wegent.server.unread import unread_by_task

PAGE = 50
MAX_PAGE = 200
ROWS = (
    whole("after_message_id", least=0),
    whole("before_message_id", least=0),
    whole("limit", most=RowsAsked.MOST),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@frozen(kw_only=True)
class TaskItem:
    """A task as lists tell of it; `unread` is absent where nobody counts it."""

    id: int
    title: str
    status: str
    progress: int
    revision: int
    owner_id: int
    team_id: int
    team_name: str
    is_group_chat: bool
    task_type: str
    device_id: str | None = None
    app: App | None = None
    unread: int | None = None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None


@frozen(kw_only=True)
class TaskWithRows(TaskItem):
    """A task with a page of its rows; `has_more`: there are others in the direction that was asked for."""

    subtasks: tuple[Row, ...]
    has_more: bool


@frozen(kw_only=True)
class RowsAnswer:
    """A page of a task's rows."""

    subtasks: tuple[Row, ...]
    has_more: bool


@frozen(kw_only=True)
class NewMessage(ChatSend):
    """`POST /tasks/{id}/messages`: as `chat:send`; the task is in the path, and its team is the default."""

    team_id: int | None = field(default=None, validator=ID)  # type: ignore[assignment]


@frozen(kw_only=True)
class CancelTask:
    """`POST /tasks/{id}/cancel`: the run named, else the one that is active, else the next that waits."""

    subtask_id: int | None = field(default=None, validator=ID)


def task_item(task: Task, unread: int | None = None) -> TaskItem:
    """The task without its rows."""
    return TaskItem(
        id=task.id,
        title=task.title,
        status=task.status,
        progress=task.progress,
        revision=task.revision,
        owner_id=task.owner_id,
        team_id=task.team_id,
        team_name=task.team_name,
        is_group_chat=task.is_group_chat,
        task_type=task.task_type,
        device_id=task.device_id,
        app=app_shown(task),
        unread=unread,
        created_at=task.created_at,
        updated_at=task.updated_at,
        completed_at=task.completed_at,
    )


def task_version(task: Task) -> str:
    """Of what may be changed of a task; its runs change nothing of that."""
    return version_of(task.id, task.title)


def tasks_blueprint(store: Store, auth: Auth, sending: Sending, cancelling: Cancelling) -> Blueprint:
    """`/tasks` and all below it."""
    blueprint = Blueprint("tasks", __name__, url_prefix=f"{PREFIX}/tasks")
    protect(blueprint, auth)

    @blueprint.get("")
    @describes(
        "Tasks that one sees, last changed first",
        answers=Items(TaskItem),
        query=(*paged(MAX_PAGE), word("status", Status), text("q", "in the title")),
    )
    async def list_tasks() -> TrioResponse:
        return reply(await _list(store, principal()))

    @blueprint.post("")
    @describes("Begin a task with a message", takes=ChatSend, answers={200: ChatSendAck, 201: ChatSendAck})
    async def new_task() -> TrioResponse:
        payload = await read_body(ChatSend)
        if payload.task_id is not None:
            message = "`task_id`: a new task has none yet; to go on with one, post to /tasks/{id}/messages"
            raise InvalidPayload(message)
        return await _send(sending, payload)

    @blueprint.get("/<task_id>")
    @describes("A task and a page of its messages", answers=TaskWithRows, query=ROWS)
    async def one_task(task_id: str) -> TrioResponse:
        task, page, unread = await _read(store, principal(), path_id(task_id, "task"))
        item = {**to_wire(task_item(task, unread)), "subtasks": page.rows, "has_more": page.has_more}
        return reply(item, ETag=etag(task_version(task)))

    @blueprint.post("/<task_id>/messages")
    @describes("Send a message to a task", takes=NewMessage, answers={200: ChatSendAck, 201: ChatSendAck})
    async def new_message(task_id: str) -> TrioResponse:
        who, asked = principal(), path_id(task_id, "task")
        task = await store.read(lambda unit: readable_task(unit, who, asked))
        body = await read_object()
        body = {**body, "task_id": asked, "team_id": body.get("team_id") or task.team_id}
        return await _send(sending, body_as(body, ChatSend))

    @blueprint.post("/<task_id>/cancel")
    @describes("Ask a run to end", takes=CancelTask, answers=ChatCancelAck)
    async def cancel(task_id: str) -> TrioResponse:
        who, asked = principal(), path_id(task_id, "task")
        named = (await read_body(CancelTask)).subtask_id
        subtask_id = await store.read(lambda unit: _run_of(unit, who, asked, named))
        acks: list[ChatCancelAck] = []
        await cancelling.cancel(who, subtask_id, ack=acks.append)
        return reply(acks[0])

    return blueprint


def rows_blueprint(store: Store, auth: Auth) -> Blueprint:
    """`GET /tasks/{id}/subtasks`, which those who run a task may read too (protocol §7.1)."""
    blueprint = Blueprint("rows", __name__, url_prefix=f"{PREFIX}/tasks")
    protect(blueprint, auth, (Scope.USER, Scope.EXECUTOR, Scope.RUN))

    @blueprint.get("/<task_id>/subtasks")
    @describes("A page of a task's messages", answers=RowsAnswer, query=ROWS)
    async def subtasks(task_id: str) -> TrioResponse:
        _, page, _ = await _read(store, principal(), path_id(task_id, "task"))
        return reply({"subtasks": page.rows, "has_more": page.has_more})

    return blueprint


async def _send(sending: Sending, payload: ChatSend) -> TrioResponse:
    """Send as `chat:send` does; 201 with its ack, 200 where the same was sent before."""
    acks: list[ChatSendAck] = []
    sent = await sending.send(principal(), payload, ack=acks.append)
    location = f"{PREFIX}/tasks/{sent.message.task_id}"
    return reply(acks[0], 200 if sent.repeat else 201, Location=location)


async def _list(store: Store, who: Principal) -> dict[str, Any]:
    limit = query.number("limit", PAGE, most=MAX_PAGE)
    status, words = query.word("status", Status), query.text("q")
    place = query.cursor(tuple[int, int])
    before = None if place is None else (_time(place[0]), place[1])

    def read(unit: Unit) -> tuple[list[Task], Mapping[int, int]]:
        tasks = unit.tasks_of(
            who.user_id, limit=limit + 1, before=before, status=status.value if status else None, query=words
        )
        return tasks, unread_by_task(unit, who.user_id, tasks)

    tasks, unread = await store.read(read)
    answer: dict[str, Any] = {"items": [task_item(task, unread.get(task.id)) for task in tasks[:limit]]}
    if len(tasks) > limit:
        last = tasks[limit - 1]
        answer["next_cursor"] = query.next_cursor((last.updated_at - _EPOCH) // _TICK, last.id)
    return answer


def _time(micros: int) -> datetime:
    try:
        return _EPOCH + micros * _TICK
    except OverflowError as error:
        raise query.bad_cursor() from error


async def _read(store: Store, who: Principal, task_id: int) -> tuple[Task, RowsPage, int | None]:
    asked = RowsAsked(
        after_message_id=query.maybe_number("after_message_id"),
        before_message_id=query.maybe_number("before_message_id"),
        limit=query.number("limit", RowsAsked.DEFAULT, most=RowsAsked.MOST),
    )

    def read(unit: Unit) -> tuple[Task, RowsPage, int | None]:
        task = task_with_rows(unit, who, task_id)
        unread = unread_by_task(unit, who.user_id, [task]).get(task.id)
        return task, read_rows(unit, task.id, asked), unread

    return await store.read(read)


def _run_of(unit: Unit, who: Principal, task_id: int, subtask_id: int | None) -> int:
    task = readable_task(unit, who, task_id)
    if subtask_id is not None:
        row = unit.subtask(subtask_id)
        if row is None or row.task_id != task.id:
            message = f"task {task.id} has no answer {subtask_id}"
            raise NotFound(message)
        return subtask_id
    unfinished = unit.unfinished(task.id)
    if not unfinished:
        message = f"task {task.id} has no run to cancel"
        raise Conflict(message)
    return next((row.id for row in unfinished if Status(row.status).active), unfinished[0].id)

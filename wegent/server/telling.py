"""What the rooms are told of runs and tasks: the application's voice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Required, TypedDict

from wegent.core.catchup import Chunk
from wegent.core.model import CONTENT, THINKING, EndingStatus, Job, StreamId, Value
from wegent.core.ports.runbook import Finished
from wegent.core.replica import Replica
from wegent.core.rooms import Rooms
from wegent.core.runs import RunListener
from wegent.core.sessions import Session
from wegent.core.streams import Voice
from wegent.core.told import Measure
from wegent.protocol.events import TASK_APP_UPDATE
from wegent.server import payloads
from wegent.server.claiming import Claimed
from wegent.server.records import Subtask, Task
from wegent.server.status import TaskView, is_terminal

CHAT = "/chat"


def task_room(task_id: int) -> str:
    """The room of those who view a task."""
    return f"task:{task_id}"


def user_room(user_id: int) -> str:
    """The room of a user's connections."""
    return f"user:{user_id}"


class ChatVoice(Voice):
    """Streams are told as `chat:chunk` (protocol §4)."""

    __slots__ = ()

    def room(self, task_id: int) -> tuple[str, str]:
        """The task's room on `/chat`."""
        return CHAT, task_room(task_id)

    def chunk(self, chunk: Chunk) -> tuple[str, Any]:
        """A plain dict, for it is made once per delta."""
        task_id, subtask_id, attempt = chunk.stream
        offset, content = chunk.texts.get(CONTENT, (None, ""))
        payload: dict[str, Any] = {"task_id": task_id, "subtask_id": subtask_id, "attempt": attempt, "content": content}
        result: dict[str, Any] = {}
        if THINKING in chunk.texts:
            at, thinking = chunk.texts[THINKING]
            result["thinking"] = {"content": thinking, "offset": at}
        for value in chunk.values:
            if value.kind == "block":
                result.setdefault("blocks", []).append(value.data)
            elif value.kind == "app":
                result["app"] = value.data
            else:
                result["progress"] = value.data["progress"]
        payload["offset"] = chunk.length if offset is None else offset
        if result:
            payload["result"] = result
        return "chat:chunk", payload

    def beside(self, task_id: int, value: Value) -> tuple[str, Any] | None:
        """An app is told as `task:app_update` too (protocol §4)."""
        return (TASK_APP_UPDATE, {"task_id": task_id, "app": value.data}) if value.kind == "app" else None


class About(TypedDict, total=False):
    """What `Rooms.emit` is told of a row."""

    namespace: Required[str]
    name: Required[str]
    event: Required[str]
    payload: Required[Any]
    revision: int
    row: int
    stream: StreamId
    ends: EndingStatus
    measure: Measure


def message_told(row: Subtask) -> About:
    """Somebody said something."""
    return {**_about(row), "event": "chat:message", "payload": payloads.chat_message(row)}


def start_told(row: Subtask) -> About:
    """An attempt begins."""
    return {**_of_run(row), "event": "chat:start", "payload": payloads.chat_start(row)}


def ending_told(row: Subtask) -> About:
    """An attempt has ended; the row says how, and all that it said."""
    ending = payloads.row_ending(row)
    event, payload = payloads.ending_event(row, ending)
    measure = Measure.of(payloads.row_snapshot(row))
    return {**_of_run(row), "event": event, "payload": payload, "ends": ending.status, "measure": measure}


def app_told(task: Task) -> About | None:
    """There is something to look at in a task; for those who order what is told, each is a row of its own."""
    payload = payloads.app_update(task)
    if payload is None or task.app is None:
        return None
    revision: int = task.app["revision"]
    return {
        "namespace": CHAT,
        "name": task_room(task.id),
        "event": TASK_APP_UPDATE,
        "payload": payload,
        "revision": revision,
        "row": -revision,
    }


def _about(row: Subtask) -> About:
    return {
        "namespace": CHAT,
        "name": task_room(row.task_id),
        "event": "",
        "payload": None,
        "revision": row.revision,
        "row": row.id,
    }


def _of_run(row: Subtask) -> About:
    return {**_about(row), "stream": StreamId(row.task_id, row.id, row.attempt)}


class Teller(RunListener):
    """Turns committed changes into events, each in the plain step after its commit."""

    __slots__ = ("_rooms", "after_ending", "on_run")

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self.after_ending: Callable[[], None] | None = None
        self.on_run: Callable[[Subtask], None] | None = None
        """Hears of rows whose run began or ended."""

    def started(self, job: Job) -> None:
        """`chat:start`, then `task:status`."""
        claimed: Claimed = job.about
        self._rooms.emit(**start_told(claimed.row))
        self.status(claimed.view)
        self._note(claimed.row)

    def ended(self, finished: Finished, replica: Replica) -> None:
        """The ending, then `task:status`."""
        self.ending(finished.row, finished.task)
        if self.after_ending is not None:
            self.after_ending()

    def returned(self, job: Job) -> None:
        """Back in the queue: the next attempt's `chat:start` will tell."""
        if self.after_ending is not None:
            self.after_ending()

    def taken(self, row: Subtask, view: TaskView) -> None:
        """A run was taken from its owner: its ending, unless it waits for its next attempt; then `task:status`."""
        self.stopped([row], view)
        if self.after_ending is not None:
            self.after_ending()

    def ending(self, row: Subtask, view: TaskView) -> None:
        """A row has become terminal."""
        self.stopped([row], view)

    def stopped(self, rows: Sequence[Subtask], view: TaskView) -> None:
        """The endings of those rows that have become terminal, then how the task stands."""
        for row in rows:
            if is_terminal(row):
                self._rooms.emit(**ending_told(row))
        self.status(view)
        for row in rows:
            self._note(row)

    def _note(self, row: Subtask) -> None:
        if self.on_run is not None:
            self.on_run(row)

    def status(self, view: TaskView) -> None:
        """How a task stands, to all that see it."""
        payload, room, revision = payloads.task_status(view.task), task_room(view.task.id), view.task.revision
        self._rooms.mark(CHAT, room, revision)
        for user_id in view.audience:
            self._rooms.emit(CHAT, user_room(user_id), "task:status", payload, behind=room, after=revision)

    def shown(self, task: Task) -> None:
        """There is something to look at."""
        if (about := app_told(task)) is not None:
            self._rooms.emit(**about)

    def created(self, view: TaskView) -> None:
        """A task is new to its owner."""
        self._rooms.emit(CHAT, user_room(view.task.owner_id), "task:created", payloads.task_created(view.task))

    def said(self, row: Subtask, *, skip: Session | None) -> None:
        """Somebody said something, to all viewers but the connection it came from."""
        self._rooms.emit(**message_told(row), skip=skip)

"""The merge rules of protocol §5: what a client holds of a task, from the frames it got. No I/O.

A `TaskView` is both the state of a client and a referee. As a client it does what §5 says with whatever comes. As a
referee it records in `problems` every frame that the laws of §1 forbid on this connection, judged from the frames in
the order in which they came: acks and events are to be handed in as they are read off the connection, and a lost
connection is told by `disconnected`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from wegent.client.message import TERMINAL, Change, ChangeKind, Message
from wegent.client.problems import ProblemKind, Problems
from wegent.client.rowmerge import merge_row
from wegent.client.runmerge import CHANNELS, RunMerge, number

Payload = Mapping[str, Any]

ENDINGS = {"chat:done": "COMPLETED", "chat:error": "FAILED", "chat:cancelled": "CANCELLED"}


@frozen
class Resume:
    """A `chat:resume` that the view needs: text is missing from `offset` on."""

    subtask_id: int
    attempt: int
    offset: int


class TaskView:
    """What one client holds of one task.

    `revision` is the sync cursor; only acks move it. `messages` holds the rows by subtask id, `status` and `progress`
    are the task's own, `app` its preview. `problems` holds the breaches found.
    """

    def __init__(self, task_id: int) -> None:
        self.task_id = task_id
        self.revision: int | None = None
        self.messages: dict[int, Message] = {}
        self.status: str | None = None
        self.progress: int | None = None
        self.app: Payload | None = None
        self.deleted = False
        self.problems = Problems()
        self._status_revision = 0
        self._gone: dict[int, int] = {}
        self._member = False
        self._whole = False
        self._wanted: set[int] = set()
        self._asked: set[int] = set()
        self._handlers: dict[str, Callable[[Payload, RunMerge], None]] = {
            "chat:start": self._start,
            "chat:chunk": self._chunk,
            "chat:message": self._message,
            "task:status": self._status,
            "task:updated": self._updated,
            "task:app_update": self._app_update,
        }

    # what is there

    def ordered(self) -> list[Message]:
        """The rows by `message_id`, those without one last, in order of time and id."""

        def place(message: Message) -> tuple[bool, int, str, int]:
            return message.message_id is None, message.message_id or 0, message.created_at or "", message.id

        return sorted(self.messages.values(), key=place)

    def holds(self) -> list[dict[str, Any]]:
        """All that any two clients must agree on at the end, as plain comparable values."""
        return [
            {
                "id": message.id,
                "message_id": message.message_id,
                "role": message.role,
                "status": message.status,
                "attempt": message.attempt,
                "text": message.text,
                "thinking": message.thinking.value,
                "blocks": [dict(block) for block in message.blocks],
                "error": message.error,
            }
            for message in self.ordered()
        ]

    @property
    def active(self) -> Message | None:
        """The row that is being answered now, if any."""
        running = [message for message in self.messages.values() if message.phase == "streaming"]
        return running[-1] if running else None

    @property
    def lacks_text(self) -> bool:
        """Whether `requests` has something to ask for."""
        return bool(self._wanted - self._asked)

    def requests(self) -> list[Resume]:
        """The resumes that are needed and not yet asked for; from now on they count as asked."""
        if not self._wanted:
            return []
        due = [self.messages[key] for key in sorted(self._wanted - self._asked) if key in self.messages]
        self._asked.update(message.id for message in due)
        return [Resume(message.id, message.attempt, len(message.content)) for message in due]

    # acks, and the connection

    def joined(self, ack: Payload, *, whole: bool = True) -> tuple[Change, ...]:
        """Apply the ack of `task:join`; `whole`: it was asked for with neither `after_revision` nor `after_message_id`.

        Rows that a whole ack would hold, and doesn't, are gone.
        """
        merge = self._merge()
        revision = number(ack, "revision")
        if revision is None:
            self.problems.add(ProblemKind.MALFORMED, None, 0, "join ack without a revision")
            return ()
        self._member = True
        self._whole = self._whole or whole or self.revision is not None
        self._owe_nothing()
        self._move(revision)
        rows = [row for row in ack.get("subtasks") or () if isinstance(row, Mapping)]
        for row in rows:
            self._row(row, merge)
        if whole:
            self._drop_unlisted(rows, revision, bool(ack.get("has_more")), merge)
        self._wanted = {key for key in self._wanted if key in self.messages and self.messages[key].truncated}
        self._asked.clear()
        if isinstance(streaming := ack.get("streaming"), Mapping):
            self._streaming(streaming, merge)
        return self._done(merge)

    def sent(self, payload: Payload, ack: Payload) -> tuple[Change, ...]:
        """Apply the ack of `chat:send`, which also makes this connection a member of the room."""
        user_row, answer, place = (number(ack, key) for key in ("subtask_id", "assistant_subtask_id", "message_id"))
        if user_row is None:
            self.problems.add(ProblemKind.MALFORMED, None, 0, "send ack without a subtask_id")
            return ()
        self._member = True
        self._whole = self._whole or payload.get("task_id") is None
        changes: list[Change] = []
        if user_row not in self.messages and user_row not in self._gone:
            said, client_id = str(payload.get("message", "")), payload.get("client_message_id")
            row = Message(user_row, place, "USER", "COMPLETED", 1, prompt=said, client_message_id=client_id)
            self.messages[user_row] = row
            changes.append(Change(ChangeKind.ROW, user_row))
        if answer is not None and answer not in self.messages and answer not in self._gone:
            self.messages[answer] = Message(answer, role="ASSISTANT", status="PENDING", attempt=1)
            changes.append(Change(ChangeKind.ROW, answer))
        return tuple(changes)

    def retried(self, subtask_id: int, ack: Payload) -> tuple[Change, ...]:
        """Apply the ack of `chat:retry`: the row waits for its next attempt."""
        merge = self._merge()
        if (attempt := number(ack, "attempt")) is None:
            self.problems.add(ProblemKind.MALFORMED, subtask_id, 0, "retry ack without an attempt")
        elif subtask_id in self.messages:
            self._of_run(subtask_id, attempt, merge)
        return self._done(merge)

    def resumed(self, subtask_id: int, ack: Payload) -> tuple[Change, ...]:
        """Apply the ack of `chat:resume`: text comes from its `offset` on."""
        merge = self._merge()
        self._asked.discard(subtask_id)
        self._wanted.discard(subtask_id)
        attempt, offset = number(ack, "attempt"), number(ack, "offset")
        if attempt is None or offset is None:
            self.problems.add(ProblemKind.MALFORMED, subtask_id, 0, "resume ack without attempt or offset")
            return ()
        self._member = True
        if (message := self._of_run(subtask_id, attempt, merge)) is not None:
            message.started = attempt
            message.refetch = message.has_ended
            message.content.expected, message.thinking.expected = offset, None
            if message.status in ("", "PENDING"):
                message.status = "RUNNING"
        return self._done(merge)

    def refused(self, subtask_id: int) -> None:
        """A `chat:resume` was refused: what was missing is no longer asked for until it is missed again."""
        self._asked.discard(subtask_id)
        self._wanted.discard(subtask_id)

    def fetch(self, subtask_id: int) -> None:
        """Ask for the rest of a row that came cut for its length."""
        if subtask_id in self.messages:
            self._wanted.add(subtask_id)

    def disconnected(self) -> None:
        """The connection is lost, or has left the room: nothing is owed on it any more."""
        self._member = self._whole = False
        self._asked.clear()
        self._owe_nothing()

    # events

    def event(self, name: str, payload: Payload) -> tuple[Change, ...]:
        """Apply an event; one of another task, or that says nothing of a task's messages, changes nothing."""
        if payload.get("task_id") != self.task_id:
            return ()
        merge = self._merge()
        if name in ENDINGS:
            self._room(name)
            self._ending(ENDINGS[name], payload, merge)
        elif handler := self._handlers.get(name):
            if name.startswith("chat:"):
                self._room(name)
            handler(payload, merge)
        return self._done(merge)

    def _room(self, name: str) -> None:
        if not self._member:
            self.problems.add(ProblemKind.NOT_JOINED, None, 0, f"{name} without being in the room")

    def _start(self, payload: Payload, merge: RunMerge) -> None:
        message = self._of_event(payload, merge)
        if message is None:
            return
        if message.has_ended:
            self._note(ProblemKind.AFTER_ENDING, message, "chat:start")
            return
        if message.started != message.attempt:
            message.started, message.status = message.attempt, "RUNNING"
            for name in CHANNELS:
                getattr(message, name).expected = 0
        self._describe(message, payload)
        message.bot_name = str(payload.get("bot_name") or "")
        message.shell_type = str(payload.get("shell_type") or "")
        message.reason = payload.get("reason")
        merge.changes.append(Change(ChangeKind.ROW, message.id, message.attempt))

    def _chunk(self, payload: Payload, merge: RunMerge) -> None:
        message, offset, delta = self._of_event(payload, merge), number(payload, "offset"), payload.get("content")
        if message is None:
            return
        if offset is None or not isinstance(delta, str):
            self._note(ProblemKind.MALFORMED, message, "chat:chunk without content and offset")
            return
        if message.has_ended and not message.refetch:
            self._note(ProblemKind.AFTER_ENDING, message, f"chat:chunk at {offset}")
            return
        self._must_have_started(message, "chat:chunk")
        if message.status in ("", "PENDING"):
            message.status = "RUNNING"
        merge.text(message, "content", offset, delta)
        if isinstance(result := payload.get("result"), Mapping):
            merge.values(message, result, live=True)
            self._thinking(message, result.get("thinking"), merge)

    def _thinking(self, message: Message, part: object, merge: RunMerge) -> None:
        if not isinstance(part, Mapping):
            return
        offset, delta = number(part, "offset"), part.get("content")
        if offset is None or not isinstance(delta, str):
            self._note(ProblemKind.MALFORMED, message, "thinking without content and offset")
            return
        merge.text(message, "thinking", offset, delta)

    def _ending(self, status: str, payload: Payload, merge: RunMerge) -> None:
        message = self._of_event(payload, merge)
        if message is None:
            return
        if status == "COMPLETED" and not message.has_ended:
            self._must_have_started(message, "chat:done")
        if merge.ending(message, status, payload):
            message.error, message.error_type = payload.get("error"), payload.get("type")
            self._describe(message, payload)
            merge.changes.append(Change(ChangeKind.END, message.id, message.attempt))

    def _message(self, payload: Payload, merge: RunMerge) -> None:
        row = {**payload, "id": payload.get("subtask_id"), "prompt": payload.get("content"), "status": "COMPLETED"}
        row["attempt"] = payload.get("attempt", 1)
        if number(row, "revision") is None:
            self.problems.add(ProblemKind.MALFORMED, number(row, "id"), 0, "chat:message without a revision")
        elif not self._is_removed(number(row, "id"), number(row, "revision")):
            self._row(row, merge)

    def _status(self, payload: Payload, merge: RunMerge) -> None:
        revision, status = number(payload, "revision"), payload.get("status")
        if revision is None or not isinstance(status, str):
            self.problems.add(ProblemKind.MALFORMED, None, 0, "task:status without status or revision")
            return
        if revision < self._status_revision:
            return
        self._status_revision, self.status = revision, status
        self.progress = number(payload, "progress")
        running = self.active
        if self._whole and status in TERMINAL and running is not None and 0 < running.revision < revision:
            self._note(ProblemKind.EARLY_STATUS, running, f"task:status {status} before the ending")
        merge.changes.append(Change(ChangeKind.STATUS))

    def _updated(self, payload: Payload, merge: RunMerge) -> None:
        self.deleted = self.deleted or bool(payload.get("deleted"))
        merge.changes.append(Change(ChangeKind.STATUS))

    def _app_update(self, payload: Payload, merge: RunMerge) -> None:
        if isinstance(app := payload.get("app"), Mapping):
            self.app = app
            merge.changes.append(Change(ChangeKind.STATUS))

    # rows

    def _row(self, row: Payload, merge: RunMerge) -> None:
        key, revision = number(row, "id"), number(row, "revision") or 0
        if key is None:
            self.problems.add(ProblemKind.MALFORMED, None, 0, "a row without an id")
        elif row.get("deleted"):
            self._delete(key, revision, merge)
        elif key not in self._gone:
            message = self.messages.get(key)
            if message is None:
                message = self.messages[key] = Message(key)
            merge_row(message, row, merge)

    def _delete(self, key: int, revision: int, merge: RunMerge) -> None:
        self._gone[key] = revision
        self._wanted.discard(key)
        if self.messages.pop(key, None) is not None:
            merge.changes.append(Change(ChangeKind.DELETED, key))

    def _drop_unlisted(self, rows: list[Payload], revision: int, has_more: bool, merge: RunMerge) -> None:
        listed = {number(row, "id") for row in rows}
        numbers = [place for row in rows if (place := number(row, "message_id")) is not None]
        first = min(numbers, default=0) if has_more else 0
        for message in list(self.messages.values()):
            within = not has_more if message.message_id is None else message.message_id >= first
            if message.id not in listed and within and message.revision <= revision:
                self._delete(message.id, revision, merge)

    def _streaming(self, part: Payload, merge: RunMerge) -> None:
        key, attempt, offset = (number(part, name) for name in ("subtask_id", "attempt", "offset"))
        cached = part.get("cached_content")
        if key is None or attempt is None or offset is None or not isinstance(cached, str):
            self.problems.add(ProblemKind.MALFORMED, key, attempt or 0, "join ack with an incomplete streaming")
            return
        message = self._of_run(key, attempt, merge)
        if message is None or message.has_ended:
            return
        message.started = attempt
        if message.status in ("", "PENDING"):
            message.status = "RUNNING"
        message.role = message.role or "ASSISTANT"
        cut_short = bool(part.get("truncated"))
        if len(cached) != offset and not cut_short:
            self._note(ProblemKind.DISAGREE, message, f"cached_content of {len(cached)} with offset {offset}")
        merge.whole(message, "content", cached)
        message.content.expected = offset
        thinking = part.get("thinking")
        thinking = thinking.get("content") if isinstance(thinking, Mapping) else thinking
        merge.whole(message, "thinking", thinking if isinstance(thinking, str) else "")
        message.thinking.expected = None if cut_short else len(thinking or "")
        merge.values(message, part.get("values"))
        if cut_short or len(message.content) < offset:
            message.truncated = True
            merge.missing.add(message.id)

    # shared

    def _of_event(self, payload: Payload, merge: RunMerge) -> Message | None:
        """The row that an event of a run is about, ready for its attempt; None if the event doesn't count."""
        key, attempt = number(payload, "subtask_id"), number(payload, "attempt")
        if key is None or attempt is None:
            self.problems.add(ProblemKind.MALFORMED, key, 0, "an event of a run without subtask_id or attempt")
            return None
        return self._of_run(key, attempt, merge, number(payload, "revision"))

    def _of_run(self, key: int, attempt: int, merge: RunMerge, revision: int | None = None) -> Message | None:
        """The same for a subtask's attempt; `revision` is the event's."""
        if key in self._gone or self._is_removed(key, revision):
            return None
        message = self.messages.get(key)
        if message is None:
            message = self.messages[key] = Message(key, role="ASSISTANT", attempt=attempt)
            merge.changes.append(Change(ChangeKind.ROW, key, attempt))
        if attempt < message.attempt:
            # What became of an earlier attempt may be told after an ack that has read further already.
            acked = revision is not None and (message.revision == 0 or revision <= (self.revision or 0))
            if not acked:
                self._note(ProblemKind.OLD_ATTEMPT, message, f"attempt {attempt} after {message.attempt}")
            return None
        if attempt > message.attempt:
            merge.changes.append(message.begin(attempt))
            self._wanted.discard(key)
            self._asked.discard(key)
        return message

    def _is_removed(self, key: int | None, revision: int | None) -> bool:
        """Whether an event comes late, of a row that was removed: the last ack, which had read further, lacks it."""
        return key not in self.messages and revision is not None and revision <= (self.revision or 0)

    def _must_have_started(self, message: Message, name: str) -> None:
        if message.started != message.attempt:
            message.started = message.attempt
            if self._whole:
                self._note(ProblemKind.BEFORE_START, message, name)

    def _describe(self, message: Message, payload: Payload) -> None:
        message.role = message.role or "ASSISTANT"
        message.message_id = number(payload, "message_id") or message.message_id
        message.revision = max(message.revision, number(payload, "revision") or 0)

    def _owe_nothing(self) -> None:
        for message in self.messages.values():
            message.content.expected = message.thinking.expected = None
            message.refetch = False

    def _move(self, revision: int) -> None:
        if self.revision is not None and revision < self.revision:
            self.problems.add(ProblemKind.REVISION_BACK, None, 0, f"{revision} after {self.revision}")
        self.revision = revision

    def _merge(self) -> RunMerge:
        return RunMerge(self._note)

    def _done(self, merge: RunMerge) -> tuple[Change, ...]:
        self._wanted |= merge.missing
        return tuple(merge.changes)

    def _note(self, kind: ProblemKind, message: Message, detail: str) -> None:
        self.problems.add(kind, message.id, message.attempt, detail)

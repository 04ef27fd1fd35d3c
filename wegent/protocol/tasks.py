"""Tasks and their rows: joining, reading history, what members are told (protocol sections 3, 3.1 and 4)."""

from datetime import datetime
from typing import Any, Literal, Self

from attrs import field, frozen

from wegent.protocol.blocks import App, Block
from wegent.protocol.chat import RunResult, Sender
from wegent.protocol.fields import COUNT, ID, PERCENT, Variant, Whole
from wegent.protocol.limits import DEFAULT_PAGE, MAX_PAGE
from wegent.protocol.status import ErrorType, Role, Status

PAGE = Whole(1, MAX_PAGE)


@frozen(kw_only=True)
class TaskJoin:
    """`task:join`: enter a task's room and read what is there, or what is new since a cursor."""

    task_id: int = field(validator=ID)
    after_message_id: int | None = field(default=None, validator=COUNT)
    after_revision: int | None = field(default=None, validator=COUNT)
    limit: int = field(default=DEFAULT_PAGE, validator=PAGE)


class Row(Variant):
    """A row of a task: a subtask, or the trace of a removed one."""

    __slots__ = ()

    @classmethod
    def read(cls, value: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Choose by the mark of removed rows."""
        found: type[Any] = RemovedSubtask if value.get("deleted") else Subtask
        return found, value


@frozen(kw_only=True)
class Subtask(Row):
    """One message of a task. Order is `message_id`; `sender` is who sent it, null for the assistant."""

    id: int
    message_id: int
    revision: int
    attempt: int
    role: Role
    prompt: str
    result: RunResult | None
    status: Status
    progress: int
    error_message: str | None
    error_type: ErrorType | None
    contexts: tuple[dict[str, Any], ...]
    sender: Sender | None
    client_message_id: str | None = None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


@frozen(kw_only=True)
class RemovedSubtask(Row):
    """A row that is no more."""

    id: int
    revision: int
    deleted: Literal[True] = True


@frozen(kw_only=True)
class StreamValues:
    """A stream's values in their newest version."""

    blocks: tuple[Block, ...] | None = None
    app: App | None = None
    progress: int | None = field(default=None, validator=PERCENT)


@frozen(kw_only=True)
class Streaming:
    """The active run of a joined task; deltas follow from exactly `offset`.

    `offset` is the length of the content so far, also where `cached_content` was cut to fit a frame
    (`truncated`); the rest then comes by `chat:resume`.
    """

    subtask_id: int
    attempt: int
    offset: int
    cached_content: str
    values: StreamValues
    thinking: str | None = None
    started_at: datetime
    last_activity_at: datetime
    truncated: bool | None = None


@frozen(kw_only=True)
class TaskJoinAck:
    """Ack of `task:join`; `revision` is the cursor for the next one."""

    streaming: Streaming | None
    subtasks: tuple[Row, ...]
    revision: int
    has_more: bool


@frozen(kw_only=True)
class TaskLeave:
    """`task:leave`: leave the room; nothing else changes."""

    task_id: int = field(validator=ID)


@frozen(kw_only=True)
class TaskCloseSession:
    """`task:close-session`: end what a device holds for a task; also sent on to the device."""

    task_id: int = field(validator=ID)


@frozen(kw_only=True)
class Success:
    """Ack of what yields nothing but its success."""

    success: bool = True


@frozen(kw_only=True)
class HistorySync:
    """`history:sync`: messages of a task, a page at a time."""

    task_id: int = field(validator=ID)
    after_message_id: int | None = field(default=None, validator=COUNT)
    before_message_id: int | None = field(default=None, validator=COUNT)
    limit: int = field(default=DEFAULT_PAGE, validator=PAGE)


@frozen(kw_only=True)
class HistoryMessage:
    """One message of `history:sync`."""

    subtask_id: int
    message_id: int
    role: Role
    content: str
    status: Status
    created_at: datetime
    sender: Sender | None


@frozen(kw_only=True)
class HistorySyncAck:
    """Ack of `history:sync`."""

    messages: tuple[HistoryMessage, ...]
    has_more: bool


@frozen(kw_only=True)
class TaskCreated:
    """`task:created`: a task is new to this user."""

    task_id: int
    title: str
    team_id: int
    team_name: str
    created_at: datetime
    is_group_chat: bool


@frozen(kw_only=True)
class TaskStatus:
    """`task:status`: a task's status or progress changed."""

    task_id: int
    status: Status
    progress: int
    revision: int
    updated_at: datetime
    completed_at: datetime | None = None


@frozen(kw_only=True)
class Member:
    """One of the people of a group chat; `role` is owner or member."""

    user_id: int
    user_name: str
    role: str
    joined_at: datetime
    avatar: str | None = None


@frozen(kw_only=True)
class TaskUpdated:
    """`task:updated`: what a list of tasks shows changed; only what changed is there."""

    task_id: int
    title: str | None = None
    members: tuple[Member, ...] | None = None
    deleted: bool | None = None
    unread: int | None = None


@frozen(kw_only=True)
class TaskAppUpdate:
    """`task:app_update`: a run serves something to look at."""

    task_id: int
    app: App


@frozen(kw_only=True)
class SyncRequired:
    """`sync:required`: events of this room may have been lost; read the lists again."""

    scope: str

"""Rows as values: what the store keeps, and what its units give and take. Times are aware datetimes in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from wegent.core.model import StreamId


@frozen
class User:
    """A person. `role` is admin or user; `password_hash` None: no password login."""

    id: int
    user_name: str
    password_hash: str | None
    role: str
    active: bool
    created_at: datetime
    avatar: str | None = None


@frozen
class Token:
    """An issued token that can be listed and revoked; `jti` is its name in the JWT."""

    jti: str
    user_id: int
    scope: str
    name: str
    claims: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None


@frozen
class Kind:
    """A resource of protocol §10. `user_id` None: public. `body` holds metadata and spec as they were written."""

    id: int
    user_id: int | None
    kind: str
    namespace: str
    name: str
    body: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


@frozen
class Task:
    """A conversation. `revision` and `last_message_id` are the counters of protocol §1; `options` as first asked.

    `app`: what is to be looked at, as it was set for the task as a whole, and the `revision` of that.
    """

    id: int
    owner_id: int
    team_id: int
    team_name: str
    title: str
    status: str
    progress: int
    revision: int
    last_message_id: int
    is_group_chat: bool
    task_type: str
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None
    device_id: str | None = None
    deleted: bool = False
    options: Mapping[str, Any] = field(factory=dict)
    app: Mapping[str, Any] | None = None


@frozen
class Subtask:
    """One message of a task; an ASSISTANT one is also the run that makes it.

    `revision` is the task's at this row's last change. `answers` is the USER row that an ASSISTANT row replies to,
    `sender_id` the user who sent the message, or asked for the run. `content`, `thinking` and `values` are what the
    attempt had said when it ended; while it runs, the saved parts of its stream say more (`Unit.saved_stream`).
    `target` is where the run goes: an executor's name, or a device (`wegent.server.owners`). `lease` and `owner` are
    set while RUNNING or CANCELLING; `reported` says that the owner has been heard of this attempt. `claimable_at` is
    when a PENDING row may be claimed by anybody, although nobody released it. `lost_attempts` counts take-overs since
    somebody last asked for the run.
    """

    id: int
    task_id: int
    message_id: int
    revision: int
    attempt: int
    role: str
    sender_id: int
    sender_name: str
    status: str
    progress: int
    created_at: datetime
    updated_at: datetime
    prompt: str = ""
    content: str = ""
    thinking: str = ""
    values: tuple[Mapping[str, Any], ...] = ()
    result: Mapping[str, Any] = field(factory=dict)
    error_message: str | None = None
    error_type: str | None = None
    contexts: tuple[Mapping[str, Any], ...] = ()
    client_message_id: str | None = None
    answers: int | None = None
    bot_name: str = ""
    shell_type: str = ""
    target: str = ""
    owner: str | None = None
    lease: str | None = None
    reported: bool = False
    on_lost: str = "fail"
    reason: str | None = None
    lost_attempts: int = 0
    claimable_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    options: Mapping[str, Any] = field(factory=dict)
    deleted: bool = False


@frozen
class Execution:
    """Background work of a user: a prompt for a team, at a time, or again and again.

    `run_at`, `cron` and `timezone` are as they were asked for; `next_at` is when it runs next, None where it will not.
    `task_id` and `subtask_id` are the task and the answer that it made last, `runs` how many it has made. `failed` says
    why its latest time made none.
    """

    id: int
    user_id: int
    team_id: int
    prompt: str
    created_at: datetime
    updated_at: datetime
    next_at: datetime | None
    run_at: datetime | None = None
    cron: str | None = None
    timezone: str | None = None
    runs: int = 0
    task_id: int | None = None
    subtask_id: int | None = None
    failed: str | None = None


@frozen
class Attachment:
    """A file that somebody uploaded; its bytes are kept under the name `blob`. `size` is in bytes.

    `text` is what could be read from it, at most as much as a model is given; `cut` says that there was more, `unread`
    why there is none.
    """

    id: int
    user_id: int
    name: str
    size: int
    blob: str
    created_at: datetime
    content_type: str = "application/octet-stream"
    text: str = ""
    cut: bool = False
    unread: str | None = None


@frozen
class KnowledgeBase:
    """Documents of a user that are searched for messages. `version` grows with every change of any of them.

    `documents` counts them, `characters` the code points of all their texts.
    """

    id: int
    user_id: int
    name: str
    version: int
    documents: int
    characters: int
    created_at: datetime
    updated_at: datetime


@frozen
class KnowledgeDocument:
    """A text of a knowledge base; `text` is empty where it was not asked for."""

    id: int
    base_id: int
    title: str
    characters: int
    created_at: datetime
    text: str = ""


@frozen
class Waiting:
    """A PENDING row as the queue shows it; `since` is when it came to wait."""

    id: int
    task_id: int
    attempt: int
    user_id: int
    since: datetime


@frozen
class Device:
    """A user's own machine that runs tasks. `device_id` is unique per user.

    `status` is online, busy or offline, as last told. `connection` names what it is connected by; `offline_since` is
    when that was lost, None while it is connected. `seen_at` is its last registration or heartbeat.
    """

    user_id: int
    device_id: str
    name: str
    slot_max: int
    status: str
    created_at: datetime
    executor_version: str | None = None
    capabilities: Any = None
    is_default: bool = False
    connection: str | None = None
    seen_at: datetime | None = None
    offline_since: datetime | None = None


@frozen
class Member:
    """A user's place in a task, and how far they have read; `removed_at` set: no longer a member.

    In group chats the owner has one too (role `owner`), in other tasks once they have marked something as read.
    """

    task_id: int
    user_id: int
    user_name: str
    role: str
    joined_at: datetime
    removed_at: datetime | None = None
    last_read_message_id: int = 0


@frozen
class SavedPart:
    """A piece of a running stream as saved beside its row: text at an offset, or (`channel` value) a value as JSON."""

    stream: StreamId
    channel: str
    offset: int
    text: str


@frozen
class OwnerBeat:
    """The last beat of a lease owner. `beat` only grows; nobody compares the clocks of two machines."""

    owner: str
    beat: int

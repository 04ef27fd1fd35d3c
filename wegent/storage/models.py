"""The tables. Records (`wegent.server.records`) have the same fields; only `*_key` columns are the tables' own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from wegent.storage.rules import WIDTHS
from wegent.storage.types import BigId, Json, JsonList, LongText, MaybeJson, Moment

Id = Annotated[int, mapped_column(BigId)]
Key = Annotated[int, mapped_column(BigId, primary_key=True)]
Lines = Annotated[str, mapped_column(LongText)]
When = Annotated[datetime, mapped_column(Moment)]
Object = Annotated[Mapping[str, Any], mapped_column(Json)]
Objects = Annotated[tuple[Mapping[str, Any], ...], mapped_column(JsonList)]


def name(field: str) -> String:
    """A text as wide as the rules allow."""
    return String(WIDTHS[field])


class Base(DeclarativeBase):
    """Of all tables."""


class UserRow(Base):
    """`User`."""

    __tablename__ = "users"

    id: Mapped[Key]
    user_name: Mapped[str] = mapped_column(name("user_name"), unique=True)
    password_hash: Mapped[str | None] = mapped_column(name("password_hash"))
    role: Mapped[str] = mapped_column(name("role"))
    active: Mapped[bool]
    created_at: Mapped[When]
    avatar: Mapped[Lines | None]


class TokenRow(Base):
    """`Token`."""

    __tablename__ = "tokens"

    jti: Mapped[str] = mapped_column(name("jti"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    scope: Mapped[str] = mapped_column(name("scope"))
    name: Mapped[Lines]
    claims: Mapped[Object]
    created_at: Mapped[When]
    expires_at: Mapped[When | None]
    revoked_at: Mapped[When | None] = mapped_column(index=True)


class KindRow(Base):
    """`Kind`. `owner_key` is `user_id`, or 0 for the public one: NULLs are never equal in a unique key."""

    __tablename__ = "kinds"
    __table_args__ = (UniqueConstraint("owner_key", "kind", "namespace", "name", name="uq_kinds_name"),)

    id: Mapped[Key]
    user_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    kind: Mapped[str] = mapped_column(name("kind"), index=True)
    namespace: Mapped[str] = mapped_column(name("namespace"))
    name: Mapped[str] = mapped_column(String(255))
    owner_key: Mapped[Id]
    created_at: Mapped[When]
    updated_at: Mapped[When]
    body: Mapped[Object]


class TaskRow(Base):
    """`Task`. `title_key` is the title case folded, since no two databases fold alike."""

    __tablename__ = "tasks"
    __table_args__ = (Index("ix_tasks_owner", "owner_id", "updated_at"),)

    id: Mapped[Key]
    owner_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    team_id: Mapped[Id]
    status: Mapped[str] = mapped_column(name("status"))
    progress: Mapped[int]
    revision: Mapped[Id]
    last_message_id: Mapped[Id]
    is_group_chat: Mapped[bool]
    task_type: Mapped[str] = mapped_column(name("task_type"))
    created_at: Mapped[When]
    updated_at: Mapped[When]
    completed_at: Mapped[When | None]
    device_id: Mapped[str | None] = mapped_column(name("device_id"))
    deleted: Mapped[bool]
    team_name: Mapped[Lines]
    title: Mapped[Lines]
    title_key: Mapped[Lines]
    options: Mapped[Object]
    app: Mapped[Mapping[str, Any] | None] = mapped_column(MaybeJson)


class SubtaskRow(Base):
    """`Subtask`. The long texts come last: SQLite reads a row from its beginning."""

    __tablename__ = "subtasks"
    __table_args__ = (
        UniqueConstraint("task_id", "message_id", name="uq_subtasks_message"),
        UniqueConstraint("sender_id", "client_message_id", name="uq_subtasks_sent"),
        Index("ix_subtasks_status", "status", "target"),
    )

    id: Mapped[Key]
    task_id: Mapped[int] = mapped_column(BigId, ForeignKey("tasks.id"))
    message_id: Mapped[Id]
    revision: Mapped[Id]
    attempt: Mapped[int]
    role: Mapped[str] = mapped_column(name("role"))
    sender_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    sender_name: Mapped[str] = mapped_column(name("sender_name"))
    status: Mapped[str] = mapped_column(name("status"))
    progress: Mapped[int]
    created_at: Mapped[When]
    updated_at: Mapped[When]
    client_message_id: Mapped[str | None] = mapped_column(name("client_message_id"))
    answers: Mapped[Id | None]
    bot_name: Mapped[Lines]
    shell_type: Mapped[str] = mapped_column(name("shell_type"))
    target: Mapped[str] = mapped_column(name("target"))
    owner: Mapped[str | None] = mapped_column(name("owner"))
    lease: Mapped[str | None] = mapped_column(name("lease"))
    reported: Mapped[bool] = mapped_column(server_default=false())
    on_lost: Mapped[str] = mapped_column(name("on_lost"))
    reason: Mapped[str | None] = mapped_column(name("reason"))
    lost_attempts: Mapped[int]
    claimable_at: Mapped[When | None]
    started_at: Mapped[When | None]
    completed_at: Mapped[When | None]
    deleted: Mapped[bool]
    error_type: Mapped[str | None] = mapped_column(name("error_type"))
    error_message: Mapped[Lines | None]
    options: Mapped[Object]
    contexts: Mapped[Objects]
    result: Mapped[Object]
    prompt: Mapped[Lines]
    thinking: Mapped[Lines]
    content: Mapped[Lines]
    values: Mapped[Objects]


class MemberRow(Base):
    """`Member`."""

    __tablename__ = "members"

    task_id: Mapped[int] = mapped_column(BigId, ForeignKey("tasks.id"), primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("users.id"), primary_key=True, autoincrement=False, index=True
    )
    user_name: Mapped[str] = mapped_column(name("user_name"))
    role: Mapped[str] = mapped_column(name("role"))
    joined_at: Mapped[When]
    removed_at: Mapped[When | None]
    last_read_message_id: Mapped[Id]


class OwnerRow(Base):
    """`OwnerBeat`."""

    __tablename__ = "owners"

    owner: Mapped[str] = mapped_column(name("owner"), primary_key=True)
    beat: Mapped[Id]


class QueueRow(Base):
    """How many turns a target has had."""

    __tablename__ = "queues"

    target: Mapped[str] = mapped_column(name("target"), primary_key=True)
    turns: Mapped[Id]


class TurnRow(Base):
    """A user's latest turn at a target. No foreign key: checking it would lock the users' rows."""

    __tablename__ = "turns"

    target: Mapped[str] = mapped_column(name("target"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    turn: Mapped[Id]


class DeviceRow(Base):
    """`Device`."""

    __tablename__ = "devices"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), primary_key=True, autoincrement=False)
    device_id: Mapped[str] = mapped_column(name("device_id"), primary_key=True)
    slot_max: Mapped[int]
    status: Mapped[str] = mapped_column(name("status"))
    created_at: Mapped[When]
    seen_at: Mapped[When | None]
    offline_since: Mapped[When | None]
    is_default: Mapped[bool]
    connection: Mapped[str | None] = mapped_column(name("connection"))
    executor_version: Mapped[str | None] = mapped_column(name("executor_version"))
    name: Mapped[Lines]
    capabilities: Mapped[Object]


class AttachmentRow(Base):
    """`Attachment`."""

    __tablename__ = "attachments"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    size: Mapped[Id]
    created_at: Mapped[When]
    cut: Mapped[bool]
    blob: Mapped[str] = mapped_column(name("blob"))
    content_type: Mapped[str] = mapped_column(name("content_type"))
    name: Mapped[Lines]
    unread: Mapped[Lines | None]
    text: Mapped[Lines]


class CarrierRow(Base):
    """A task that carries an attachment. No foreign keys: checking them would lock the task's row."""

    __tablename__ = "attachment_tasks"

    attachment_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)


class BaseRow(Base):
    """`KnowledgeBase`."""

    __tablename__ = "knowledge_bases"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    version: Mapped[Id]
    documents: Mapped[Id]
    characters: Mapped[Id]
    created_at: Mapped[When]
    updated_at: Mapped[When]
    name: Mapped[Lines]


class DocumentRow(Base):
    """`KnowledgeDocument`."""

    __tablename__ = "knowledge_documents"

    id: Mapped[Key]
    base_id: Mapped[int] = mapped_column(BigId, ForeignKey("knowledge_bases.id"), index=True)
    characters: Mapped[Id]
    created_at: Mapped[When]
    title: Mapped[Lines]
    text: Mapped[Lines]


class ExecutionRow(Base):
    """`Execution`."""

    __tablename__ = "executions"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    team_id: Mapped[Id]
    created_at: Mapped[When]
    updated_at: Mapped[When]
    next_at: Mapped[When | None] = mapped_column(index=True)
    run_at: Mapped[When | None]
    cron: Mapped[str | None] = mapped_column(name("cron"))
    timezone: Mapped[str | None] = mapped_column(name("timezone"))
    runs: Mapped[Id]
    task_id: Mapped[Id | None]
    subtask_id: Mapped[Id | None]
    failed: Mapped[Lines | None]
    prompt: Mapped[Lines]


class PartRow(Base):
    """`SavedPart`. No foreign keys: checking them would lock the rows of runs that are merely being saved."""

    __tablename__ = "stream_parts"

    subtask_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    channel: Mapped[str] = mapped_column(name("channel"), primary_key=True)
    start: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    task_id: Mapped[Id]
    text: Mapped[Lines]

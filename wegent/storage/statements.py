"""The statements of units, made once; SQLAlchemy compiles each once per database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, Final

import attrs
from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from wegent.server.records import (
    Attachment,
    Device,
    Execution,
    Kind,
    KnowledgeBase,
    KnowledgeDocument,
    Member,
    Subtask,
    Task,
    Token,
    User,
)
from wegent.storage.models import (
    AttachmentRow,
    Base,
    BaseRow,
    CarrierRow,
    DeviceRow,
    DocumentRow,
    ExecutionRow,
    KindRow,
    MemberRow,
    OwnerRow,
    PartRow,
    QueueRow,
    SubtaskRow,
    TaskRow,
    TokenRow,
    TurnRow,
    UserRow,
)
from wegent.storage.rules import ASSISTANT, HELD, PENDING


def table(model: type[Base]) -> Table:
    """The model's table."""
    found = model.__table__
    assert isinstance(found, Table)
    return found


USERS: Final = table(UserRow)
TOKENS: Final = table(TokenRow)
KINDS: Final = table(KindRow)
TASKS: Final = table(TaskRow)
SUBTASKS: Final = table(SubtaskRow)
MEMBERS: Final = table(MemberRow)
OWNERS: Final = table(OwnerRow)
QUEUES: Final = table(QueueRow)
TURNS: Final = table(TurnRow)
DEVICES: Final = table(DeviceRow)
ATTACHMENTS: Final = table(AttachmentRow)
CARRIERS: Final = table(CarrierRow)
BASES: Final = table(BaseRow)
DOCUMENTS: Final = table(DocumentRow)
EXECUTIONS: Final = table(ExecutionRow)
PARTS: Final = table(PartRow)

KEY, NEW = "key_", "new_"
_INSERTED = (
    USERS,
    TOKENS,
    KINDS,
    TASKS,
    SUBTASKS,
    MEMBERS,
    OWNERS,
    QUEUES,
    TURNS,
    DEVICES,
    EXECUTIONS,
    ATTACHMENTS,
    CARRIERS,
    BASES,
    DOCUMENTS,
)
INSERTS: Final = {each: insert(each) for each in _INSERTED}


def columns(of: Table, record: Any) -> list[ColumnElement[Any]]:
    """The table's columns in the order of the record's fields, so that a row is the record's arguments."""
    return [of.c[each.name] for each in attrs.fields(record)]


def is_one_of(column: ColumnElement[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """`column IN (…)`, which SQLAlchemy would write anew each time it is executed."""
    return or_(*(column == value for value in values))


USER: Final = columns(USERS, User)
TOKEN: Final = columns(TOKENS, Token)
KIND: Final = columns(KINDS, Kind)
TASK: Final = columns(TASKS, Task)
SUBTASK: Final = columns(SUBTASKS, Subtask)
MEMBER: Final = columns(MEMBERS, Member)
DEVICE: Final = columns(DEVICES, Device)
ATTACHMENT: Final = columns(ATTACHMENTS, Attachment)
BASE: Final = columns(BASES, KnowledgeBase)
DOCUMENT: Final = columns(DOCUMENTS, KnowledgeDocument)
EXECUTION: Final = columns(EXECUTIONS, Execution)

USER_BY_ID: Final = select(*USER).where(USERS.c.id == bindparam("id"))
USER_BY_NAME: Final = select(*USER).where(USERS.c.user_name == bindparam("name"))
USER_NAME: Final = select(USERS.c.user_name).where(USERS.c.id == bindparam("id"))
USER_PAGE: Final = select(*USER).where(USERS.c.id > bindparam("after")).order_by(USERS.c.id).limit(bindparam("limit"))

TOKEN_BY_ID: Final = select(*TOKEN).where(TOKENS.c.jti == bindparam("jti"))

KIND_BY_ID: Final = select(*KIND).where(KINDS.c.id == bindparam("id"))
KIND_BY_NAME: Final = select(*KIND).where(
    KINDS.c.owner_key == bindparam("owner_key"),
    KINDS.c.kind == bindparam("kind"),
    KINDS.c.namespace == bindparam("namespace"),
    KINDS.c.name == bindparam("name"),
)
KIND_COUNT: Final = select(func.count()).where(KINDS.c.user_id == bindparam("user"))
KIND_PAGE: Final = (
    select(*KIND)
    .where(KINDS.c.kind == bindparam("kind"), KINDS.c.id > bindparam("after"))
    .order_by(KINDS.c.id)
    .limit(bindparam("limit"))
)

TOUCH: Final = (
    update(TASKS)
    .where(TASKS.c.id == bindparam("task"), TASKS.c.deleted.is_(False))
    .values(
        revision=TASKS.c.revision + 1,
        last_message_id=TASKS.c.last_message_id + bindparam("messages"),
        updated_at=bindparam("now"),
    )
)
TOUCH_RETURNING: Final = TOUCH.returning(*TASK)
TASK_BY_ID: Final = select(*TASK).where(TASKS.c.id == bindparam("id"))

MEMBER_BY_ID: Final = select(*MEMBER).where(
    MEMBERS.c.task_id == bindparam("task"), MEMBERS.c.user_id == bindparam("user")
)
MEMBERS_OF_TASK: Final = (
    select(*MEMBER)
    .where(MEMBERS.c.task_id == bindparam("task"), MEMBERS.c.removed_at.is_(None))
    .order_by(MEMBERS.c.joined_at, MEMBERS.c.user_id)
)

MARK_READ: Final = (
    update(MEMBERS)
    .where(
        MEMBERS.c.task_id == bindparam("task"),
        MEMBERS.c.user_id == bindparam("user"),
        MEMBERS.c.removed_at.is_(None),
        MEMBERS.c.last_read_message_id < bindparam("message"),
    )
    .values(last_read_message_id=bindparam("message"))
)

SUBTASK_BY_ID: Final = select(*SUBTASK).where(SUBTASKS.c.id == bindparam("id"))
SENT: Final = select(*SUBTASK).where(
    SUBTASKS.c.sender_id == bindparam("user"), SUBTASKS.c.client_message_id == bindparam("client")
)
_ANSWERS: Final = (
    SUBTASKS.c.task_id == bindparam("task"),
    SUBTASKS.c.role == ASSISTANT,
    SUBTASKS.c.deleted.is_(False),
)
UNFINISHED: Final = (
    select(*SUBTASK).where(*_ANSWERS, is_one_of(SUBTASKS.c.status, (PENDING, *HELD))).order_by(SUBTASKS.c.message_id)
)
NEWEST_ANSWER: Final = select(*SUBTASK).where(*_ANSWERS).order_by(SUBTASKS.c.message_id.desc()).limit(1)


MESSAGE_IDS: Final = (
    select(SUBTASKS.c.message_id)
    .where(
        SUBTASKS.c.task_id == bindparam("task"),
        SUBTASKS.c.message_id > bindparam("after"),
        SUBTASKS.c.deleted.is_(False),
    )
    .order_by(SUBTASKS.c.message_id.desc())
    .limit(bindparam("limit"))
)
REMOVE_SUBTASKS: Final = (
    update(SUBTASKS)
    .where(
        SUBTASKS.c.task_id == bindparam("task"),
        SUBTASKS.c.message_id >= bindparam("since"),
        SUBTASKS.c.message_id < bindparam("until"),
        SUBTASKS.c.deleted.is_(False),
    )
    .values(deleted=True, revision=bindparam("revision_"), updated_at=bindparam("now"))
)


def places(user_id: int, task_ids: Collection[int]) -> Select[Any]:
    """The user's active memberships of these tasks."""
    c = MEMBERS.c
    return select(*MEMBER).where(c.user_id == user_id, c.removed_at.is_(None), c.task_id.in_(task_ids))


def _tasks_of() -> Select[*tuple[Any, ...]]:
    # A join with the ids, made first: an OR over two tables makes MariaDB read all tasks.
    mine = union(
        select(TASKS.c.id.label("id")).where(TASKS.c.owner_id == bindparam("user")),
        select(MEMBERS.c.task_id.label("id")).where(
            MEMBERS.c.user_id == bindparam("user"), MEMBERS.c.removed_at.is_(None)
        ),
    ).subquery("mine")
    return (
        select(*TASK)
        .join(mine, mine.c.id == TASKS.c.id)
        .where(TASKS.c.deleted.is_(False))
        .order_by(TASKS.c.updated_at.desc(), TASKS.c.id.desc())
        .limit(bindparam("limit"))
    )


TASKS_OF: Final = _tasks_of()
TASKS_BEFORE: Final = or_(
    TASKS.c.updated_at < bindparam("moment"),
    and_(TASKS.c.updated_at == bindparam("moment"), TASKS.c.id < bindparam("before_id")),
)


@cache
def update_by(of: Table, keys: tuple[str, ...], fields: tuple[str, ...]) -> Update:
    """Give the row of these keys new values of these fields; made once, for making is slow. See `update_params`."""
    c = of.c
    where = (c[name] == bindparam(f"{KEY}{name}", type_=c[name].type) for name in keys)
    values = {c[name]: bindparam(f"{NEW}{name}", type_=c[name].type) for name in fields}
    return update(of).where(*where).values(values)


@cache
def update_returning(of: Table, record: Any, keys: tuple[str, ...], fields: tuple[str, ...]) -> ReturningUpdate[Any]:
    """The same; the row as it is then."""
    return update_by(of, keys, fields).returning(*columns(of, record))


def update_params(keys: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of both: their names must not be those of columns."""
    found = {f"{NEW}{name}": value for name, value in changes.items()}
    found.update((f"{KEY}{name}", value) for name, value in keys.items())
    return found


@cache
def select_by(of: Table, record: Any, keys: tuple[str, ...]) -> Select[Any]:
    """The row of these keys."""
    c = of.c
    where = (c[name] == bindparam(f"{KEY}{name}", type_=c[name].type) for name in keys)
    return select(*columns(of, record)).where(*where)


@cache
def subtasks(bounds: frozenset[str], *, newest: bool) -> Select[Any]:
    """Rows of `task` within `bounds` (of after, before, revision), `limit` of them; made once, for making is slow."""
    c = SUBTASKS.c
    statement = select(*SUBTASK).where(c.task_id == bindparam("task"))
    if "after" in bounds:
        statement = statement.where(c.message_id > bindparam("after"))
    if "before" in bounds:
        statement = statement.where(c.message_id < bindparam("before"))
    if "revision" in bounds:
        statement = statement.where(c.revision > bindparam("revision"))
    else:
        statement = statement.where(c.deleted.is_(False))
    return statement.order_by(c.message_id.desc() if newest else c.message_id).limit(bindparam("limit"))

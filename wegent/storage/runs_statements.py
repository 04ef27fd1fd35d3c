"""The statements of the queue, runs, devices and saved streams, made once."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from wegent.server.owners import DEVICE as DEVICE_OWNER
from wegent.server.owners import HOST as HOST_OWNER
from wegent.storage.rules import ASSISTANT, HELD, OFFLINE, PENDING
from wegent.storage.statements import (
    DEVICE,
    DEVICES,
    OWNERS,
    PARTS,
    QUEUES,
    SUBTASK,
    SUBTASKS,
    TASKS,
    TURNS,
    is_one_of,
)

S: Final = SUBTASKS.c
AT: Final[BindParameter[str]] = bindparam("at")

DEPTHS: Final = (
    select(S.target, func.count())
    .where(S.status == PENDING, S.role == ASSISTANT, S.deleted.is_(False))
    .group_by(S.target)
)

TAKE_TURNS: Final = update(QUEUES).where(QUEUES.c.target == AT).values(turns=QUEUES.c.turns + bindparam("count"))
TAKE_TURNS_RETURNING: Final = TAKE_TURNS.returning(QUEUES.c.turns)
TURNS_TAKEN: Final = select(QUEUES.c.turns).where(QUEUES.c.target == AT)
SERVED: Final = (
    update(TURNS).where(TURNS.c.target == AT, TURNS.c.user_id == bindparam("user")).values(turn=bindparam("latest"))
)


def _can_be_had() -> tuple[ColumnElement[bool], ...]:
    other = SUBTASKS.alias("other")
    in_the_way = exists().where(
        other.c.task_id == S.task_id,
        other.c.role == ASSISTANT,
        other.c.deleted.is_(False),
        or_(is_one_of(other.c.status, HELD), and_(other.c.status == PENDING, other.c.id < S.id)),
    )
    due = or_(S.claimable_at <= bindparam("now"), S.id.in_(bindparam("released", expanding=True)))
    pending = (S.status == PENDING, S.target == AT, S.role == ASSISTANT, S.deleted.is_(False))
    return (*pending, TASKS.c.deleted.is_(False), due, ~in_the_way)


def _queue() -> Select[Any]:
    # A user's n-th row comes in the n-th round; within a round, by the turn that the user had last.
    place = func.row_number().over(partition_by=S.sender_id, order_by=S.id).label("place")
    had = select(S.id, S.task_id, S.attempt, S.sender_id, S.updated_at, place)
    w = had.join(TASKS, TASKS.c.id == S.task_id).where(*_can_be_had()).subquery("waiting").c
    running = (
        select(S.sender_id, func.count().label("held"))
        .where(is_one_of(S.status, HELD), S.target == AT)
        .group_by(S.sender_id)
        .subquery("running")
    )
    return (
        select(w.id, w.task_id, w.attempt, w.sender_id, w.updated_at)
        .outerjoin(TURNS, and_(TURNS.c.target == AT, TURNS.c.user_id == w.sender_id))
        .outerjoin(running, running.c.sender_id == w.sender_id)
        .where(w.place + func.coalesce(running.c.held, 0) <= bindparam("per_user"))
        .order_by(w.place, func.coalesce(TURNS.c.turn, 0), w.id)
        .limit(bindparam("limit"))
    )


QUEUE: Final = _queue()

HELD_ROWS: Final = select(*SUBTASK).where(is_one_of(S.status, HELD)).order_by(S.id)
REMOTE_ROWS: Final = HELD_ROWS.where(or_(S.owner.startswith(HOST_OWNER), S.owner.startswith(DEVICE_OWNER)))
OWNED: Final = (
    select(S.id, S.attempt, S.lease, S.status)
    .where(is_one_of(S.status, HELD), S.owner == bindparam("who"))
    .order_by(S.id)
)
HOLDING: Final = select(func.count()).where(is_one_of(S.status, HELD), S.owner == bindparam("who"))
HOLDERS: Final = select(S.owner).distinct().where(is_one_of(S.status, HELD), S.owner.is_not(None))
REPORTED: Final = update(SUBTASKS).where(S.id.in_(bindparam("ids", expanding=True))).values(reported=True)

BEAT: Final = update(OWNERS).where(OWNERS.c.owner == bindparam("who")).values(beat=OWNERS.c.beat + 1)
BEATS: Final = select(OWNERS.c.owner, OWNERS.c.beat)

DEVICE_BY_ID: Final = select(*DEVICE).where(
    DEVICES.c.user_id == bindparam("user"), DEVICES.c.device_id == bindparam("device")
)
DEVICES_OF: Final = (
    select(*DEVICE).where(DEVICES.c.user_id == bindparam("user")).order_by(DEVICES.c.created_at, DEVICES.c.device_id)
)
PRESENT_DEVICES: Final = select(*DEVICE).where(or_(DEVICES.c.connection.is_not(None), DEVICES.c.status != OFFLINE))

DROP_PARTS: Final = delete(PARTS).where(
    PARTS.c.subtask_id == bindparam("subtask"), PARTS.c.attempt == bindparam("attempt")
)
PARTS_OF_STREAM: Final = select(PARTS.c.channel, PARTS.c.start, PARTS.c.text).where(
    PARTS.c.subtask_id == bindparam("subtask"), PARTS.c.attempt == bindparam("attempt")
)


def upsert_parts(backend: str) -> Executable:
    """Insert saved parts, or replace their text, as the backend says it."""
    if backend in {"mysql", "mariadb"}:
        on_mysql = mysql.insert(PARTS)
        return on_mysql.on_duplicate_key_update(text=on_mysql.inserted.text)
    keys = [PARTS.c.subtask_id, PARTS.c.attempt, PARTS.c.channel, PARTS.c.start]
    if backend == "postgresql":
        on_pg = postgresql.insert(PARTS)
        return on_pg.on_conflict_do_update(index_elements=keys, set_={"text": on_pg.excluded.text})
    on_sqlite = sqlite.insert(PARTS)
    return on_sqlite.on_conflict_do_update(index_elements=keys, set_={"text": on_sqlite.excluded.text})

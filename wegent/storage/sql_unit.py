"""Units over a connection of SQLAlchemy, which is in a transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Executable, delete, select

from wegent.core.errors import Conflict, NotFound
from wegent.server.records import Kind, Member, Subtask, Task, Token, User
from wegent.storage import rules
from wegent.storage import statements as sql
from wegent.storage.sql_attachments import SqlAttachments
from wegent.storage.sql_base import found, params_of
from wegent.storage.sql_executions import SqlExecutions
from wegent.storage.sql_knowledge import SqlKnowledge
from wegent.storage.sql_runs import SqlRuns


class SqlUnit(SqlRuns, SqlExecutions, SqlAttachments, SqlKnowledge):
    """One unit; unusable once closed, and a reading one refuses to change anything."""

    __slots__ = ()

    # users and tokens

    def user(self, user_id: int) -> User | None:
        return self._one(User, sql.USER_BY_ID, id=user_id)

    def user_named(self, user_name: str) -> User | None:
        rules.check_text("user_name", user_name)
        return self._one(User, sql.USER_BY_NAME, name=user_name)

    def users(self, *, after_id: int = 0, limit: int = 100) -> list[User]:
        return self._all(User, sql.USER_PAGE, after=after_id, limit=limit)

    def add_user(self, user_name: str, *, password_hash: str | None, role: str = "user") -> User:
        fields = {"user_name": user_name, "password_hash": password_hash, "role": role}
        rules.check_texts(fields)
        if self.user_named(user_name) is not None:
            raise Conflict("the user name is taken")
        row = User(id=0, active=True, created_at=self._clock.now(), **fields)  # type: ignore[arg-type]
        return self._insert(sql.USERS, row)

    def update_user(self, user_id: int, **changes: Any) -> User:
        rules.check_changes(User, changes)
        rules.check_texts(changes)
        if not changes:
            return found(self.user(user_id), "user")
        return found(self._change(User, sql.USERS, {"id": user_id}, changes), "user")

    def token(self, jti: str) -> Token | None:
        rules.check_text("jti", jti)
        return self._one(Token, sql.TOKEN_BY_ID, jti=jti)

    def tokens(self, user_id: int | None = None, *, scope: str | None = None) -> list[Token]:
        statement = select(*sql.TOKEN)
        if user_id is not None:
            statement = statement.where(sql.TOKENS.c.user_id == user_id)
        if scope is not None:
            statement = statement.where(sql.TOKENS.c.scope == scope)
        return sorted(self._all(Token, statement), key=lambda row: (row.created_at, row.jti), reverse=True)

    def add_token(self, token: Token) -> None:
        rules.check_token(token)
        self._write(sql.INSERTS[sql.TOKENS], params_of(token))

    def revoke_token(self, jti: str, at: datetime) -> Token:
        row = found(self.token(jti), "token")
        if row.revoked_at is not None:
            return row
        return found(self._change(Token, sql.TOKENS, {"jti": jti}, {"revoked_at": at}), "token")

    def shut_out(self, since: datetime) -> tuple[list[str], list[int]]:
        revoked = self._all(Token, select(*sql.TOKEN).where(sql.TOKENS.c.revoked_at >= since))
        gone = self._all(User, select(*sql.USER).where(sql.USERS.c.active.is_(False)))
        return [token.jti for token in revoked], [user.id for user in gone]

    # kinds

    def kind(self, kind_id: int) -> Kind | None:
        return self._kind((kind_id,), sql.KIND_BY_ID, id=kind_id)

    def kind_named(self, kind: str, namespace: str, name: str, *, user_id: int | None) -> Kind | None:
        rules.check_text("name", kind + namespace + name)
        named = {"owner_key": user_id or 0, "kind": kind, "namespace": namespace, "name": name}
        return self._kind(tuple(named.values()), sql.KIND_BY_NAME, **named)

    def _kind(self, key: tuple[Any, ...], statement: Executable, **params: Any) -> Kind | None:
        if key not in self._kinds:
            self._kinds[key] = self._one(Kind, statement, **params)
        return self._kinds[key]

    def kinds(self, kind: str, *, user_id: int | None = None, after_id: int = 0, limit: int = 100) -> list[Kind]:
        statement = sql.KIND_PAGE
        if user_id is not None:
            statement = statement.where(sql.KINDS.c.user_id == user_id)
        return self._all(Kind, statement, kind=kind, after=after_id, limit=limit)

    def count_kinds(self, user_id: int) -> int:
        return int(self._read(sql.KIND_COUNT, user=user_id).scalar() or 0)

    def put_kind(self, kind: str, namespace: str, name: str, *, user_id: int | None, body: Mapping[str, Any]) -> Kind:
        rules.check_kind_name(kind, namespace, name)
        self._kinds.clear()
        now = self._clock.now()
        named = {"owner_key": user_id or 0, "kind": kind, "namespace": namespace, "name": name}
        changed = self._change(Kind, sql.KINDS, named, {"body": body, "updated_at": now})
        if changed is not None:
            return changed
        row = Kind(0, user_id, kind, namespace, name, body, created_at=now, updated_at=now)
        return self._insert(sql.KINDS, row, owner_key=user_id or 0)

    def delete_kind(self, kind_id: int) -> None:
        self._kinds.clear()
        if self._write(delete(sql.KINDS).where(sql.KINDS.c.id == kind_id)).rowcount == 0:
            raise NotFound("no such resource")

    # tasks

    def touch(self, task_id: int, *, messages: int = 0) -> Task:
        params = {"task": task_id, "messages": messages, "now": self._clock.now()}
        if self._returning:
            row = self._write(sql.TOUCH_RETURNING, params).first()
            task = None if row is None else Task(*row)
        else:
            task = self.task(task_id) if self._write(sql.TOUCH, params).rowcount else None
        return found(task, "task")

    def task(self, task_id: int) -> Task | None:
        return self._one(Task, sql.TASK_BY_ID, id=task_id)

    def add_task(
        self, *, owner_id: int, team_id: int, team_name: str, title: str, messages: int = 0, **fields: Any
    ) -> Task:
        rules.check_changes(Task, fields)
        named = {"owner_id": owner_id, "team_id": team_id, "team_name": team_name, "title": title}
        stored = {**rules.TASK_DEFAULTS, **fields, **named}
        rules.check_texts(stored)
        now = self._clock.now()
        row = Task(id=0, revision=1, last_message_id=messages, created_at=now, updated_at=now, **stored)
        return self._insert(sql.TASKS, row, title_key=row.title.casefold())

    def update_task(self, task_id: int, **changes: Any) -> Task:
        rules.check_changes(Task, changes)
        rules.check_texts(changes)
        if "title" in changes:
            changes["title_key"] = changes["title"].casefold()
        changes["updated_at"] = self._clock.now()
        return found(self._change(Task, sql.TASKS, {"id": task_id}, changes), "task")

    def tasks_of(
        self,
        user_id: int,
        *,
        limit: int = 50,
        before: tuple[datetime, int] | None = None,
        status: str | None = None,
        query: str | None = None,
    ) -> list[Task]:
        statement, params = sql.TASKS_OF, {"user": user_id, "limit": limit}
        if before is not None:
            statement = statement.where(sql.TASKS_BEFORE)
            params |= {"moment": before[0], "before_id": before[1]}  # type: ignore[dict-item]
        if status is not None:
            statement = statement.where(sql.TASKS.c.status == status)
        if query is not None:
            folded = rules.fold_query(query)
            statement = statement.where(sql.TASKS.c.title_key.contains(folded, autoescape=True))
        return self._all(Task, statement, **params)

    # members

    def member(self, task_id: int, user_id: int) -> Member | None:
        return self._one(Member, sql.MEMBER_BY_ID, task=task_id, user=user_id)

    def members(self, task_id: int) -> list[Member]:
        return self._all(Member, sql.MEMBERS_OF_TASK, task=task_id)

    def put_member(self, task_id: int, user_id: int, **changes: Any) -> Member:
        rules.check_changes(Member, changes)
        rules.check_texts(changes)
        row = self.member(task_id, user_id)
        if row is not None:
            keys = {"task_id": task_id, "user_id": user_id}
            return found(self._change(Member, sql.MEMBERS, keys, changes) if changes else row, "member")
        fields = {"role": "member", "joined_at": self._clock.now(), **changes}
        row = Member(task_id, user_id, self._name_of(user_id), **fields)
        self._write(sql.INSERTS[sql.MEMBERS], params_of(row))
        return row

    def mark_read(self, task_id: int, user_id: int, message_id: int) -> Member | None:
        self._write(sql.MARK_READ, {"task": task_id, "user": user_id, "message": message_id})
        row = self.member(task_id, user_id)
        return row if row is not None and row.removed_at is None else None

    def places(self, user_id: int, task_ids: Collection[int]) -> dict[int, Member]:
        rows = self._all(Member, sql.places(user_id, task_ids)) if task_ids else []
        return {row.task_id: row for row in rows}

    def _name_of(self, user_id: int) -> str:
        name: str | None = self._read(sql.USER_NAME, id=user_id).scalar()
        return found(name, "user")

    # subtasks

    def subtask(self, subtask_id: int) -> Subtask | None:
        return self._one(Subtask, sql.SUBTASK_BY_ID, id=subtask_id)

    def add_subtask(
        self, *, task: Task, message_id: int, role: str, sender_id: int, status: str, **fields: Any
    ) -> Subtask:
        rules.check_changes(Subtask, fields)
        fields |= {"message_id": message_id, "role": role, "sender_id": sender_id, "status": status}
        if "sender_name" not in fields:
            fields["sender_name"] = self._name_of(sender_id)
        rules.check_texts(fields)
        now = self._clock.now()
        fields = {"attempt": 1, "progress": 0, **fields}
        row = Subtask(id=0, task_id=task.id, revision=task.revision, created_at=now, updated_at=now, **fields)
        return self._insert(sql.SUBTASKS, row)

    def update_subtask(self, subtask_id: int, *, task: Task, **changes: Any) -> Subtask:
        rules.check_changes(Subtask, changes)
        rules.check_texts(changes)
        changes |= {"revision": task.revision, "updated_at": self._clock.now()}
        return found(self._change(Subtask, sql.SUBTASKS, {"id": subtask_id}, changes), "subtask")

    def sent(self, user_id: int, client_message_id: str) -> Subtask | None:
        rules.check_text("client_message_id", client_message_id)
        return self._one(Subtask, sql.SENT, user=user_id, client=client_message_id)

    def subtasks(
        self,
        task_id: int,
        *,
        after_message_id: int | None = None,
        before_message_id: int | None = None,
        after_revision: int | None = None,
        limit: int = 100,
        newest: bool = False,
    ) -> list[Subtask]:
        bounds = {"after": after_message_id, "before": before_message_id, "revision": after_revision}
        given = {name: value for name, value in bounds.items() if value is not None}
        rows = self._all(Subtask, sql.subtasks(frozenset(given), newest=newest), task=task_id, limit=limit, **given)
        return rows[::-1] if newest else rows

    def message_ids(self, task_id: int, *, after: int = 0, limit: int) -> list[int]:
        found = self._read(sql.MESSAGE_IDS, task=task_id, after=after, limit=limit).scalars()
        return sorted(found)

    def remove_subtasks(self, task: Task, *, since: int, until: int) -> int:
        place = {"task": task.id, "since": since, "until": until}
        changed = {**place, "revision_": task.revision, "now": self._clock.now()}
        return self._write(sql.REMOVE_SUBTASKS, changed).rowcount

    def unfinished(self, task_id: int) -> list[Subtask]:
        return self._all(Subtask, sql.UNFINISHED, task=task_id)

    def newest_answer(self, task_id: int) -> Subtask | None:
        return self._one(Subtask, sql.NEWEST_ANSWER, task=task_id)

"""Units over the tables in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import attrs

from wegent.core.errors import Conflict, NotFound
from wegent.server.records import Kind, Member, Subtask, Task, Token, User
from wegent.storage import rules
from wegent.storage.memory_attachments import MemoryAttachments
from wegent.storage.memory_base import found, plain, stored
from wegent.storage.memory_executions import MemoryExecutions
from wegent.storage.memory_knowledge import MemoryKnowledge
from wegent.storage.memory_runs import MemoryRuns


class MemoryUnit(MemoryRuns, MemoryExecutions, MemoryAttachments, MemoryKnowledge):
    """One unit; unusable once closed, and a reading one refuses to change anything."""

    __slots__ = ()

    # users and tokens

    def user(self, user_id: int) -> User | None:
        return self._read().users.get(user_id)

    def user_named(self, user_name: str) -> User | None:
        t = self._read()
        rules.check_text("user_name", user_name)
        return t.users.get(t.user_names.get(user_name, 0))

    def users(self, *, after_id: int = 0, limit: int = 100) -> list[User]:
        return [row for id_, row in sorted(self._read().users.items()) if id_ > after_id][:limit]

    def add_user(self, user_name: str, *, password_hash: str | None, role: str = "user") -> User:
        t = self._write()
        rules.check_texts({"user_name": user_name, "password_hash": password_hash, "role": role})
        if user_name in t.user_names:
            raise Conflict("the user name is taken")
        row = User(t.next_id("users"), user_name, password_hash, role, active=True, created_at=self._clock.now())
        t.put(t.user_names, user_name, row.id)
        return t.put(t.users, row.id, row)

    def update_user(self, user_id: int, **changes: Any) -> User:
        t = self._write()
        rules.check_changes(User, changes)
        row = found(t.users.get(user_id), "user")
        new = attrs.evolve(row, **stored(changes))
        if new.user_name != row.user_name:
            if new.user_name in t.user_names:
                raise Conflict("the user name is taken")
            t.drop(t.user_names, row.user_name)
            t.put(t.user_names, new.user_name, user_id)
        return t.put(t.users, user_id, new)

    def token(self, jti: str) -> Token | None:
        return self._read().tokens.get(jti)

    def tokens(self, user_id: int | None = None, *, scope: str | None = None) -> list[Token]:
        rows = [
            row
            for row in self._read().tokens.values()
            if (user_id is None or row.user_id == user_id) and (scope is None or row.scope == scope)
        ]
        return sorted(rows, key=lambda row: (row.created_at, row.jti), reverse=True)

    def add_token(self, token: Token) -> None:
        t = self._write()
        rules.check_token(token)
        found(t.users.get(token.user_id), "user")
        if token.jti in t.tokens:
            raise Conflict("there is a token of that jti")
        t.put(t.tokens, token.jti, attrs.evolve(token, claims=plain(token.claims)))

    def revoke_token(self, jti: str, at: datetime) -> Token:
        t = self._write()
        row = t.tokens.get(jti)
        if row is None:
            raise NotFound("no such token")
        return t.put(t.tokens, jti, attrs.evolve(row, revoked_at=row.revoked_at or at))

    def shut_out(self, since: datetime) -> tuple[list[str], list[int]]:
        t = self._read()
        revoked = [row.jti for row in t.tokens.values() if row.revoked_at is not None and row.revoked_at >= since]
        return revoked, [user.id for user in t.users.values() if not user.active]

    # kinds

    def kind(self, kind_id: int) -> Kind | None:
        return self._read().kinds.get(kind_id)

    def kind_named(self, kind: str, namespace: str, name: str, *, user_id: int | None) -> Kind | None:
        t = self._read()
        rules.check_text("name", kind + namespace + name)
        return t.kinds.get(t.kind_names.get((user_id, kind, namespace, name), 0))

    def kinds(self, kind: str, *, user_id: int | None = None, after_id: int = 0, limit: int = 100) -> list[Kind]:
        rows = (row for id_, row in sorted(self._read().kinds.items()) if id_ > after_id and row.kind == kind)
        return [row for row in rows if user_id is None or row.user_id == user_id][:limit]

    def count_kinds(self, user_id: int) -> int:
        return sum(row.user_id == user_id for row in self._read().kinds.values())

    def put_kind(self, kind: str, namespace: str, name: str, *, user_id: int | None, body: Mapping[str, Any]) -> Kind:
        t = self._write()
        rules.check_kind_name(kind, namespace, name)
        if user_id is not None:
            found(t.users.get(user_id), "user")
        now, body = self._clock.now(), plain(body)
        row = self.kind_named(kind, namespace, name, user_id=user_id)
        if row is not None:
            return t.put(t.kinds, row.id, attrs.evolve(row, body=body, updated_at=now))
        row = Kind(t.next_id("kinds"), user_id, kind, namespace, name, body, created_at=now, updated_at=now)
        t.put(t.kind_names, rules.kind_fields(row), row.id)
        return t.put(t.kinds, row.id, row)

    def delete_kind(self, kind_id: int) -> None:
        t = self._write()
        row = t.kinds.get(kind_id)
        if row is None:
            raise NotFound("no such resource")
        t.drop(t.kind_names, rules.kind_fields(row))
        t.drop(t.kinds, kind_id)

    # tasks

    def touch(self, task_id: int, *, messages: int = 0) -> Task:
        t = self._write()
        row = found(t.tasks.get(task_id), "task")
        if row.deleted:
            raise NotFound("no such task")
        new = attrs.evolve(
            row,
            revision=row.revision + 1,
            last_message_id=row.last_message_id + messages,
            updated_at=self._clock.now(),
        )
        return t.put(t.tasks, task_id, new)

    def task(self, task_id: int) -> Task | None:
        return self._read().tasks.get(task_id)

    def add_task(
        self, *, owner_id: int, team_id: int, team_name: str, title: str, messages: int = 0, **fields: Any
    ) -> Task:
        t = self._write()
        rules.check_changes(Task, fields)
        found(t.users.get(owner_id), "user")
        now = self._clock.now()
        named = {"owner_id": owner_id, "team_id": team_id, "team_name": team_name, "title": title}
        row = Task(
            id=t.next_id("tasks"),
            revision=1,
            last_message_id=messages,
            created_at=now,
            updated_at=now,
            **stored({**rules.TASK_DEFAULTS, **fields, **named}),
        )
        t.add(t.tasks_of_owner, owner_id, row.id)
        return t.put(t.tasks, row.id, row)

    def update_task(self, task_id: int, **changes: Any) -> Task:
        t = self._write()
        rules.check_changes(Task, changes)
        row = found(t.tasks.get(task_id), "task")
        return t.put(t.tasks, task_id, attrs.evolve(row, **stored(changes), updated_at=self._clock.now()))

    def tasks_of(
        self,
        user_id: int,
        *,
        limit: int = 50,
        before: tuple[datetime, int] | None = None,
        status: str | None = None,
        query: str | None = None,
    ) -> list[Task]:
        t = self._read()
        folded = None if query is None else rules.fold_query(query)
        joined = (id_ for id_ in t.tasks_of_member.get(user_id, ()) if t.members[id_, user_id].removed_at is None)
        rows = [
            row
            for row in (t.tasks[each] for each in {*t.tasks_of_owner.get(user_id, ()), *joined})
            if not row.deleted
            and (before is None or (row.updated_at, row.id) < before)
            and (status is None or row.status == status)
            and (folded is None or folded in row.title.casefold())
        ]
        return sorted(rows, key=lambda row: (row.updated_at, row.id), reverse=True)[:limit]

    # members

    def member(self, task_id: int, user_id: int) -> Member | None:
        return self._read().members.get((task_id, user_id))

    def members(self, task_id: int) -> list[Member]:
        t = self._read()
        rows = (t.members[task_id, each] for each in t.members_of_task.get(task_id, ()))
        return sorted((m for m in rows if m.removed_at is None), key=lambda m: (m.joined_at, m.user_id))

    def put_member(self, task_id: int, user_id: int, **changes: Any) -> Member:
        t = self._write()
        rules.check_changes(Member, changes)
        row = t.members.get((task_id, user_id))
        if row is None:
            found(t.tasks.get(task_id), "task")
            user = found(t.users.get(user_id), "user")
            row = Member(task_id, user_id, user.user_name, role="member", joined_at=self._clock.now())
            t.add(t.members_of_task, task_id, user_id)
            t.add(t.tasks_of_member, user_id, task_id)
        return t.put(t.members, (task_id, user_id), attrs.evolve(row, **stored(changes)))

    def mark_read(self, task_id: int, user_id: int, message_id: int) -> Member | None:
        t = self._write()
        row = t.members.get((task_id, user_id))
        if row is None or row.removed_at is not None:
            return None
        most = max(row.last_read_message_id, message_id)
        return t.put(t.members, (task_id, user_id), attrs.evolve(row, last_read_message_id=most))

    def places(self, user_id: int, task_ids: Collection[int]) -> dict[int, Member]:
        members = self._read().members
        rows = (members.get((each, user_id)) for each in task_ids)
        return {row.task_id: row for row in rows if row is not None and row.removed_at is None}

    # subtasks

    def subtask(self, subtask_id: int) -> Subtask | None:
        return self._read().subtasks.get(subtask_id)

    def add_subtask(
        self, *, task: Task, message_id: int, role: str, sender_id: int, status: str, **fields: Any
    ) -> Subtask:
        t = self._write()
        rules.check_changes(Subtask, fields)
        found(t.tasks.get(task.id), "task")
        sender = found(t.users.get(sender_id), "user")
        if any(row.message_id == message_id for row in t.rows_of_task(task.id)):
            raise Conflict("the message id is taken")
        now = self._clock.now()
        named = {"message_id": message_id, "role": role, "sender_id": sender_id, "status": status}
        defaults = {"attempt": 1, "progress": 0, "sender_name": sender.user_name}
        row = Subtask(
            id=t.next_id("subtasks"),
            task_id=task.id,
            revision=task.revision,
            created_at=now,
            updated_at=now,
            **stored({**defaults, **fields, **named}),
        )
        self._claim_client_id(row)
        t.add(t.subtasks_of_task, task.id, row.id)
        return self._put_subtask(row)

    def update_subtask(self, subtask_id: int, *, task: Task, **changes: Any) -> Subtask:
        t = self._write()
        rules.check_changes(Subtask, changes)
        row = found(t.subtasks.get(subtask_id), "subtask")
        new = attrs.evolve(row, **stored(changes), revision=task.revision, updated_at=self._clock.now())
        if new.client_message_id != row.client_message_id:
            self._claim_client_id(new)
        return self._put_subtask(new)

    def _claim_client_id(self, row: Subtask) -> None:
        if row.client_message_id is None:
            return
        key = (row.sender_id, row.client_message_id)
        if key in self._t.sent:
            raise Conflict("the client message id is taken")
        self._t.put(self._t.sent, key, row.id)

    def _put_subtask(self, row: Subtask) -> Subtask:
        t = self._t
        if row.status in rules.UNFINISHED:
            t.put(t.unfinished, row.id, None)
        else:
            t.drop(t.unfinished, row.id)
        return t.put(t.subtasks, row.id, row)

    def sent(self, user_id: int, client_message_id: str) -> Subtask | None:
        t = self._read()
        rules.check_text("client_message_id", client_message_id)
        return t.subtasks.get(t.sent.get((user_id, client_message_id), 0))

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
        rows = [
            row
            for row in self._read().rows_of_task(task_id)
            if (after_message_id is None or row.message_id > after_message_id)
            and (before_message_id is None or row.message_id < before_message_id)
            and (not row.deleted if after_revision is None else row.revision > after_revision)
        ]
        rows.sort(key=lambda row: row.message_id)
        return rows[max(0, len(rows) - limit) :] if newest else rows[:limit]

    def message_ids(self, task_id: int, *, after: int = 0, limit: int) -> list[int]:
        rows = self._read().rows_of_task(task_id)
        found = sorted(row.message_id for row in rows if row.message_id > after and not row.deleted)
        return found[max(0, len(found) - limit) :]

    def remove_subtasks(self, task: Task, *, since: int, until: int) -> int:
        t = self._write()
        rows = [row for row in t.rows_of_task(task.id) if since <= row.message_id < until and not row.deleted]
        for row in rows:
            now = self._clock.now()
            self._put_subtask(attrs.evolve(row, deleted=True, revision=task.revision, updated_at=now))
        return len(rows)

    def unfinished(self, task_id: int) -> list[Subtask]:
        rows = self._read().rows_of_task(task_id)
        waiting = (r for r in rows if r.role == rules.ASSISTANT and r.status in rules.UNFINISHED and not r.deleted)
        return sorted(waiting, key=lambda row: row.message_id)

    def newest_answer(self, task_id: int) -> Subtask | None:
        rows = (r for r in self._read().rows_of_task(task_id) if r.role == rules.ASSISTANT and not r.deleted)
        return max(rows, key=lambda row: row.message_id, default=None)

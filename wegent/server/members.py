"""Group chats: who is in one, and how people come in and go (protocol §10)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from wegent.core.clock import Clock
from wegent.core.errors import Conflict, NotFound
from wegent.core.model import Principal
from wegent.protocol import tasks
from wegent.protocol.groups import Invite
from wegent.protocol.limits import MAX_MEMBERS
from wegent.server.access import owned_task, readable_task
from wegent.server.evicting import Evictions
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Member, Task, User
from wegent.server.status import TaskView, settle
from wegent.server.telling import Teller
from wegent.server.updates import Updates

OWNER = "owner"
MEMBER = "member"


@frozen
class Changed:
    """What became of a group: its people as they are then, who is new, and who is gone."""

    view: TaskView
    members: tuple[tasks.Member, ...]
    added: tuple[int, ...] = ()
    gone: int | None = None


class Members:
    """The people of group chats. Only a task's owner adds and removes; everybody else may leave."""

    def __init__(self, store: Store, clock: Clock, teller: Teller, updates: Updates, evictions: Evictions) -> None:
        self._store = store
        self._clock = clock
        self._teller = teller
        self._updates = updates
        self._evictions = evictions

    async def list(self, principal: Principal, task_id: int) -> tuple[tasks.Member, ...]:
        """Who is in the task, the owner first."""

        def read(unit: Unit) -> tuple[tasks.Member, ...]:
            return people_of(unit, readable_task(unit, principal, task_id))

        return await self._store.read(read)

    async def make_group(self, principal: Principal, task_id: int, invites: Sequence[Invite]) -> Changed:
        """Make the task a group chat, if it is none yet, and add people.

        Raises:
            NotFound, AccessDenied: the task is not the principal's, or somebody who is invited is not there.
            Conflict: they are too many.
        """

        def work(unit: Unit) -> Changed:
            task = self._touched(unit, principal, task_id)
            if not task.is_group_chat:
                task = unit.update_task(task.id, is_group_chat=True)
                keep_owner(unit, task, read_up_to=task.last_message_id)
            return self._add(unit, task, invites)

        return self._tell(await self._store.write(work))

    async def add(self, principal: Principal, task_id: int, invite: Invite) -> Changed:
        """Add somebody; who is in already stays.

        Raises:
            NotFound, AccessDenied: as `make_group`.
            Conflict: the task is no group chat, or is full.
        """

        def work(unit: Unit) -> Changed:
            task = self._touched(unit, principal, task_id)
            if not task.is_group_chat:
                message = f"task {task.id} is no group chat; make it one by POST /tasks/{task.id}/group-chat"
                raise Conflict(message)
            return self._add(unit, task, [invite])

        return self._tell(await self._store.write(work))

    async def remove(self, principal: Principal, task_id: int, user_id: int) -> Changed:
        """Take somebody's place from them; it may be one's own, which is to leave.

        Raises:
            NotFound, AccessDenied: there is no such task or member, or it is not the principal's to say.
            Conflict: the owner cannot go.
        """
        return self._tell(await self._store.write(lambda unit: self._remove(unit, principal, task_id, user_id)))

    def _touched(self, unit: Unit, principal: Principal, task_id: int) -> Task:
        owned_task(unit, principal, task_id)
        return unit.touch(task_id)

    def _add(self, unit: Unit, task: Task, invites: Iterable[Invite]) -> Changed:
        users = dict.fromkeys(_invited(unit, invite) for invite in invites)
        new = tuple(user.id for user in users if not _is_in(unit, task, user.id))
        for user_id in new:
            unit.put_member(
                task.id,
                user_id,
                role=MEMBER,
                joined_at=self._clock.now(),
                removed_at=None,
                last_read_message_id=task.last_message_id,
            )
        people = people_of(unit, task)
        if len(people) > MAX_MEMBERS:
            message = f"a group chat has at most {MAX_MEMBERS} people, with these it would have {len(people)}"
            raise Conflict(message)
        return Changed(settle(unit, task), people, added=new)

    def _remove(self, unit: Unit, principal: Principal, task_id: int, user_id: int) -> Changed:
        readable_task(unit, principal, task_id)
        task = unit.touch(task_id)
        readable_task(unit, principal, task_id)
        if user_id == task.owner_id == principal.user_id:
            message = "a task's owner cannot leave it; delete the task instead"
            raise Conflict(message)
        if user_id != principal.user_id:
            owned_task(unit, principal, task_id)
        if not _is_member(unit, task, user_id):
            message = f"user {user_id} is no member of task {task_id}"
            raise NotFound(message)
        unit.put_member(task_id, user_id, removed_at=self._clock.now())
        return Changed(settle(unit, task), people_of(unit, task), gone=user_id)

    def _tell(self, changed: Changed) -> Changed:
        task = changed.view.task
        for user_id in changed.added:
            self._updates.created(task, user_id)
        if changed.gone is not None:
            self._evictions.evict(task.id, changed.gone)
            self._updates.gone(task, changed.gone)
        self._updates.members(changed.view, changed.members)
        self._teller.status(changed.view)
        return changed


def keep_owner(unit: Unit, task: Task, *, read_up_to: int) -> Member:
    """Give the owner of a task a place in it, which says how far they have read."""
    return unit.put_member(task.id, task.owner_id, role=OWNER, removed_at=None, last_read_message_id=read_up_to)


def people_of(unit: Unit, task: Task) -> tuple[tasks.Member, ...]:
    """Who is in the task, the owner first, then in order of joining."""
    owner = unit.user(task.owner_id)
    joined = [(unit.user(each.user_id), each) for each in unit.members(task.id) if each.user_id != task.owner_id]
    guests = [_member(user, MEMBER, each) for user, each in joined if user is not None]
    return (*([] if owner is None else [_member(owner, OWNER, task)]), *guests)


def _member(user: User, role: str, since: Member | Task) -> tasks.Member:
    at = since.joined_at if isinstance(since, Member) else since.created_at
    return tasks.Member(user_id=user.id, user_name=user.user_name, role=role, joined_at=at, avatar=user.avatar)


def _invited(unit: Unit, invite: Invite) -> User:
    user = unit.user(invite.user_id) if invite.user_id is not None else unit.user_named(invite.user_name or "")
    if user is None or not user.active:
        message = f"there is no user {invite.user_name or invite.user_id} who could be invited"
        raise NotFound(message)
    return user


def _is_in(unit: Unit, task: Task, user_id: int) -> bool:
    return user_id == task.owner_id or _is_member(unit, task, user_id)


def _is_member(unit: Unit, task: Task, user_id: int) -> bool:
    member = unit.member(task.id, user_id)
    return member is not None and member.removed_at is None and user_id != task.owner_id

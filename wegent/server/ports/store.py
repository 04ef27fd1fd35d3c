"""The application's storage: units of work over rows, synchronous inside, whole or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from wegent.core.model import StreamId
from wegent.server.ports.attachments import AttachmentRows
from wegent.server.ports.executions import ExecutionRows
from wegent.server.ports.knowledge import KnowledgeRows
from wegent.server.records import Device, Kind, Member, OwnerBeat, SavedPart, Subtask, Task, Token, User, Waiting

T = TypeVar("T")


class Unit(ExecutionRows, AttachmentRows, KnowledgeRows, ABC):
    """What one transaction can do. Plain calls, no awaiting; used only inside `Store.read` or `Store.write`.

    Every unit that changes rows of a task calls `touch` first: that serialises the writers of the task, and makes
    commit order revision order. Rows come back as values; a method that changes one returns it as it is afterwards.
    Unknown ids give None where the return type allows it, else raise `NotFound`. `changes` are fields of the record by
    name; a name that is no field is a TypeError. `updated_at` is set by every change. Text that cannot be stored
    (U+0000, half a surrogate pair, a name too long) is `InvalidPayload`.

    After an insert that raised (`Conflict`, `NotFound`) a unit may only end: PostgreSQL does nothing more in that
    transaction. `add_user` is the exception.
    """

    __slots__ = ()

    # users and tokens

    @abstractmethod
    def user(self, user_id: int) -> User | None: ...

    @abstractmethod
    def user_named(self, user_name: str) -> User | None:
        """Names are compared to the letter (case counts)."""

    @abstractmethod
    def users(self, *, after_id: int = 0, limit: int = 100) -> list[User]: ...

    @abstractmethod
    def add_user(self, user_name: str, *, password_hash: str | None, role: str = "user") -> User:
        """Raises `Conflict` if the name is taken."""

    @abstractmethod
    def update_user(self, user_id: int, **changes: Any) -> User: ...

    @abstractmethod
    def token(self, jti: str) -> Token | None: ...

    @abstractmethod
    def tokens(self, user_id: int | None = None, *, scope: str | None = None) -> list[Token]:
        """Newest first; of all users, and of all scopes, where None."""

    @abstractmethod
    def add_token(self, token: Token) -> None: ...

    @abstractmethod
    def revoke_token(self, jti: str, at: datetime) -> Token: ...

    @abstractmethod
    def shut_out(self, since: datetime) -> tuple[list[str], list[int]]:
        """Who must go: the `jti` of tokens revoked at that time or later, and the ids of users who are not active."""

    # kinds

    @abstractmethod
    def kind(self, kind_id: int) -> Kind | None: ...

    @abstractmethod
    def kind_named(self, kind: str, namespace: str, name: str, *, user_id: int | None) -> Kind | None:
        """The user's own (or, with None, the public one): no fallback from one to the other."""

    @abstractmethod
    def kinds(self, kind: str, *, user_id: int | None = None, after_id: int = 0, limit: int = 100) -> list[Kind]:
        """By id; of one user, or of everybody where None."""

    @abstractmethod
    def count_kinds(self, user_id: int) -> int:
        """How many kinds the user has."""

    @abstractmethod
    def put_kind(self, kind: str, namespace: str, name: str, *, user_id: int | None, body: Mapping[str, Any]) -> Kind:
        """Make it, or replace its body."""

    @abstractmethod
    def delete_kind(self, kind_id: int) -> None: ...

    # tasks

    @abstractmethod
    def touch(self, task_id: int, *, messages: int = 0) -> Task:
        """Raise the task's revision by one and its last message id by `messages`; the row as it is then.

        Raises:
            NotFound: no such task, or it is deleted.
        """

    @abstractmethod
    def task(self, task_id: int) -> Task | None:
        """Deleted ones too."""

    @abstractmethod
    def add_task(
        self, *, owner_id: int, team_id: int, team_name: str, title: str, messages: int = 0, **fields: Any
    ) -> Task:
        """A new row of revision 1 and last message id `messages`."""

    @abstractmethod
    def update_task(self, task_id: int, **changes: Any) -> Task: ...

    @abstractmethod
    def tasks_of(
        self,
        user_id: int,
        *,
        limit: int = 50,
        before: tuple[datetime, int] | None = None,
        status: str | None = None,
        query: str | None = None,
    ) -> list[Task]:
        """Tasks the user owns or is an active member of, last updated first; `before` is (updated_at, id), exclusive.

        `query` is found in the title, whatever its case; `%` and `_` stand for themselves. Deleted tasks are left out.
        """

    # members

    @abstractmethod
    def member(self, task_id: int, user_id: int) -> Member | None:
        """Removed ones too."""

    @abstractmethod
    def members(self, task_id: int) -> list[Member]:
        """Active ones, in order of joining."""

    @abstractmethod
    def put_member(self, task_id: int, user_id: int, **changes: Any) -> Member:
        """Make the membership (role `member`), or change it; `removed_at=None` brings one back."""

    @abstractmethod
    def mark_read(self, task_id: int, user_id: int, message_id: int) -> Member | None:
        """Raise how far an active member has read, never lower it; their place then, None where they have none.

        Two who mark at once end with the greater of both; the task need not be touched.
        """

    @abstractmethod
    def places(self, user_id: int, task_ids: Collection[int]) -> dict[int, Member]:
        """The user's active memberships of these tasks, by task."""

    # subtasks

    @abstractmethod
    def subtask(self, subtask_id: int) -> Subtask | None: ...

    @abstractmethod
    def add_subtask(
        self, *, task: Task, message_id: int, role: str, sender_id: int, status: str, **fields: Any
    ) -> Subtask:
        """A new row of attempt 1, its revision the task's."""

    @abstractmethod
    def update_subtask(self, subtask_id: int, *, task: Task, **changes: Any) -> Subtask:
        """Change a row; its revision becomes the task's."""

    @abstractmethod
    def sent(self, user_id: int, client_message_id: str) -> Subtask | None:
        """The USER row that this user sent under that id, if any (unique per user; case counts)."""

    @abstractmethod
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
        """Rows in `message_id` order: the first `limit` of those asked for, or with `newest` the last.

        All bounds are exclusive. Deleted rows come only with `after_revision`.
        """

    @abstractmethod
    def message_ids(self, task_id: int, *, after: int = 0, limit: int) -> list[int]:
        """The greatest `limit` message ids above `after`, ascending; deleted rows left out."""

    @abstractmethod
    def remove_subtasks(self, task: Task, *, since: int, until: int) -> int:
        """Mark the rows of message ids from `since` to below `until` as deleted; how many that were.

        Their revision becomes the task's.
        """

    @abstractmethod
    def unfinished(self, task_id: int) -> list[Subtask]:
        """ASSISTANT rows that are PENDING, RUNNING or CANCELLING, in `message_id` order."""

    @abstractmethod
    def newest_answer(self, task_id: int) -> Subtask | None:
        """The ASSISTANT row of the greatest `message_id`, deleted ones left out."""

    # the queue: per target, users take turns

    @abstractmethod
    def depths(self) -> dict[str, int]:
        """How many ASSISTANT rows are PENDING, by target; targets without one are left out."""

    @abstractmethod
    def take_turns(self, target: str, count: int) -> int:
        """Raise the target's number of turns by `count`; the first of them. Turns of a target begin with 1.

        A unit that claims rows of a target begins with this: until it ends no other takes turns of the target. Of
        several targets, take them in sorted order.
        """

    @abstractmethod
    def queue(
        self, target: str, *, now: datetime, released: Collection[int] = (), limit: int, per_user: int
    ) -> list[Waiting]:
        """The rows whose turn it is, in order: users (`sender_id`) take turns, a row each.

        First comes who was `served` longest ago, before all who never was; among those, whose row is oldest. Within a
        user the oldest row (by id) comes first. Nobody gets more than brings them to `per_user` RUNNING and
        CANCELLING rows of the target.

        Rows that can be had are PENDING ASSISTANT rows of the target whose `claimable_at` has come, or whose id is
        among `released`; those of a task that has a RUNNING or CANCELLING row, or an older PENDING one, are left out.
        No lock is taken: `touch` decides.
        """

    @abstractmethod
    def served(self, target: str, user_id: int, turn: int) -> None:
        """The user's latest turn at the target was that one."""

    # runs

    @abstractmethod
    def running(self, owners: Collection[str] | None = None) -> list[Subtask]:
        """RUNNING and CANCELLING rows of these owners, or of all."""

    @abstractmethod
    def owned(self, owner: str) -> list[tuple[int, int, str | None, str]]:
        """What a beat must know of an owner's RUNNING and CANCELLING rows: (id, attempt, lease, status)."""

    @abstractmethod
    def running_remote(self) -> list[Subtask]:
        """RUNNING and CANCELLING rows that executor hosts and devices hold."""

    @abstractmethod
    def holding(self, owner: str) -> int:
        """How many RUNNING and CANCELLING rows the owner holds."""

    @abstractmethod
    def holders(self) -> set[str]:
        """Owners of RUNNING and CANCELLING rows, whether they have ever beaten or not."""

    @abstractmethod
    def set_reported(self, subtask_ids: Collection[int]) -> None:
        """Mark attempts as heard of (`Subtask.reported`). No revision: there is nothing to tell anybody."""

    @abstractmethod
    def beat(self, owner: str) -> None:
        """Raise the owner's beat by one, making its row where there is none.

        A row that is made begins with any number, so that who was forgotten does not come back with the beat it had.
        """

    @abstractmethod
    def beats(self) -> list[OwnerBeat]: ...

    @abstractmethod
    def forget_owner(self, owner: str, *, beat: int | None = None) -> bool:
        """Forget the owner; with `beat`, only if that is its last one. Whether it was there so.

        Until the unit ends its next beat waits.
        """

    # devices

    @abstractmethod
    def device(self, user_id: int, device_id: str) -> Device | None: ...

    @abstractmethod
    def devices(self, user_id: int) -> list[Device]:
        """In order of their making."""

    @abstractmethod
    def present_devices(self) -> list[Device]:
        """Of all users, those that are connected or not called offline."""

    @abstractmethod
    def put_device(self, user_id: int, device_id: str, **changes: Any) -> Device:
        """Make the device (offline, named by its id, with the default number of slots), or change it.

        Raises:
            NotFound: there is no such user.
        """

    @abstractmethod
    def delete_device(self, user_id: int, device_id: str) -> None: ...

    # saved streams: what a running attempt has said so far, kept where no shared log is

    @abstractmethod
    def save_parts(self, parts: Sequence[SavedPart]) -> None:
        """Insert parts; one of the same stream, channel and offset is replaced."""

    @abstractmethod
    def saved_parts(self, stream: StreamId) -> list[SavedPart]:
        """In order of channel and offset."""

    @abstractmethod
    def drop_parts(self, stream: StreamId) -> None: ...


class Store(ABC):
    """Runs units. `work` is synchronous, runs whole in one worker thread and one transaction, may be run again after a
    deadlock or a lost race for a lock, returns values, and touches nothing of Trio.

    A cancelled call still returns its result before Cancelled is seen: a caller that goes on with a plain `def` after
    the await has "commit, then …" whole under cancellation. Calls wait for a thread in order of arrival.

    Raises (both):
        StoreAway: the database does not answer, or not in time; for `write`, nothing is known of the commit.
        WegentError: what `work` raised itself; the transaction was rolled back.
    """

    __slots__ = ()

    @abstractmethod
    async def read(self, work: Callable[[Unit], T]) -> T:
        """One consistent view of the rows; `work` must not change any."""

    @abstractmethod
    async def write(self, work: Callable[[Unit], T]) -> T:
        """Commit what `work` changed, or nothing where it raises."""

    async def ready(self) -> None:  # noqa: B027 - memory is always there
        """Return if the database answers; raises `StoreAway`."""

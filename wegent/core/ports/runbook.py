"""The kernel's view of the store: who runs what, and how it ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from attrs import frozen

from wegent.core.model import Ending, Job, Snapshot, StreamId, Text, Value


@frozen
class Held:
    """A row that an owner holds, as its beat finds it. `cancelling`: somebody wants it to end."""

    subtask_id: int
    attempt: int
    lease: str
    cancelling: bool


@frozen
class Finished:
    """A committed ending: the row's and the task's state as of `revision`, for those who tell of it."""

    job: Job
    ending: Ending
    revision: int
    row: Any
    task: Any


@frozen
class Unsaved:
    """What a running stream has said since it was last saved."""

    stream: StreamId
    lease: str
    entries: Sequence[Text | Value]


@frozen
class RemoteRow:
    """A run that is on an executor host or a device, as the store has it.

    `owner` is empty and `ending` set once it has ended. `snapshot` is what was saved of it while it runs.
    """

    job: Job
    owner: str
    cancelling: bool
    snapshot: Snapshot
    ending: Ending | None = None


class RunBook(ABC):
    """Beats and endings of runs that were claimed; every change is a compare-and-set (protocol laws 3 and 5).

    All calls raise `StoreAway` while the store does not answer, and change nothing then.
    """

    __slots__ = ()

    @abstractmethod
    async def beat(self, owner: str, *, reported: Collection[int] = ()) -> list[Held]:
        """Say that the owner lives; everything that it holds. `reported`: rows that it tells of for the first time."""

    @abstractmethod
    async def save(self, unsaved: Sequence[Unsaved]) -> None:
        """Keep what running streams have said, all of it in one step. What is there already stays."""

    @abstractmethod
    async def finish(self, job: Job, ending: Ending, snapshot: Snapshot) -> Finished:
        """Commit the attempt's ending.

        Raises:
            LeaseLost, Terminal: somebody else has the attempt, or ended it; nothing was changed.
        """

    @abstractmethod
    async def give_up(self, job: Job, reason: str, snapshot: Snapshot) -> Finished | None:
        """End an attempt that its owner cannot go on with, by the row's `on_lost`: FAILED with `reason` as its type,
        or back in the queue with the next attempt (None).
        """

    @abstractmethod
    async def give_back(self, held: Sequence[Held]) -> list[Finished]:
        """Take rows from an owner who holds but doesn't run them, as if it were lost; one that never said anything
        goes back into the queue. Returns those that ended so; ones that are somebody else's by now are left alone.
        """

    @abstractmethod
    async def remote(self) -> list[RemoteRow]:
        """Every running attempt that an executor host or a device holds."""

    @abstractmethod
    async def remote_row(self, subtask_id: int) -> RemoteRow | None:
        """The row's present attempt, if a host or a device holds it, or if it has ended, whoever held it."""

"""What the kernel asks the application's rows, where messages of other workers are missing."""

from __future__ import annotations

from abc import ABC, abstractmethod

from attrs import frozen

from wegent.core.model import Snapshot, StreamId
from wegent.core.told import Told


@frozen
class Change:
    """A row as it is now, and what it implies: its attempt's `start`, and then `rest`, its ending or its message.

    `running`: its attempt is under way. `kept`: of one that has ended, all that it said.
    """

    row: int
    revision: int
    attempt: int = 0
    stream: StreamId | None = None
    running: bool = False
    start: Told | None = None
    rest: Told | None = None
    kept: Snapshot | None = None


@frozen
class Changes:
    """Rows of one task, as of its `revision`, in the order of their revisions."""

    revision: int
    rows: tuple[Change, ...] = ()


class Rows(ABC):
    """The application's view of its rows."""

    __slots__ = ()

    @abstractmethod
    def task_of(self, room: str) -> int | None:
        """The task whose viewers are in a room of that name, if it is one of a task."""

    @abstractmethod
    async def changes(self, task_id: int, after: int | None) -> Changes:
        """The rows that changed after a revision, and those whose attempts are running; without it the newest ones.

        Raises:
            StoreAway: the store does not answer.
        """

    @abstractmethod
    def resync(self, namespace: str, room: str) -> Told | None:
        """What tells a room's members that events of it may be lost; None where they need not know."""

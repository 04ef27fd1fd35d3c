"""What a room is told of, as it goes from worker to worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from wegent.core.model import EndingStatus, Snapshot, StreamId, Value

if TYPE_CHECKING:
    from wegent.core.replica import Replica
    from wegent.core.sessions import Session


@frozen
class Measure:
    """How much a stream holds: code points by channel, and the sum of its values' versions."""

    lengths: Mapping[str, int]
    versions: int = 0

    @classmethod
    def of(cls, snapshot: Snapshot) -> Measure:
        """That of a whole snapshot."""
        return cls({channel: len(text) for channel, text in snapshot.texts.items()}, _versions(snapshot.values))

    def reached(self, replica: Replica) -> bool:
        """Whether the replica holds at least as much."""
        whole = all(replica.length(channel) >= length for channel, length in self.lengths.items())
        return whole and _versions(replica.values.values()) >= self.versions


def _versions(values: Iterable[Value]) -> int:
    return sum(each.version for each in values)


@frozen
class Told:
    """One event for one room.

    `revision` is the task's, where the event tells of a change of its rows; `row` the row that is new with it; `stream`
    the one whose start or ending it tells of: `ends` says which, and `measure` then what the stream holds. Without an
    `event` nobody is told anything: the rows have changed to this revision.

    It comes behind whatever tells of the task of the room `behind` up to the revision `after`. `skip` gets nothing, and
    is known here alone.
    """

    namespace: str
    room: str
    event: str = ""
    payload: Any = None
    revision: int | None = None
    stream: StreamId | None = None
    row: int | None = None
    ends: EndingStatus | None = None
    measure: Measure | None = None
    behind: str | None = None
    after: int | None = None
    skip: Session | None = None

    @property
    def begins(self) -> bool:
        """Whether it tells of an attempt's start."""
        return self.stream is not None and self.ends is None

"""What a view found wrong with the frames it was given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import overload

from attrs import frozen


class ProblemKind(StrEnum):
    """Ways in which frames can break the laws of protocol §1."""

    GAP = "gap"
    """A delta starts past the offset that this connection was owed (law 2, 7)."""
    REPEAT = "repeat"
    """A delta starts before it, and says what is known already."""
    MISORDER = "misorder"
    """A delta comes after one that lies behind it (law 7)."""
    DISAGREE = "disagree"
    """Two frames say different things of the same place (law 1, 3)."""
    BEFORE_START = "before_start"
    """Text, or the completion, of an attempt that has not started (law 4, 7)."""
    AFTER_ENDING = "after_ending"
    """Text, or the start, of an attempt that has ended (law 3, 7)."""
    EARLY_ENDING = "early_ending"
    """An ending before all of its text (law 4)."""
    SECOND_ENDING = "second_ending"
    """Another ending of an attempt that has one (law 3)."""
    EARLY_STATUS = "early_status"
    """`task:status` says that the task is over before its run's ending came (law 4)."""
    OLD_ATTEMPT = "old_attempt"
    """An event of an attempt that is over, after a later one began (law 5, 7)."""
    STALE_VALUE = "stale_value"
    """An older version of a value after a newer one (law 7)."""
    NOT_JOINED = "not_joined"
    """An event of the task's room on a connection that is no member of it (law 2)."""
    REVISION_BACK = "revision_back"
    """An ack with a smaller revision than the one before."""
    MALFORMED = "malformed"
    """A payload without what protocol §3 or §4 says it has."""


@frozen
class Problem:
    """One breach. `subtask_id` None: of the task itself; `attempt` 0: of none."""

    kind: ProblemKind
    subtask_id: int | None
    attempt: int
    detail: str


class Problems(Sequence[Problem]):
    """The first `limit` problems in the order found; `total` counts all of them."""

    __slots__ = ("_found", "_limit", "total")

    def __init__(self, limit: int = 1000) -> None:
        self._found: list[Problem] = []
        self._limit = limit
        self.total = 0

    def add(self, kind: ProblemKind, subtask_id: int | None, attempt: int, detail: str) -> None:
        """Record one."""
        self.total += 1
        if len(self._found) < self._limit:
            self._found.append(Problem(kind, subtask_id, attempt, detail))

    def kinds(self) -> set[ProblemKind]:
        """The kinds that were found."""
        return {problem.kind for problem in self._found}

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Problem]: ...
    def __getitem__(self, index: int | slice) -> Problem | Sequence[Problem]:
        return self._found[index]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def __repr__(self) -> str:
        return f"<{self.total} problems: {self._found[:5]!r}>"

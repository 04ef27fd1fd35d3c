"""Rows in dictionaries, with the indexes that units look things up by, and a journal to undo a unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from wegent.core.model import StreamId
from wegent.server.records import (
    Attachment,
    Device,
    Execution,
    Kind,
    KnowledgeBase,
    KnowledgeDocument,
    Member,
    OwnerBeat,
    SavedPart,
    Subtask,
    Task,
    Token,
    User,
)

K = TypeVar("K")
V = TypeVar("V")
Parts = Mapping[tuple[str, int], SavedPart]

_MISSING: Final = object()


class Tables:
    """All rows. Changed through `put` and `drop` only; no value is changed in place, indexes included."""

    def __init__(self) -> None:
        self.users: dict[int, User] = {}
        self.user_names: dict[str, int] = {}
        self.tokens: dict[str, Token] = {}
        self.kinds: dict[int, Kind] = {}
        self.kind_names: dict[tuple[int | None, str, str, str], int] = {}
        self.tasks: dict[int, Task] = {}
        self.tasks_of_owner: dict[int, tuple[int, ...]] = {}
        self.members: dict[tuple[int, int], Member] = {}
        self.members_of_task: dict[int, tuple[int, ...]] = {}
        self.tasks_of_member: dict[int, tuple[int, ...]] = {}
        self.subtasks: dict[int, Subtask] = {}
        self.subtasks_of_task: dict[int, tuple[int, ...]] = {}
        self.unfinished: dict[int, None] = {}
        self.sent: dict[tuple[int, str], int] = {}
        self.parts: dict[StreamId, Parts] = {}
        self.queues: dict[str, int] = {}
        self.turns: dict[tuple[str, int], int] = {}
        self.devices: dict[tuple[int, str], Device] = {}
        self.attachments: dict[int, Attachment] = {}
        self.carriers: dict[int, tuple[int, ...]] = {}
        self.bases: dict[int, KnowledgeBase] = {}
        self.documents: dict[int, KnowledgeDocument] = {}
        self.executions: dict[int, Execution] = {}
        self.beats: dict[str, OwnerBeat] = {}
        self._journal: list[tuple[dict[Any, Any], Any, Any]] = []
        self._ids: dict[str, int] = {}

    def next_id(self, table: str) -> int:
        """Ids are not given twice, not even after an undo."""
        self._ids[table] = self._ids.get(table, 0) + 1
        return self._ids[table]

    def put(self, table: dict[K, V], key: K, value: V) -> V:
        """Set a row or an index entry."""
        self._journal.append((table, key, table.get(key, _MISSING)))
        table[key] = value
        return value

    def drop(self, table: dict[K, V], key: K) -> None:
        """Remove it, if it is there."""
        if key in table:
            self._journal.append((table, key, table.pop(key)))

    def add(self, index: dict[K, tuple[int, ...]], key: K, id_: int) -> None:
        """Append an id to an index entry."""
        self.put(index, key, (*index.get(key, ()), id_))

    def keep(self) -> None:
        """The unit is committed."""
        self._journal.clear()

    def undo(self) -> None:
        """The unit has never been."""
        for table, key, old in reversed(self._journal):
            if old is _MISSING:
                table.pop(key, None)
            else:
                table[key] = old
        self._journal.clear()

    def rows_of_task(self, task_id: int) -> Iterator[Subtask]:
        """All subtasks of a task, in order of their ids."""
        return (self.subtasks[each] for each in self.subtasks_of_task.get(task_id, ()))

    def unfinished_rows(self) -> Iterator[Subtask]:
        """PENDING, RUNNING and CANCELLING subtasks of any role, in order of their ids."""
        return (self.subtasks[each] for each in sorted(self.unfinished))

"""Rows of background work, as units of the store give and take them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

from wegent.server.records import Execution


class ExecutionRows(ABC):
    """What a unit can do with executions; part of `Unit`, whose rules hold."""

    __slots__ = ()

    @abstractmethod
    def execution(self, execution_id: int) -> Execution | None: ...

    @abstractmethod
    def executions(self, user_id: int, *, before_id: int | None = None, limit: int = 50) -> list[Execution]:
        """The user's, newest first; `before_id` is exclusive."""

    @abstractmethod
    def count_scheduled(self, user_id: int) -> int:
        """How many of the user's executions have a time ahead of them."""

    @abstractmethod
    def due_executions(self, now: datetime, *, limit: int) -> list[Execution]:
        """Those whose `next_at` has come, the earliest first."""

    @abstractmethod
    def next_execution_at(self) -> datetime | None:
        """The earliest `next_at` of all."""

    @abstractmethod
    def add_execution(
        self, *, user_id: int, team_id: int, prompt: str, next_at: datetime | None, **fields: Any
    ) -> Execution:
        """Raises `NotFound` where there is no such user."""

    @abstractmethod
    def take_execution(self, execution_id: int, seen: datetime, **changes: Any) -> Execution | None:
        """Change the row, if its `next_at` is still as it was seen; None if it is not.

        Until the unit ends, whoever else would take the same row waits.
        """

    @abstractmethod
    def update_execution(self, execution_id: int, **changes: Any) -> Execution:
        """Without `changes` it only holds the row: until the unit ends, whoever else would change it waits."""

    @abstractmethod
    def delete_execution(self, execution_id: int) -> None: ...

"""A client of several workers: one may be behind what another has told it already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wegent.client.problems import Problem, ProblemKind
from wegent.testing.memory_client import Frame
from wegent.testing.viewer import Viewer

ENDINGS = ("chat:done", "chat:error", "chat:cancelled")
TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")


class _Knowledge:
    """What one connection has been told."""

    def __init__(self) -> None:
        self.ended: set[tuple[int, int]] = set()
        self.attempts: dict[int, int] = {}
        self.versions: dict[tuple[int, int, str], int] = {}

    def note(self, frame: Frame) -> None:
        """Take in a frame."""
        if frame.name.startswith("chat:") and "subtask_id" in frame.data:
            self._event(frame.name, frame.data)
        elif frame.answers == "task:join" and "code" not in frame.data:
            for row in frame.data["subtasks"]:
                if "attempt" in row:
                    self._attempt(row["id"], row["attempt"], ended=row["status"] in TERMINAL)
                    self._blocks(row["id"], row["attempt"], (row.get("result") or {}).get("blocks"))
            if (streaming := frame.data["streaming"]) is not None:
                self._attempt(streaming["subtask_id"], streaming["attempt"])
                self._blocks(streaming["subtask_id"], streaming["attempt"], streaming["values"].get("blocks"))
        elif frame.answers == "chat:resume" and "code" not in frame.data:
            self._attempt(frame.asked["subtask_id"], frame.data["attempt"])

    def _event(self, name: str, data: Mapping[str, Any]) -> None:
        if "attempt" in data:
            self._attempt(data["subtask_id"], data["attempt"], ended=name in ENDINGS)
            self._blocks(data["subtask_id"], data["attempt"], (data.get("result") or {}).get("blocks"))

    def _attempt(self, row: int, attempt: int, *, ended: bool = False) -> None:
        self.attempts[row] = max(attempt, self.attempts.get(row, 0))
        if ended:
            self.ended.add((row, attempt))

    def _blocks(self, row: int, attempt: int, blocks: Iterable[Mapping[str, Any]] | None) -> None:
        for block in blocks or ():
            key = (row, attempt, f"block:{block['id']}")
            self.versions[key] = max(block["version"], self.versions.get(key, 0))

    def explains(self, problem: Problem) -> bool:
        """Whether this connection by itself shows the problem."""
        row = problem.subtask_id or 0
        if problem.kind is ProblemKind.AFTER_ENDING:
            return (row, problem.attempt) in self.ended
        if problem.kind is ProblemKind.OLD_ATTEMPT:
            return self.attempts.get(row, 0) >= problem.attempt
        if problem.kind is ProblemKind.STALE_VALUE:
            return any(key[:2] == (row, problem.attempt) and problem.detail.startswith(key[2]) for key in self.versions)
        return True


class FleetViewer(Viewer):
    """Keeps the rules of protocol §5; order is owed to a connection, not to a client that has changed the worker."""

    def _frame(self, frame: Frame) -> None:
        if frame.connection != getattr(self, "_connection", None):
            self._connection = frame.connection
            self._knowledge = _Knowledge()
        before = len(self.problems)
        super()._frame(frame)
        late = frame.answers == "chat:retry"  # an ack may come behind what other workers tell of the next attempt
        self.problems[before:] = [
            each
            for each in self.problems[before:]
            if self._knowledge.explains(each) and not (late and each.kind is ProblemKind.OLD_ATTEMPT)
        ]
        self._knowledge.note(frame)

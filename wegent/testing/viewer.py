"""A client that keeps the rules of protocol §5 and §6, and judges every frame that it gets."""

from __future__ import annotations

from typing import Any

from wegent.client.merge import TaskView
from wegent.client.problems import Problem, ProblemKind
from wegent.testing.memory_client import Frame, MemoryClient

_OF_THE_UNSYNCED = (ProblemKind.EARLY_STATUS, ProblemKind.BEFORE_START)


class Viewer:
    """What one client holds of one task, from the frames that it got in order.

    `recover` sends the resumes that the rules call for. `problems` are breaches of the laws that the frames themselves
    show. `synced`: this connection has joined by `task:join`, so it should hold all that the task holds.
    """

    def __init__(self, client: MemoryClient, task_id: int) -> None:
        self.client = client
        self.task_id = task_id
        self.view = TaskView(task_id)
        self.problems: list[Problem] = []
        self.synced = False
        client.on_frame = self._frame
        client.on_lost = self._lost
        for frame in client.frames:  # what came before anybody judged
            self._frame(frame)

    def _lost(self) -> None:
        self.synced = False
        self.view.disconnected()

    def _frame(self, frame: Frame) -> None:
        before = len(self.view.problems)
        if frame.name:
            self.view.event(frame.name, frame.data)
        elif frame.asked is not None:
            self._ack(frame.answers, frame.asked, frame.data)
        for problem in self.view.problems[before:]:
            # Who came into the room by a send or a resume alone has not been told how its other rows stand.
            if self.synced or problem.kind not in _OF_THE_UNSYNCED:
                self.problems.append(problem)

    def _ack(self, event: str, asked: Any, ack: Any) -> None:
        failed = "code" in ack
        if event == "chat:resume":
            if failed:
                self.view.refused(asked["subtask_id"])
            else:
                self.view.resumed(asked["subtask_id"], ack)
        elif failed:
            return
        elif event == "chat:retry":
            self.view.retried(asked["subtask_id"], ack)
        elif event == "task:join":
            whole = "after_revision" not in asked and "after_message_id" not in asked
            self.view.joined(ack, whole=whole)
            self.synced = True
        elif event == "chat:send" and ack["task_id"] == self.task_id:
            self.view.sent(asked, ack)
        elif event == "task:leave":
            self._lost()

    async def join(self, *, afresh: bool = False) -> Any:
        """`task:join`, with the cursor if there is one."""
        asked: dict[str, Any] = {"task_id": self.task_id, "limit": 500}
        if self.view.revision is not None and not afresh:
            asked["after_revision"] = self.view.revision
        return await self.client.emit("task:join", asked)

    async def resume(self, subtask_id: int, offset: int, *, attempt: int | None = None) -> Any:
        """`chat:resume` from an offset."""
        asked = {"task_id": self.task_id, "subtask_id": subtask_id, "offset": offset}
        return await self.client.emit("chat:resume", asked if attempt is None else {**asked, "attempt": attempt})

    async def recover(self) -> int:
        """Send the resumes that are due; how many there were."""
        due = self.view.requests()
        for wanted in due:
            await self.resume(wanted.subtask_id, wanted.offset, attempt=wanted.attempt)
        return len(due)

    def holds(self) -> list[dict[str, Any]]:
        """What the client holds, as plain comparable values."""
        return self.view.holds()

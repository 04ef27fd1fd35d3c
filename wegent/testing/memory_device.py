"""A device without a socket, for tests on a virtual clock; it does what it is told by its test."""

from __future__ import annotations

from typing import Any

from wegent.testing.harness import Application
from wegent.testing.memory_client import MemoryClient


class MemoryDevice:
    """One device of one user. `jobs` are those it was given, oldest first, by any of its connections.

    It accepts jobs (with `refusal`, it refuses them and says so) and acknowledges everything, unless `mute`.
    """

    def __init__(self, app: Application, name: str = "alice", device_id: str = "box", **register: Any) -> None:
        self.device_id = device_id
        self.asked = {"device_id": device_id, "name": device_id.title(), **register}
        self.client: MemoryClient = app.new_device(name)
        self.refusal: str | None = None
        self.client.answers = {
            "task:execute": lambda _: {"accepted": self.refusal is None, "reason": self.refusal},
            "task:cancel": lambda _: {"success": True},
            "task:skill": lambda _: {"success": True},
            "task:close-session": lambda _: {"success": True},
        }

    @property
    def jobs(self) -> list[Any]:
        """Every `task:execute`."""
        return self.client.events("task:execute")

    def mute(self, *events: str) -> None:
        """Acknowledge these events no more; all, where none is named."""
        for event in events or tuple(self.client.answers):
            self.client.answers.pop(event, None)

    async def connect(self) -> Any:
        """Connect and register; the ack."""
        await self.client.connect()
        return await self.register()

    async def register(self, **changes: Any) -> Any:
        """`device:register`; the ack."""
        return await self.client.emit("device:register", {**self.asked, **changes})

    async def heartbeat(self, *task_ids: int) -> Any:
        """`device:heartbeat`; the ack."""
        payload = {"device_id": self.device_id, "running_task_ids": list(task_ids)}
        return await self.client.emit("device:heartbeat", payload)

    async def job(self, number: int = 1) -> Any:
        """The number-th job, once it is there."""
        seen = 0
        while len(self.jobs) < number:
            await self.client.wait_for("task:execute", after=seen)
            seen = len(self.client.frames)
        return self.jobs[number - 1]

    async def progress(self, subtask_id: int, **report: Any) -> Any:
        """`task:progress`; the ack."""
        return await self.client.emit("task:progress", {"subtask_id": subtask_id, **report})

    async def complete(self, subtask_id: int, status: str = "COMPLETED", **report: Any) -> Any:
        """`task:complete`; the ack."""
        return await self.client.emit("task:complete", {"subtask_id": subtask_id, "status": status, **report})

"""One application, the clients that live on it, and what they do."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
from attrs import define, field

from wegent.core.errors import WegentError
from wegent.protocol.status import IfRunning
from wegent.server.records import Subtask
from wegent.testing.chaos import Plan
from wegent.testing.harness import Application
from wegent.testing.memory_client import ConnectionLost, MemoryClient
from wegent.testing.scripted import ScriptedExecutor, Written
from wegent.testing.viewer import Viewer


@define
class Story:
    """What came of it. `complaints` is empty if every law held."""

    seed: int
    plan: Plan
    complaints: list[str] = field(factory=list)
    runs: int = 0
    frames: int = 0
    log: list[str] = field(factory=list)

    def complain(self, sentence: str) -> None:
        """Note a breach."""
        self.complaints.append(sentence)

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}, {self.plan}", *self.complaints[:20], *self.log[-60:]])


class World:
    """One application, its actors, and what they did."""

    def __init__(self, app: Application, rng: random.Random, plan: Plan, story: Story) -> None:
        self.app = app
        self.rng = rng
        self.plan = plan
        self.story = story
        self.task_id = 0
        self.sent = 0

    @property
    def executor(self) -> ScriptedExecutor:
        """The engine, with its record."""
        assert isinstance(self.app.executor, ScriptedExecutor)
        return self.app.executor

    def written(self, row: Subtask) -> Written:
        """What the engine wrote in the row's present attempt."""
        return self.executor.written.get(self.app.stream_of(row.id), Written())

    def answers(self) -> list[Subtask]:
        """The task's ASSISTANT rows."""
        return [row for row in self.app.rows(self.task_id) if row.role == "ASSISTANT"]

    def place(self, client: MemoryClient) -> None:
        """A client is about to connect: where there are several workers, to any of them."""

    def note(self, actor: Actor, what: str) -> None:
        """Keep a line of what happened, to be shown with a complaint."""
        self.story.log.append(f"{trio.current_time():8.3f} {actor.name} {what}")

    async def send(self, actor: Actor) -> None:
        """Somebody says something."""
        self.sent += 1
        mention = "@Assistant " if self.plan.group and self.rng.random() < 0.8 else ""
        asked: dict[str, Any] = {
            "task_id": self.task_id,
            "team_id": self.app.team_id,
            "message": f"{mention}message {self.sent}",
            "client_message_id": f"m{self.sent}",
            "if_running": self.rng.choice(["reject", "queue", "interrupt"]),
        }
        while "code" in (ack := await actor.client.emit("chat:send", asked)):
            if ack["code"] != "OVERLOADED":
                return
            await trio.sleep(0.1)

    async def begin(self) -> None:
        """Make the task."""
        first = await self.app.client(self.plan.actors[0])
        asked = {"team_id": self.app.team_id, "message": "@Assistant begin", "is_group_chat": self.plan.group}
        self.task_id = (await first.emit("chat:send", asked))["task_id"]
        if self.plan.group:
            await self.app.store.write(
                lambda unit: [unit.put_member(self.task_id, self.app.users[name]) for name in self.plan.actors[1:]]
            )
        first.disconnect()


class Actor:
    """One client's random life."""

    def __init__(self, world: World, name: str, viewer: Viewer) -> None:
        self.world = world
        self.name = name
        self.viewer = viewer
        self.rng = world.rng
        self.judged = 0

    @property
    def client(self) -> MemoryClient:
        """The client."""
        return self.viewer.client

    async def live(self) -> None:
        """Do random things, some of which may fail for lack of a connection."""
        actions: Sequence[tuple[float, Callable[[], Awaitable[Any]]]] = (
            (3, self.send),
            (2, self.cancel),
            (2, self.retry),
            (4, self.join),
            (1, self.leave),
            (3, self.reconnect),
            (2, self.resume),
            (2, self.change_speed),
            (4, self.pause),
        )
        weights = [weight for weight, _ in actions]
        for _ in range(self.world.plan.actions):
            act = self.rng.choices([act for _, act in actions], weights)[0]
            self.world.note(self, act.__name__)
            try:
                await act()
                await self.viewer.recover()
            except (ConnectionLost, WegentError):  # the worker is gone, or refuses the connection
                pass

    async def send(self) -> None:
        """`chat:send`."""
        await self.world.send(self)

    async def cancel(self) -> None:
        """`chat:cancel` of the newest answer."""
        if (row := self.newest()) is not None:
            await self.client.emit("chat:cancel", {"subtask_id": row})

    async def retry(self) -> None:
        """`chat:retry` of an answer that ended badly, if there is one; else of any."""
        rows = self.world.answers()
        ended = [row for row in rows if row.status in ("FAILED", "CANCELLED")]
        if rows:
            row = self.rng.choice(ended or rows)
            asked = {"task_id": row.task_id, "subtask_id": row.id, "if_running": self.rng.choice(list(IfRunning)).value}
            await self.client.emit("chat:retry", asked)

    async def join(self) -> None:
        """`task:join`, mostly with a cursor."""
        await self.viewer.join(afresh=self.rng.random() < 0.3)

    async def leave(self) -> None:
        """`task:leave`."""
        await self.client.emit("task:leave", {"task_id": self.viewer.task_id})

    async def reconnect(self) -> None:
        """Lose the connection, stay away for a while, come back."""
        self.client.disconnect()
        await trio.sleep(self.rng.choice([0.0, 0.01, 1.0, 5.0]))
        self.world.place(self.client)
        await self.client.connect()
        if self.rng.random() < 0.8:
            await self.viewer.join()

    async def resume(self) -> None:
        """`chat:resume` of the newest answer at a random offset of the text that is held."""
        if (key := self.newest()) is not None:
            message = self.viewer.view.messages.get(key)
            held = len(message.content) if message is not None else 0
            await self.viewer.resume(key, self.rng.randrange(held + 3))

    async def change_speed(self) -> None:
        """Read slowly, not at all, or quickly again."""
        connection = self.client.connection
        if connection is not None:
            connection.drain.speed = self.rng.choice([200.0, 5_000.0, float("inf")])
            if self.rng.random() < 0.5:
                connection.drain.pause()
                await trio.sleep(self.rng.choice([0.1, 1.0, 4.0]))
                connection.drain.resume()

    async def pause(self) -> None:
        """Do nothing."""
        await trio.sleep(self.rng.choice([0.0, 0.001, 0.02, 0.3, 1.5]))

    def newest(self) -> int | None:
        """The newest answer's id."""
        rows = self.world.answers()
        return rows[-1].id if rows else None

    async def settle(self) -> None:
        """Be connected and read everything."""
        connection = self.client.connection
        if connection is not None:
            connection.drain.speed = float("inf")
            connection.drain.resume()
            await connection.drain.drained()

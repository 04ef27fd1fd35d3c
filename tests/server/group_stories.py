"""Random lives of a group chat: people on several tabs with bad connections, who talk, ask, edit, come and go.

    story = tell(seed=4711)
    assert not story.complaints, story

Beside what they view, each person has one tab whose connection holds: what that hears of the task's status, title,
members and unread messages must end as the rows say.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from wegent.core.errors import WegentError
from wegent.core.model import Principal
from wegent.protocol.chat import ChatRetry, ChatSend
from wegent.protocol.groups import EditMessage, Invite
from wegent.protocol.shape import to_wire
from wegent.protocol.status import IfRunning
from wegent.server import payloads
from wegent.server.members import people_of
from wegent.server.unread import unread_of_all
from wegent.testing.chaos import Plan
from wegent.testing.harness import Application, serving
from wegent.testing.judging import compare_clients, compare_rows, judge_frames
from wegent.testing.memory_client import ConnectionLost, Frame, MemoryClient
from wegent.testing.simulator import SimulatedApplication, seed_trio
from wegent.testing.viewer import Viewer
from wegent.testing.world import Actor, Story, World

PEOPLE = ("alice", "bob", "carol")
TABS = 2
TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
PLAN = Plan(clients=len(PEOPLE) * TABS, actions=16, actors=PEOPLE, group=True, slow_store=0.4, pause=0.1)


class Tab(Viewer):
    """A viewer that joins again when it is told that it must, and knows when it was put out."""

    stale = False

    def _frame(self, frame: Frame) -> None:
        super()._frame(frame)
        told = frame.data if isinstance(frame.data, dict) else {}
        if frame.name == "sync:required" and told["scope"] == f"task:{self.task_id}":
            self.stale = self.synced
        elif frame.name == "task:updated" and told.get("deleted"):
            self._lost()

    async def join(self, *, afresh: bool = False) -> Any:
        self.stale = False
        return await super().join(afresh=afresh)

    async def recover(self) -> int:
        joined = 0
        while self.stale:
            await self.join()
            joined = 1
        return joined + await super().recover()


class Person(Actor):
    """Somebody on one tab, who also uses REST."""

    @property
    def app(self) -> Application:
        return self.world.app

    @property
    def user(self) -> str:
        return self.name.partition("-")[0]

    def who(self, name: str | None = None) -> Principal:
        return Principal(self.app.users[name or self.user], name or self.user)

    async def live(self) -> None:
        actions: list[tuple[float, Callable[[], Awaitable[Any]]]] = [
            (4, self.send),
            (2, self.send_by_rest),
            (1, self.cancel),
            (1, self.cancel_by_rest),
            (1, self.retry),
            (1, self.retry_by_rest),
            (2, self.edit),
            (1, self.rename),
            (2, self.read),
            (1, self.come_or_go),
            (4, self.join),
            (3, self.reconnect),
            (1, self.change_speed),
            (4, self.pause),
        ]
        for _ in range(self.world.plan.actions):
            (act,) = self.rng.choices([act for _, act in actions], [weight for weight, _ in actions])
            self.world.note(self, act.__name__)
            try:
                await act()
                await self.viewer.recover()
            except ConnectionLost:
                pass
            except WegentError as error:
                self.world.note(self, f"refused: {error.sentence}")

    async def send_by_rest(self) -> None:
        self.world.sent += 1
        mention = "@Assistant " if self.rng.random() < 0.5 else ""
        asked = ChatSend(
            task_id=self.world.task_id,
            team_id=self.app.team_id,
            message=f"{mention}message {self.world.sent}",
            if_running=self.rng.choice(list(IfRunning)),
        )
        await self.app.sending.send(self.who(), asked, ack=lambda _: None)

    async def cancel_by_rest(self) -> None:
        if (row := self.newest()) is not None:
            await self.app.cancelling.cancel(self.who(), row, ack=lambda _: None)

    async def retry_by_rest(self) -> None:
        if (row := self.newest()) is not None:
            asked = ChatRetry(task_id=self.world.task_id, subtask_id=row, if_running=self.rng.choice(list(IfRunning)))
            await self.app.retrying.retry(self.who(), asked, ack=lambda _: None)

    async def edit(self) -> None:
        mine = self.app.users[self.user]
        rows = [row for row in self.app.rows(self.world.task_id) if row.role == "USER" and row.sender_id == mine]
        if rows:
            self.world.sent += 1
            edit = EditMessage(message=f"@Assistant edited {self.world.sent}")
            row = self.rng.choice(rows[-2:])
            await self.app.editing.edit(self.who(), row.task_id, row.id, edit, ack=lambda _: None)

    async def rename(self) -> None:
        self.world.sent += 1
        await self.app.changing.rename(self.who("alice"), self.world.task_id, f"title {self.world.sent}")

    async def read(self) -> None:
        most = self.app.task(self.world.task_id).last_message_id
        await self.app.changing.read(self.who(), self.world.task_id, self.rng.randrange(most + 1))

    async def come_or_go(self) -> None:
        """Carol leaves, is removed or is added."""
        task_id, carol = self.world.task_id, self.app.users["carol"]
        if self.app.peek(lambda unit: unit.member(task_id, carol)).removed_at is not None:
            await self.app.members.add(self.who("alice"), task_id, Invite(user_name="carol"))
        else:
            await self.app.members.remove(self.who(self.rng.choice(["alice", "carol"])), task_id, carol)


async def _lives(app: Application, story: Story, rng: random.Random, plan: Plan) -> None:
    world = World(app, rng, plan, story)
    await world.begin()
    steady = {name: await app.client(name) for name in PEOPLE}
    people = []
    for index in range(plan.clients):
        name = PEOPLE[index % len(PEOPLE)]
        tab = Tab(await app.client(name), world.task_id)
        await tab.join()
        people.append(Person(world, f"{name}-{index}", tab))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cut, nursery, people, rng)
        for person in people:
            nursery.start_soon(person.live)
    await _rest(app, world.task_id, story)
    for person in people:
        await _settle(person)
    judge_frames(world, people, "as it came")
    compare_rows(world)
    _compare(world, [person for person in people if person.viewer.synced], "as it came")
    compare_lists(app, world.task_id, steady, story)
    if app.peek(lambda unit: unit.member(world.task_id, app.users["carol"])).removed_at is not None:
        await app.members.add(Principal(app.users["alice"], "alice"), world.task_id, Invite(user_name="carol"))
    for person in people:
        if not person.client.connected:
            await person.client.connect()
        await person.viewer.join()
        await _settle(person)
    judge_frames(world, people, "after a last join")
    _compare(world, people, "after a last join")
    compare_lists(app, world.task_id, steady, story)
    story.runs = len(world.executor.written)


async def _cut(nursery: trio.Nursery, people: list[Person], rng: random.Random) -> None:
    """Connections are lost at any moment, while anybody is at it."""
    for _ in range(2 * len(people)):
        await trio.sleep(rng.random() * 2)
        if len(nursery.child_tasks) == 1:
            return
        rng.choice(people).client.disconnect()


async def _rest(app: Application, task_id: int, story: Story) -> None:
    with trio.move_on_after(300) as scope:
        while any(row.status not in TERMINAL for row in app.rows(task_id)) or len(app.runs):  # noqa: ASYNC110
            await trio.sleep(0.25)
    await trio.sleep(10)
    if scope.cancelled_caught:
        story.complain("after 300 s there are runs without an ending")


async def _settle(person: Person) -> None:
    await person.settle()
    while person.client.connected and await person.viewer.recover():
        await person.settle()


def _compare(world: World, people: list[Person], when: str) -> None:
    """All hold the same rows, in the order of their message ids, and those that there are."""
    compare_clients(world, people, when)
    there = [row.id for row in world.app.rows(world.task_id)]
    for person in people:
        held = [each["id"] for each in person.viewer.holds()]
        if held != there:
            world.story.complain(f"{when}: {person.name} holds rows {held}, there are {there}")
        numbers = [each["message_id"] for each in person.viewer.holds()]
        if None in numbers or numbers != sorted(set(numbers)):
            world.story.complain(f"{when}: {person.name} holds messages in the order {numbers}")
    views = [person.viewer.holds() for person in people]
    if any(view != views[0] for view in views):
        world.story.complain(f"{when}: not all hold the same")


def compare_lists(app: Application, task_id: int, steady: dict[str, MemoryClient], story: Story) -> None:
    """Who has a place in the task has heard last what is so; who has none has heard last that it is gone."""
    task = app.task(task_id)
    people = app.peek(lambda unit: people_of(unit, task))
    unread = {each.user_id: each.count for each in app.peek(lambda unit: unread_of_all(unit, task))}
    status = to_wire(payloads.task_status(task))
    for name, client in steady.items():
        expected: dict[str, Any] = {"deleted": True}
        if app.users[name] in unread:
            expected = {each: status[each] for each in ("status", "progress", "revision")} | {"title": task.title}
            expected |= {"unread": unread[app.users[name]], "members": [each.user_id for each in people]}
        heard = _heard(client, task_id)
        if {key: value for key, value in expected.items() if key in heard} != heard:
            story.complain(f"{name} heard last {heard}, so is {expected}")


def _heard(client: MemoryClient, task_id: int) -> dict[str, Any]:
    """What a list of tasks shows of the task, from the events in the order in which they came."""
    item: dict[str, Any] = {}
    for frame in client.frames:
        if frame.name == "sync:required" and frame.data["scope"].startswith("user:"):
            item = {}  # it reads its list again
        if not frame.name.startswith("task:") or frame.data["task_id"] != task_id:
            continue
        told = frame.data
        if told.get("deleted") or frame.name == "task:created":
            item = {}
        if "members" in told:
            item["members"] = [each["user_id"] for each in told["members"]]
        names = ("title", "status", "progress", "revision", "unread", "deleted")
        item |= {each: told[each] for each in names if each in told}
        if frame.name != "task:updated":
            item.pop("deleted", None)
    return item


def tell(seed: int, *, application: type[SimulatedApplication] = SimulatedApplication, plan: Plan = PLAN) -> Story:
    """One story; everything follows from the seed."""
    rng = random.Random(seed)
    story = Story(seed, plan)

    async def main() -> None:
        with trio.fail_after(3600):
            async with serving(application(rng, plan)) as app:
                await _lives(app, story, rng, plan)

    seed_trio(seed)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return story

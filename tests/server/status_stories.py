"""Random lives of three tasks of three people: one is done here, one on a device, one by executor hosts.

    story = tell(seed=4711)
    assert not story.complaints, story

People say things, cancel, retry, come and go, over the socket and over REST; hosts die, the device loses its
connection, the store is slow. In the end a task stands as its rows imply, and whoever has a place in it has heard that
last.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import trio
import trio.testing
from attrs import define, field, frozen

from tests.server.faithful_device import FaithfulDevice
from tests.server.group_stories import compare_lists
from wegent.codec import convert
from wegent.core.errors import WegentError
from wegent.core.model import Principal
from wegent.protocol.chat import ChatRetry, ChatSend
from wegent.protocol.groups import Invite
from wegent.protocol.hosts import FetchTasks, ReportStatus
from wegent.protocol.jobs import Job
from wegent.protocol.shape import to_wire
from wegent.protocol.status import IfRunning, OnLost
from wegent.server.auth import TokenAuth
from wegent.server.hosts import Hosts
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask
from wegent.server.tokens import Signer
from wegent.testing.chaos import Plan, RandomStore
from wegent.testing.harness import serving
from wegent.testing.memory_client import ConnectionLost, MemoryClient
from wegent.testing.simulator import SimulatedApplication, seed_trio
from wegent.testing.world import Story

PEOPLE = ("alice", "bob", "carol")
FARM = "farm"
UNFINISHED = ("PENDING", "RUNNING", "CANCELLING")
ACTIONS = 6
DEVICE_S = 20.0
"""Seconds that the device comes and goes for."""


def random_plan(rng: random.Random) -> Plan:
    """How slow the store is."""
    return Plan(slow_store=rng.choice([0.1, 0.4, 0.8]), pause=rng.choice([0.01, 0.2]), actors=PEOPLE)


class AnyTurn(RandomStore):
    """Writes hear of their commits in any order, as those of several connections do."""

    async def _in_turn(self) -> None:
        await self._pause()


class Everywhere(SimulatedApplication):
    """Runs are done here, on devices and by executor hosts; `farmers` is the team whose shell names the latter."""

    def __init__(self, rng: random.Random, plan: Plan) -> None:
        super().__init__(rng, plan)
        self.tokens = TokenAuth(self.store, Signer(b"s" * 64), self.clock)
        self.hosts = Hosts(self.queue, self.remote, self.tokens.run_token, self.registry)
        self.farmers = 0
        self.host_token = ""

    def make_store(self) -> Store:
        return AnyTurn(self.clock, self.rng, self.plan)

    def _prepare(self, unit: Unit) -> None:
        super()._prepare(unit)
        for kind, spec in {
            "Shell": {"shellType": "Agent", "executor": FARM},
            "Bot": {"ghostRef": {"name": "assistant"}, "shellRef": {"name": FARM}},
            "Team": {"members": [{"botRef": {"name": FARM}}], "public": True},
        }.items():
            made = unit.put_kind(kind, "default", FARM, user_id=None, body={"metadata": {"name": FARM}, "spec": spec})
        self.farmers = made.id

    def who(self, name: str) -> Principal:
        return Principal(self.users[name], name)


@define
class Lives(Story):
    """`statuses` are those of all answers in the end."""

    statuses: list[str] = field(factory=list)


# those who work


@frozen
class Host:
    """An executor host, which is killed now and then, and starts again under its name."""

    app: Everywhere
    rng: random.Random
    name: str

    async def live(self) -> None:
        while True:
            with trio.move_on_after(self.rng.choice([1.0, 5.0, 20.0, 200.0])):
                await self._serve()
            await trio.sleep(self.rng.choice([0.0, 1.0, 20.0]))

    async def _serve(self) -> None:
        caller = partial(self.app.tokens.authenticate, self.app.host_token, ["executor"])
        asked = FetchTasks(executor=self.name, targets=(FARM,), limit=2, wait_s=10)
        while True:
            async with trio.open_nursery() as nursery:
                for job in await self.app.hosts.fetch(caller, asked):
                    nursery.start_soon(self._work, job)

    async def _work(self, job: Job) -> None:
        cancel = False
        for percent in range(0, 100, self.rng.choice([20, 50])):
            await trio.sleep(self.rng.choice([0.0, 0.1, 2.0]))
            said = {"events": [{"type": "chunk", "content": "x"}], "progress": percent, "status": "RUNNING"}
            if (cancel := await self._report(job, said)) is None or cancel:
                break
        if cancel is not None:
            status = "CANCELLED" if cancel else self.rng.choice(["COMPLETED", "COMPLETED", "FAILED"])
            for _ in range(self.rng.choice([1, 2])):  # it may not have heard the answer
                await self._report(job, {"status": status, "error_message": "it broke", "result": {"value": None}})

    async def _report(self, job: Job, said: dict[str, Any]) -> bool | None:
        """Whether the run is to stop; None: it is not this host's any more."""
        who = await self.app.tokens.authenticate(self.app.host_token, ["executor"])
        body = {"subtask_id": job.subtask_id, "attempt": job.attempt, "lease": job.lease, **said}
        try:
            return (await self.app.hosts.report(who, job.task_id, convert(body, ReportStatus))).cancel
        except WegentError:
            return None


# those who ask


@frozen
class Place:
    """A task that people share."""

    task_id: int
    team_id: int
    mention: str


class Person:
    """Somebody who asks on every way there is. `tab` is what they ask with, `list` what they see."""

    def __init__(self, app: Everywhere, rng: random.Random, name: str, tab: MemoryClient, places: list[Place]) -> None:
        self.app, self.rng, self.name, self.tab, self.places = app, rng, name, tab, places

    async def live(self, story: Story) -> None:
        acts: list[tuple[int, Callable[[Place], Awaitable[Any]]]] = [
            (4, self.send),
            (3, self.cancel),
            (3, self.retry),
            (1, self.rename),
            (1, self.come_or_go),
            (1, self.reconnect),
        ]
        for _ in range(ACTIONS):
            (act,) = self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])
            place = self.rng.choice(self.places)
            story.log.append(f"{trio.current_time():8.3f} {self.name} {act.__name__} {place.task_id}")
            try:
                await act(place)
            except ConnectionLost:
                await self.tab.connect()
            except WegentError as error:
                story.log.append(f"{trio.current_time():8.3f} {self.name} was refused: {error.sentence}")
            await trio.sleep(self.rng.choice([0.0, 0.0, 0.01, 0.3, 3.0]))

    @property
    def by_rest(self) -> bool:
        return self.rng.random() < 0.5

    def _answers(self, place: Place) -> list[Subtask]:
        return [row for row in self.app.rows(place.task_id) if row.role == "ASSISTANT"]

    async def send(self, place: Place) -> None:
        asked = ChatSend(
            task_id=place.task_id,
            team_id=place.team_id,
            message=f"{place.mention} {self.rng.random()}",
            if_running=self.rng.choice(list(IfRunning)),
            on_lost=self.rng.choice([OnLost.FAIL, OnLost.RERUN]),
        )
        if self.by_rest:
            await self.app.sending.send(self.app.who(self.name), asked, ack=lambda _: None)
        else:
            await self.tab.emit("chat:send", to_wire(asked))

    async def cancel(self, place: Place) -> None:
        rows = self._answers(place)
        row = self.rng.choice([row for row in rows if row.status in UNFINISHED] or rows).id
        if self.by_rest:
            await self.app.cancelling.cancel(self.app.who(self.name), row, ack=lambda _: None)
        else:
            await self.tab.emit("chat:cancel", {"subtask_id": row})

    async def retry(self, place: Place) -> None:
        row = self.rng.choice(self._answers(place)).id
        asked = ChatRetry(task_id=place.task_id, subtask_id=row, if_running=self.rng.choice(list(IfRunning)))
        if self.by_rest:
            await self.app.retrying.retry(self.app.who(self.name), asked, ack=lambda _: None)
        else:
            await self.tab.emit("chat:retry", to_wire(asked))

    async def rename(self, place: Place) -> None:
        await self.app.changing.rename(self.app.who("alice"), place.task_id, f"title {self.rng.random()}")

    async def come_or_go(self, place: Place) -> None:
        """Carol leaves, or is added again."""
        carol = self.app.users["carol"]
        if self.app.peek(lambda unit: unit.member(place.task_id, carol)).removed_at is not None:
            await self.app.members.add(self.app.who("alice"), place.task_id, Invite(user_name="carol"))
        else:
            await self.app.members.remove(self.app.who("carol"), place.task_id, carol)

    async def reconnect(self, place: Place) -> None:
        self.tab.disconnect()
        await trio.sleep(self.rng.choice([0.0, 1.0]))
        await self.tab.connect()


async def _begin(app: Everywhere) -> list[Place]:
    alice, places = await app.client("alice"), []
    teams = [
        (app.team_id, "@Assistant", {}),
        (app.team_id, "@Assistant", {"device_id": "box"}),
        (app.farmers, "@farm", {}),
    ]
    for team_id, mention, where in teams:
        asked = {"team_id": team_id, "message": f"{mention} begin", "is_group_chat": True, **where}
        places.append(Place((await alice.emit("chat:send", asked))["task_id"], team_id, mention))
        invites = [Invite(user_name=name) for name in PEOPLE[1:]]
        await app.members.make_group(app.who("alice"), places[-1].task_id, invites)
    return places


async def _lives(app: Everywhere, rng: random.Random, story: Lives) -> None:
    user = await app.store.read(lambda unit: unit.user_named("alice"))
    assert user is not None
    app.host_token, _ = await app.tokens.issue(user, "executor", timedelta(days=1), targets=[FARM])
    steady = {name: await app.client(name) for name in PEOPLE}
    device = FaithfulDevice(app, rng)
    await device._connect()
    async with trio.open_nursery() as working:
        working.start_soon(device.live, DEVICE_S)
        for name in ("one", "two"):
            working.start_soon(Host(app, rng, name).live)
        places = await _begin(app)
        people = [Person(app, rng, name, await app.client(name), places) for name in PEOPLE]
        async with trio.open_nursery() as nursery:
            for person in people:
                nursery.start_soon(person.live, story)
        await _rest(app, places, story)
        working.cancel_scope.cancel()
    for place in places:
        _compare_rows(app, place.task_id, story)
        compare_lists(app, place.task_id, steady, story)
    answers = [row for place in places for row in app.rows(place.task_id) if row.role == "ASSISTANT"]
    story.runs, story.statuses = sum(row.attempt for row in answers), [row.status for row in answers]
    story.complaints += device.complaints


async def _rest(app: Everywhere, places: list[Place], story: Story) -> None:
    """Until nothing is under way, and all of it has been told."""

    def unfinished() -> list[Subtask]:
        return [row for place in places for row in app.rows(place.task_id) if row.status in UNFINISHED]

    with trio.move_on_after(900):
        while unfinished() or len(app.runs) or len(app.remote):  # noqa: ASYNC110
            await trio.sleep(0.25)
        await trio.sleep(10)
        return
    story.complain(f"there is no ending of {unfinished()}")


def _compare_rows(app: Everywhere, task_id: int, story: Story) -> None:
    """With nothing under way, a task stands as its newest answer does (protocol §5)."""
    task = app.task(task_id)
    newest = [row for row in app.rows(task_id) if row.role == "ASSISTANT"][-1]
    if task.status != newest.status:
        story.complain(f"task {task_id} is {task.status}, its newest answer is {newest.status}")


def tell(seed: int, *, application: type[Everywhere] = Everywhere) -> Lives:
    """One story; everything follows from the seed."""
    rng = random.Random(seed)
    plan = random_plan(rng)
    story = Lives(seed, plan)

    async def main() -> None:
        with trio.fail_after(3_600):
            async with serving(application(rng, plan)) as app:
                assert isinstance(app, Everywhere)
                await _lives(app, rng, story)

    seed_trio(seed)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return story

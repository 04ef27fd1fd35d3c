"""Random lives of a task on several workers, between which messages are lost, late and repeated; which crash, and lose
for a while the log and each other.

    story = simulate_fleet(seed=4711)
    assert not story.complaints, story

Everything follows from the seed; what is judged is the same as of one worker (`simulator`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import trio
import trio.testing

from wegent.core.clock import VirtualClock
from wegent.core.outbox import OutboxLimits
from wegent.core.runs import RunLimits
from wegent.fanout.holding import HoldingLog
from wegent.testing.chaos import Plan, RandomExecutor, RandomStore, fleet_plan
from wegent.testing.deployment import Shared, SharingApplication
from wegent.testing.faulty_fanout import Rates
from wegent.testing.fleet_viewer import FleetViewer
from wegent.testing.harness import Application
from wegent.testing.judging import compare_clients, compare_rows, judge_frames
from wegent.testing.memory_client import MemoryClient
from wegent.testing.simulator import TERMINAL, recover, seed_trio
from wegent.testing.world import Actor, Story, World

LIMITS = [OutboxLimits(), OutboxLimits(high=600), OutboxLimits(high=0), OutboxLimits(2_000, 40_000)]
CLOSED_WITHIN = 18.0
"""Seconds: the last number is repeated for the last time 15 s after its message, and mended within 3 s."""


class FleetWorker(SharingApplication):
    """One worker; subclass it to break a part."""


class Fleet:
    """Workers that come and go."""

    def __init__(self, shared: Shared, executor: RandomExecutor, worker: type[FleetWorker]) -> None:
        self.shared = shared
        self._executor = executor
        self._worker = worker
        self._count = 0
        self.apps: dict[FleetWorker, trio.CancelScope] = {}
        self.last: FleetWorker | None = None

    @property
    def any(self) -> FleetWorker:
        """A worker, whichever."""
        return next(iter(self.apps))

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """One worker's life."""
        self._count += 1
        app = self._worker(self.shared, self._executor, f"worker-{self._count}", run_limits=RunLimits(save_every=0.3))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(app.run)
                self.apps[app] = scope
                task_status.started()
        self.apps.pop(app, None)

    def crash(self, app: FleetWorker) -> None:
        """It is gone, with all connections."""
        self.apps.pop(app).cancel()

    def returned(self) -> None:
        """The log is there again."""
        for app in self.apps:
            assert isinstance(app.log, HoldingLog)
            app.log.returned()


class FleetWorld(World):
    """The actors of a fleet."""

    def __init__(self, fleet: Fleet, plan: Plan, story: Story) -> None:
        self.fleet = fleet
        super().__init__(fleet.any, fleet.shared.rng, plan, story)

    @property
    def app(self) -> Application:
        """A worker that is alive."""
        return self.fleet.any

    @app.setter
    def app(self, app: Application) -> None:
        pass

    def place(self, client: MemoryClient) -> None:
        """Any worker will do."""
        self.rng.choice(list(self.fleet.apps)).take(client)


async def _tell(fleet: Fleet, story: Story, plan: Plan) -> None:
    rng = fleet.shared.rng
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.shared.timers.run)
        for _ in range(plan.workers):
            await nursery.start(fleet.serve)
        world = FleetWorld(fleet, plan, story)
        await world.begin()
        actors = [await _actor(world, index) for index in range(plan.clients)]
        _set_rates(fleet, plan.rates)
        async with trio.open_nursery() as lives:
            for actor in actors:
                lives.start_soon(actor.live)
            lives.start_soon(_crashes, fleet, plan, nursery)
            lives.start_soon(_outages, fleet, plan, rng)
        _set_rates(fleet, Rates())
        await _come_to_rest(world)
        await _judge(world, actors)
        nursery.cancel_scope.cancel()


async def _actor(world: FleetWorld, index: int) -> Actor:
    name = world.plan.actors[index % len(world.plan.actors)]
    app = world.rng.choice(list(world.fleet.apps))
    client = await app.client(name, limits=world.rng.choice(LIMITS))
    return Actor(world, f"{name}-{index}", FleetViewer(client, world.task_id))


def _set_rates(fleet: Fleet, rates: Rates) -> None:
    fleet.shared.rates = rates
    for app in fleet.apps:
        app.fanout.rates = rates


async def _crashes(fleet: Fleet, plan: Plan, nursery: trio.Nursery) -> None:
    for _ in range(plan.crashes):
        await trio.sleep(fleet.shared.rng.random() * 10)
        await nursery.start(fleet.serve)  # the next one is there before, so that there is always one
        fleet.crash(fleet.shared.rng.choice(list(fleet.apps)[:-1]))


async def _outages(fleet: Fleet, plan: Plan, rng: random.Random) -> None:
    for _ in range(plan.outages):
        await trio.sleep(rng.random() * 5)
        fleet.shared.away = True
        _set_rates(fleet, Rates(lost=1.0))
        await trio.sleep(rng.choice([0.5, 5.0, 20.0]))
        if rng.random() < 0.5:
            fleet.shared.forget()
        fleet.shared.away = False
        _set_rates(fleet, plan.rates)
        fleet.returned()
        for app in fleet.apps:
            app.fanout.interrupt()


async def _come_to_rest(world: FleetWorld) -> None:
    def busy() -> bool:
        rows = world.app.rows(world.task_id)
        return any(row.status not in TERMINAL for row in rows) or any(len(app.runs) for app in world.fleet.apps)

    with trio.move_on_after(300) as scope:
        while busy():  # noqa: ASYNC110
            await trio.sleep(0.25)
    if scope.cancelled_caught:
        world.story.complain("after 300 s there are rows without an ending")
    await trio.sleep(CLOSED_WITHIN)


async def _judge(world: FleetWorld, actors: list[Actor]) -> None:
    for actor in actors:
        await actor.settle()
    judge_frames(world, actors, "as it came")
    compare_rows(world)
    compare_clients(world, [actor for actor in actors if actor.viewer.synced], "as it came")
    if not world.plan.crashes:  # a worker that dies repeats no number
        _compare_status(world, actors)
    for actor in actors:
        await recover(actor)
    judge_frames(world, actors, "after a last join")
    compare_clients(world, actors, "after a last join")
    world.story.runs = len(world.executor.written)
    world.story.frames = sum(len(actor.client.frames) for actor in actors)


def _compare_status(world: FleetWorld, actors: list[Actor]) -> None:
    """Who was connected all the time knows how the task stands, or that the lists are to be read again."""
    task = world.app.task(world.task_id)
    for actor in actors:
        latest: Mapping[str, Any] | None = None
        if not actor.client.connected:
            continue
        for frame in actor.client.frames:
            if frame.connection == actor.client.connections and frame.name == "task:status":
                latest = frame.data
            elif frame.name == "sync:required":
                latest = None
        if latest is not None and latest["status"] != task.status:
            world.story.complain(f"{actor.name} was told last that the task is {latest}, not {task.status}")


def simulate_fleet(
    seed: int, plan: Plan | None = None, *, worker: type[FleetWorker] = FleetWorker, patience: float = 3600.0
) -> Story:
    """One story, of at most `patience` virtual seconds."""
    rng = random.Random(seed)  # noqa: S311 - it decides what is tested, it keeps no secret
    given = plan or fleet_plan(rng)
    story = Story(seed, given)

    async def main() -> None:
        shared = Shared(store=RandomStore(VirtualClock(), rng, given), rng=rng)
        with trio.fail_after(patience):
            await _tell(Fleet(shared, RandomExecutor(rng), worker), story, given)

    seed_trio(seed)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return story

"""Random lives of a task: clients that come and go, runs that fail and are cancelled, a store that is slow or away.

    story = simulate(seed=4711)
    assert not story.complaints, story

Everything follows from the seed, the order in which Trio runs its tasks included. What each client ends with is
judged by the rules of protocol §5 from the frames that it got, and compared with what the engine wrote, as recorded
by the engine, and with the row.
"""

from __future__ import annotations

import random

import trio
import trio.testing
from trio._core import _run as trio_run

from wegent.core.errors import WegentError
from wegent.core.outbox import OutboxLimits
from wegent.core.ports.streamlog import StreamLog
from wegent.core.runs import RunLimits
from wegent.server.ports.store import Store
from wegent.testing.chaos import DistantLog, Plan, RandomExecutor, RandomStore, random_pause, random_plan
from wegent.testing.harness import Application, serving
from wegent.testing.judging import compare_clients, compare_rows, judge_frames
from wegent.testing.memory_client import ConnectionLost
from wegent.testing.viewer import Viewer
from wegent.testing.world import Actor, Story, World

TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")


async def _tell(app: Application, story: Story, rng: random.Random, plan: Plan) -> None:
    world = World(app, rng, plan, story)
    store = app.store
    assert isinstance(store, RandomStore)
    await world.begin()
    actors = []
    for index in range(plan.clients):
        name = plan.actors[index % len(plan.actors)]
        limits = rng.choice([OutboxLimits(), OutboxLimits(high=600), OutboxLimits(high=0), OutboxLimits(2_000, 40_000)])
        viewer = Viewer(await app.client(name, limits=limits), world.task_id)
        actors.append(Actor(world, f"{name}-{index}", viewer))
    store.away = plan.store_away
    async with trio.open_nursery() as nursery:
        for actor in actors:
            nursery.start_soon(actor.live)
    store.away = 0.0
    await _come_to_rest(app, world.task_id, story)
    for actor in actors:
        await actor.settle()
    judge_frames(world, actors, "as it came")
    compare_rows(world)
    if not plan.store_away:  # a commit in doubt may be told of by nobody, until somebody joins
        compare_clients(world, [actor for actor in actors if actor.viewer.synced], "as it came")
    for actor in actors:
        await recover(actor)
    judge_frames(world, actors, "after a last join")
    compare_clients(world, actors, "after a last join")
    _look_inside(app, story)
    story.runs = len(world.executor.written)
    story.frames = sum(len(actor.client.frames) for actor in actors)


async def _come_to_rest(app: Application, task_id: int, story: Story) -> None:
    """Wait until no row is unfinished; whatever happens, an ending comes."""
    with trio.move_on_after(300) as scope:
        while any(row.status not in TERMINAL for row in app.rows(task_id)) or len(app.runs):  # noqa: ASYNC110
            await trio.sleep(0.25)
    await trio.sleep(10)  # what is committed is told a moment later
    if scope.cancelled_caught:
        stuck = [(row.id, row.status) for row in app.rows(task_id) if row.status not in TERMINAL]
        story.complain(f"after 300 s there is no ending of {stuck}; {len(app.runs)} runs are at work")


async def recover(actor: Actor) -> None:
    """Be connected, and have all that there is."""
    for _ in range(20):
        try:
            if not actor.client.connected:
                actor.world.place(actor.client)
                await actor.client.connect()
            if "code" in await actor.viewer.join():
                continue
            while await actor.viewer.recover():
                await actor.settle()
            await actor.settle()
        except (ConnectionLost, WegentError):
            continue
        return
    actor.world.story.complain(f"{actor.name} cannot stay connected")


def _look_inside(app: Application, story: Story) -> None:
    """Nothing may be left of runs that are over."""
    if len(app.runs):
        story.complain("there are runs left")
    held = app.peek(lambda unit: unit.running())
    if held:
        story.complain(f"there are leases left: {held}")


class SimulatedApplication(Application):
    """An application whose store is a `RandomStore`; subclass it to replace or break a part."""

    def __init__(self, rng: random.Random, plan: Plan) -> None:
        self.rng = rng
        self.plan = plan
        super().__init__(RandomExecutor(rng), run_limits=RunLimits(save_every=0.3))

    def make_store(self) -> Store:
        """The store."""
        return RandomStore(self.clock, self.rng, self.plan)

    def make_log(self) -> StreamLog:
        """The log: in this process, or somewhere else."""
        if self.plan.distant_log:
            return DistantLog(self.timers, lambda: random_pause(self.rng))
        return super().make_log()


def simulate(
    seed: int,
    plan: Plan | None = None,
    *,
    application: type[SimulatedApplication] = SimulatedApplication,
    patience: float = 3600.0,
) -> Story:
    """One story, of at most `patience` virtual seconds."""
    rng = random.Random(seed)  # noqa: S311 - it decides what is tested, it keeps no secret
    given = plan or random_plan(rng)
    story = Story(seed, given)

    async def main() -> None:
        with trio.fail_after(patience):
            async with serving(application(rng, given)) as app:
                await _tell(app, story, rng, given)

    seed_trio(seed)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return story


def seed_trio(seed: int) -> None:
    """Trio shuffles the tasks that are ready; with this the same seed gives the same order."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_run._r.seed(seed)

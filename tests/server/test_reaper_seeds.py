"""Random hosts, two reapers, a store that is slow or away: every row ends once, and nobody is taken from who beats."""

from __future__ import annotations

import logging
import random

import pytest
import trio
import trio.testing

from wegent.core.errors import LeaseLost, Overloaded, Terminal, WegentError
from wegent.core.model import CONTENT, Ending, EndingStatus
from wegent.core.said import SaidText
from wegent.server.owners import Lapses, device_owner, host_owner, lapse_of
from wegent.server.reaper import Reaper
from wegent.server.telling import Teller
from wegent.storage import memory
from wegent.storage.memory_unit import MemoryUnit
from wegent.testing.chaos import Plan, RandomStore
from wegent.testing.harness import Application, serving
from wegent.testing.scripted import ScriptedExecutor
from wegent.testing.simulator import seed_trio
from wegent.testing.viewer import Viewer

LAPSES = Lapses(worker=15, host=6, device=10)
TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
ENDED = ("chat:done", "chat:error", "chat:cancelled")


class Story:
    """What happened."""

    def __init__(self) -> None:
        self.beaten: dict[str, float] = {}
        self.hasty: list[str] = []
        self.taken: list[tuple[int, int]] = []
        self.away = 0.0


def noting(story):
    """Units that note when owners beat, and when one is given up that beat within its lapse."""

    class Noting(MemoryUnit):
        __slots__ = ()

        def beat(self, owner):
            story.beaten[owner] = trio.current_time()
            super().beat(owner)

        def forget_owner(self, owner, *, beat=None):
            done = super().forget_owner(owner, beat=beat)
            silent = trio.current_time() - story.beaten[owner]
            if done and silent < lapse_of(owner, LAPSES):
                story.hasty.append(f"{owner} beat {silent:.2f} s ago")
            return done

    return Noting


class Elsewhere(Application):
    """All runs are on hosts and devices."""

    def __init__(self, rng, story):
        self.rng = rng
        self.story = story
        super().__init__(ScriptedExecutor(), lapses=LAPSES)
        self.other = Reaper(
            self.book, self.remote, self.streams, self.teller, self.registry, owner="worker-2", lapses=LAPSES
        )

    def make_teller(self):
        story = self.story

        class Noting(Teller):
            def taken(self, row, view):
                story.taken.append((row.id, row.attempt if row.status in TERMINAL else row.attempt - 1))
                super().taken(row, view)

        return Noting(self.rooms)

    def make_store(self):
        return RandomStore(self.clock, self.rng, Plan(slow_store=0.2, pause=0.05))


async def host(app, rng, target, owner):
    """Claims, reports now and then, is killed at times, and comes back."""
    while True:
        try:
            for job in await app.queue.claim({target: 1}, owner, limit=rng.randrange(1, 3)):
                name = owner if isinstance(owner, str) else owner(job.subtask_id, job.attempt)
                await work(app, rng, app.remote.begin(job, name))
        except Overloaded:
            pass
        await trio.sleep(rng.random())


async def work(app, rng, run):
    said = ""
    for _ in range(rng.randrange(8)):
        await trio.sleep(rng.choice([0.1, 1, 3, 4]))
        if rng.random() < 0.08:
            await trio.sleep(rng.choice([5, 20, 40]))  # its network is away for so long, or it is killed
            if rng.random() < 0.5:
                return
        delta = rng.choice(["a", "bc", "👋🏽", ""])
        try:
            await app.remote.say(run, [SaidText(CONTENT, delta, len(said))])
            said += delta
            await app.remote.heard(run)
        except (LeaseLost, Terminal):
            return
    ending = rng.choice([Ending(EndingStatus.COMPLETED), Ending(EndingStatus.FAILED, "no", "model")])
    while not run.over.is_set():
        try:
            await app.remote.finish(run, ending)
        except Overloaded:
            await trio.sleep(1)
        except WegentError:
            return


async def people(app, rng, viewer):
    for n in range(rng.randrange(3, 8)):
        asked = {
            "task_id": viewer.task_id,
            "team_id": app.team_id,
            "message": f"message {n}",
            "if_running": "queue",
            "on_lost": rng.choice(["fail", "rerun", "reassign"]),
        }
        if rng.random() < 0.5:
            asked["device_id"] = rng.choice(["one", "two"])
        ack = await viewer.client.emit("chat:send", asked)
        await trio.sleep(rng.choice([0, 1, 10]))
        if "code" not in ack and rng.random() < 0.3:
            await viewer.client.emit("chat:cancel", {"subtask_id": ack["assistant_subtask_id"]})


async def tell(app, rng, story):
    alice = await app.client("alice")
    for name in ("one", "two"):
        given = {"status": "online", "connection": name, "slot_max": 2}
        await app.store.write(lambda unit, name=name, given=given: unit.put_device(app.users["alice"], name, **given))
    ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi", "on_lost": "rerun"})
    viewer = Viewer(alice, ack["task_id"])
    await viewer.join()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app.other.run)
        for _ in range(2):
            nursery.start_soon(host, app, rng, "chat_shell", lambda row, attempt: host_owner("h", row, attempt))
        for name in ("one", "two"):
            owner = device_owner(app.users["alice"], name)
            nursery.start_soon(host, app, rng, owner, owner)
        app.store.away = story.away = rng.choice([0.0, 0.02])
        await people(app, rng, viewer)
        await trio.sleep(rng.choice([0, 60]))
        app.store.away = 0.0
        with trio.fail_after(1000):
            while any(row.status not in TERMINAL for row in answers(app, viewer)):  # noqa: ASYNC110
                await trio.sleep(1)
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
    await judge(app, viewer, story)


def answers(app, viewer):
    return [row for row in app.rows(viewer.task_id) if row.role == "ASSISTANT"]


async def judge(app, viewer, story):
    assert story.hasty == []
    if not story.away:  # else one may be told of by two who were not sure
        assert len(set(story.taken)) == len(story.taken), "a run was taken twice"
    await viewer.join()
    while await viewer.recover():  # noqa: ASYNC110
        await trio.sleep(1)
    assert not viewer.problems
    for row in answers(app, viewer):
        assert viewer.view.messages[row.id].content.value == row.content
        starts = [each["attempt"] for each in viewer.client.events("chat:start") if each["subtask_id"] == row.id]
        assert starts == sorted(set(starts))
        over = {
            (frame.name, frame.data["attempt"], frame.data["revision"])
            for frame in viewer.client.frames
            if frame.name in ENDED and frame.data["subtask_id"] == row.id
        }
        assert len(over) <= 1, over
    assert len(app.remote) == 0
    assert app.peek(lambda unit: unit.holders()) == set()


@pytest.mark.parametrize("seed", range(60))
def test_every_row_ends_once_whatever_happens_to_its_hosts(seed, monkeypatch):
    logging.disable(logging.CRITICAL)
    rng, story = random.Random(seed), Story()
    monkeypatch.setattr(memory, "MemoryUnit", noting(story))

    async def main():
        with trio.fail_after(5000):
            async with serving(Elsewhere(rng, story)) as app:
                await tell(app, rng, story)

    try:
        seed_trio(seed)
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        logging.disable(logging.NOTSET)

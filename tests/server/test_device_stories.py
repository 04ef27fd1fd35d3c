"""Random lives of devices: they come and go, the store is slow or away, people cancel; every run ends, and once.

More of them: WEGENT_INTERLEAVINGS=2000 pytest tests/server/test_device_stories.py
"""

import logging
import os
import random

import pytest
import trio
import trio.testing

from tests.server.device_scenes import send
from tests.server.faithful_device import FaithfulDevice
from wegent.server.devices import Devices
from wegent.server.queueing import Queue
from wegent.testing.chaos import Plan
from wegent.testing.harness import serving
from wegent.testing.memory_client import ConnectionLost
from wegent.testing.simulator import SimulatedApplication, seed_trio
from wegent.testing.viewer import Viewer

COUNT = int(os.environ.get("WEGENT_INTERLEAVINGS", "20"))
CHUNK = 10
ENDINGS = ("chat:done", "chat:error", "chat:cancelled")
UNFINISHED = ("PENDING", "RUNNING", "CANCELLING")


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
def test_every_run_of_a_device_ends_once_with_what_the_device_said(first):
    for seed in range(first, min(first + CHUNK, COUNT)):
        complaints = story(seed)
        assert not complaints, (seed, complaints)


def story(seed):
    """What was wrong with one story."""
    rng = random.Random(seed)
    plan = Plan(
        slow_store=rng.choice([0.05, 0.3, 0.8]),
        pause=rng.choice([0.01, 0.2]),
        store_away=rng.choice([0.0, 0.0, 0.02]),
        distant_log=rng.random() < 0.5,
    )
    complaints = []

    async def main():
        with trio.fail_after(3_600):
            async with serving(SimulatedApplication(rng, plan)) as app:
                await tell(app, rng, plan, complaints)

    seed_trio(seed)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return complaints


async def tell(app, rng, plan, complaints):
    devices = [FaithfulDevice(app, rng, device_id, slots=rng.randrange(1, 4)) for device_id in ("box", "other")]
    alice = await app.client()
    await devices[0].box.connect()
    app.store.away = plan.store_away
    rows = []
    async with trio.open_nursery() as nursery:
        for device in devices:
            nursery.start_soon(device.live, 120)
        await people(app, rng, alice, rows)
        await trio.sleep(200)
        app.store.away = 0.0
        await come_to_rest(app, rows, complaints)
        nursery.cancel_scope.cancel()
    await judge(app, alice, rows, devices, complaints)


async def people(app, rng, alice, rows):
    """Send and cancel."""
    for _ in range(rng.randrange(4, 12)):
        on_lost = rng.choice(["fail", "rerun", "reassign"])
        try:
            ack = await send(app, alice, rng.choice(["box", "box", "other"]), on_lost=on_lost)
            if "code" not in ack:
                rows.append(ack["assistant_subtask_id"])
            if rows and rng.random() < 0.3:
                await alice.emit("chat:cancel", {"subtask_id": rng.choice(rows)})
        except ConnectionLost:
            await alice.connect()
        await trio.sleep(rng.choice([0.0, 0.5, 5.0, 20.0]))


async def come_to_rest(app, rows, complaints):
    with trio.move_on_after(900):
        while any(app.row(row).status in UNFINISHED for row in rows) or len(app.remote):  # noqa: ASYNC110
            await trio.sleep(0.5)
        await trio.sleep(100)
        return
    complaints.append(f"no ending of {[app.row(row) for row in rows if app.row(row).status in UNFINISHED]}")


async def judge(app, alice, rows, devices, complaints):
    said = {}
    for device in devices:
        complaints += device.complaints
        said |= device.works
    for row in map(app.row, rows):
        work = said.get((row.id, row.attempt))
        if row.status == "COMPLETED" and (work is None or row.content != work.text):
            complaints.append(f"{row} should say {work}")
        if work is not None and not work.text.startswith(row.content):
            complaints.append(f"{row} holds what the device never said: {work}")
        endings = {
            (frame.name, frame.data["attempt"])
            for frame in alice.frames
            if frame.name in ENDINGS and frame.data["subtask_id"] == row.id
        }
        if len(endings) > 1:
            complaints.append(f"{row} ended more than once: {endings}")
        viewer = Viewer(await app.client(), row.task_id)
        await viewer.join()
        if viewer.view.messages[row.id].content.value != row.content:
            complaints.append(f"who joins does not see {row}")
    left = {
        "runs": len(app.remote),
        "watched": len(app.devices._watched),
        "owed": len(app.devices._owed),
        "leases": len(app.peek(lambda unit: unit.running())),
        "streams": 0 if len(app.streams) < 50 else len(app.streams),
    }
    if any(left.values()):
        complaints.append(f"there is something left: {left}")


def forget_what_it_has(monkeypatch):
    async def nothing(self, link, made, had):
        await trio.lowlevel.checkpoint()
        return []

    monkeypatch.setattr(Devices, "_runs_of", nothing)


def count_no_slots(monkeypatch):
    claim = Queue.claim

    async def more(self, limits, owner, *, slots=None, **options):
        return await claim(self, limits, owner, slots=slots and slots + 5, **options)

    monkeypatch.setattr(Queue, "claim", more)


@pytest.mark.parametrize(
    ("breach", "words"), [(forget_what_it_has, "no ending"), (count_no_slots, "slots")], ids=["running", "slots"]
)
def test_a_server_that_breaks_a_rule_is_found_out(monkeypatch, breach, words):
    breach(monkeypatch)
    assert any(words in str(story(seed)) for seed in range(8))

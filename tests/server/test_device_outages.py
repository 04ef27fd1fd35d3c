"""Devices while the database is away: they are told to come again, and nothing is lost or left behind."""

import logging

import pytest
import trio

from tests.server.device_scenes import at_work, device, send, serving
from wegent.core.errors import StoreAway
from wegent.storage.memory import MemoryStore
from wegent.testing.harness import Application
from wegent.testing.memory_device import MemoryDevice
from wegent.testing.scripted import ScriptedExecutor


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Away(MemoryStore):
    """Does nothing while `away`; while `unsure`, it does what it is asked for, and nobody hears of it."""

    away = unsure = False

    async def _pause(self):
        await super()._pause()
        if self.away:
            raise StoreAway("the database does not answer")

    async def _run(self, work, *, writable):
        result = await super()._run(work, writable=writable)
        if self.unsure and writable:
            raise StoreAway("the database does not answer any more")
        return result


class Shaky(Application):
    def __init__(self):
        super().__init__(ScriptedExecutor())

    def make_store(self):
        return Away(self.clock)


@pytest.fixture(params=["away", "unsure"])
def outage(request):
    """How the store is away."""

    def change(app, *, gone):
        setattr(app.store, request.param, gone)

    return change


async def test_a_registration_is_repeated_until_the_store_is_back(autojump_clock, outage):
    async with serving(Shaky()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        await box.client.connect()
        outage(app, gone=True)
        assert (await box.register())["code"] == "OVERLOADED"
        assert (await box.heartbeat())["code"] in ("CONFLICT", "OVERLOADED")
        outage(app, gone=False)
        assert (await box.register())["success"]
        await send(app, alice)
        await box.job()


async def test_who_leaves_during_an_outage_is_offline_after_it(autojump_clock, outage):
    async with serving(Shaky()) as app:
        box, other = MemoryDevice(app), MemoryDevice(app, device_id="other")
        await box.connect()
        await other.client.connect()
        outage(app, gone=True)
        assert (await other.register())["code"] == "OVERLOADED"
        box.client.disconnect()
        other.client.disconnect()
        await trio.sleep(30)
        outage(app, gone=False)
        await trio.sleep(10)
        for device_id in ("box", "other"):
            row = device(app, device_id=device_id)
            assert row is None or (row.connection, row.status) == (None, "offline")
        assert app.devices._by_session == {}
        assert len(app.devices.presence._turns) == 0


async def test_an_ending_is_repeated_until_it_is_known_to_be_committed(autojump_clock, outage):
    async with at_work(Shaky()) as (app, alice, box, row):
        await box.progress(row, delta="abc", offset=0)
        outage(app, gone=True)
        assert (await box.progress(row, delta="def", offset=3))["offset"] == 6  # a run streams on
        for _ in range(3):
            ack = await box.complete(row, result={"value": "abcdef"})
            assert ack["code"] == "OVERLOADED"
            assert alice.events("chat:done") == []
        outage(app, gone=False)
        assert await box.complete(row, result={"value": "abcdef"}) == {"success": True}
        assert [told["result"]["value"] for told in alice.events("chat:done")] == ["abcdef"]


async def test_a_claim_that_nobody_knows_of_comes_back(autojump_clock):
    async with serving(Shaky()) as app:
        alice, box = await app.client(), MemoryDevice(app)
        await box.connect()
        sent = await send(app, alice)
        app.store.unsure = True
        with trio.move_on_after(300):
            await trio.sleep(1)
            app.store.unsure = False
            while not box.jobs:
                await trio.sleep(10)
                await box.heartbeat()
        assert [job["subtask_id"] for job in box.jobs] == [sent["assistant_subtask_id"]]

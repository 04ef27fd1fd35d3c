"""Devices whose connection is lost, or taken over, at each checkpoint there is."""

import logging

import pytest
import trio

from tests.server.device_scenes import application, device, send, serving
from wegent.testing.checkpoints import at_every_checkpoint
from wegent.testing.memory_client import ConnectionLost
from wegent.testing.memory_device import MemoryDevice

TEXT = "Grüß dich, 👋🏽!"


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def finish(box, row, attempt):
    """Say all of the text and complete, whatever the server has already."""
    ack = await box.progress(row, attempt=attempt, delta=TEXT, offset=0)
    assert ack == {"success": True, "offset": len(TEXT)}
    assert await box.complete(row, attempt=attempt) == {"success": True}


async def come_back(app, box, row):
    """Register, and do with the run what the ack says; else what the device is given."""
    running = (await box.connect())["running"]
    if app.row(row).status == "COMPLETED":
        return
    if running:
        await finish(box, row, running[0]["attempt"])
        return
    number = len(box.jobs)
    while not box.jobs or box.jobs[-1]["attempt"] != app.row(row).attempt or app.row(row).status == "PENDING":
        number += 1
        await box.job(number)
    await finish(box, row, box.jobs[-1]["attempt"])


def at_rest(app):
    """Nothing is held, and nothing is remembered of what is over."""
    assert app.peek(lambda unit: unit.running()) == []
    assert (len(app.remote), app.devices._watched, app.devices._owed) == (0, set(), {})


async def test_a_connection_lost_at_any_checkpoint_loses_no_run(autojump_clock):
    async def attempt(cut):
        async with serving(application()) as app:
            alice, box = await app.client(), MemoryDevice(app)
            sent = None
            await box.client.connect()
            with cut.at(box.client.disconnect):
                try:
                    await box.register()
                    sent = await send(app, alice)
                    with trio.move_on_after(5):  # a lost connection brings no job
                        await box.job()
                    await box.progress(sent["assistant_subtask_id"], delta=TEXT[:4], offset=0)
                    await finish(box, sent["assistant_subtask_id"], 1)
                except ConnectionLost:
                    pass
                if sent is None or "code" in sent:
                    await box.connect()
                    sent = await send(app, alice)
            row = sent["assistant_subtask_id"]
            if app.row(row).status != "COMPLETED":
                await come_back(app, box, row)
            await trio.sleep(1)
            assert (app.row(row).status, app.row(row).content) == ("COMPLETED", TEXT)
            assert [told["attempt"] for told in alice.events("chat:done")] == [app.row(row).attempt]
            box.client.disconnect()
            await trio.sleep(5)
            assert (device(app).connection, device(app).status) == (None, "offline")
            at_rest(app)

    await at_every_checkpoint(attempt)


async def test_whenever_another_connection_registers_the_run_goes_on_there(autojump_clock):
    async def attempt(cut):
        async with serving(application()) as app:
            alice, older, newer = await app.client(), MemoryDevice(app), MemoryDevice(app)
            now = trio.Event()
            await older.connect()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(replace, app, newer, now)
                with cut.at(now.set):
                    sent = await send(app, alice)
                    row = sent["assistant_subtask_id"]
                    try:
                        with trio.move_on_after(5):
                            await older.job()
                        await older.progress(row, delta=TEXT[:4], offset=0)
                        await older.progress(row, delta=TEXT[:9], offset=0)
                    except ConnectionLost:
                        pass
                now.set()
            assert app.devices.link(app.users["alice"], "box").session is newer.client.connection.session
            assert older.client.events("device:replaced") or not older.client.connected
            (run,) = app.remote.of(None) or [None]
            if run is None or run.job.subtask_id not in [job["subtask_id"] for job in newer.jobs]:
                await finish(newer, row, app.row(row).attempt)
            else:
                await finish(newer, row, newer.jobs[-1]["attempt"])
            await trio.sleep(5)
            assert app.row(row).content == TEXT
            assert device(app).connection == newer.client.connection.session.id
            assert alice.events("device:offline") == []
            at_rest(app)

    await at_every_checkpoint(attempt)


async def replace(app, newer, now):
    await now.wait()
    await newer.connect()
    await trio.sleep(10)

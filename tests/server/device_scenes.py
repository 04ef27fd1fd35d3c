"""What tests of devices begin with."""

from contextlib import asynccontextmanager

import trio

from wegent.testing import harness
from wegent.testing.harness import Application
from wegent.testing.memory_device import MemoryDevice
from wegent.testing.scripted import ScriptedExecutor, say


def application(**options):
    return Application(ScriptedExecutor(default=[say("not on a device")]), **options)


async def send(app, client, device_id="box", **more):
    asked = {"team_id": app.team_id, "message": "hi", "device_id": device_id, **more}
    return await client.emit("chat:send", asked)


@asynccontextmanager
async def serving(app):
    """The application at work, for an hour at most."""
    with trio.fail_after(3_600):
        async with harness.serving(app):
            yield app


@asynccontextmanager
async def at_work(app=None, **options):
    """Alice, her device, and the row that it runs."""
    async with serving(app or application(**options)) as app:
        alice, box = await app.client(), MemoryDevice(app)
        await box.connect()
        row = (await send(app, alice))["assistant_subtask_id"]
        await box.job()
        yield app, alice, box, row


def again(app, **options):
    """The application after a restart, on what the first one left."""
    found = application(**options)
    found.store._tables = app.store._tables
    found._prepare = lambda unit: None
    found.users, found.team_id = app.users, app.team_id
    return found


def device(app, name="alice", device_id="box"):
    return app.peek(lambda unit: unit.device(app.users[name], device_id))

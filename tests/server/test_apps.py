"""An app that a run serves: `task:app_update` to those who view the task, and in what they find who come later."""

from __future__ import annotations

from typing import Any

from wegent.core.model import Job, Outcome
from wegent.core.ports.executor import Executor, Sink
from wegent.testing.harness import application

APP = {"name": "site", "address": "127.0.0.1:3000", "previewUrl": "http://127.0.0.1:3000/"}


class Serves(Executor):
    async def run(self, job: Job, sink: Sink) -> Outcome:
        await sink.text("here it is")
        await sink.app(APP)
        return Outcome()


async def test_an_app_is_told_once_as_an_event_of_its_own(autojump_clock: Any) -> None:
    async with application(Serves()) as app:
        client = await app.client()
        sent = await client.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        await client.wait_for("chat:done")
        (told,) = client.events("task:app_update")
        assert told["task_id"] == sent["task_id"]
        assert {name: told["app"][name] for name in APP} == APP
        names = [frame.name for frame in client.frames]
        assert names.index("chat:start") < names.index("task:app_update") < names.index("chat:done")
        joined = await (await app.client()).emit("task:join", {"task_id": sent["task_id"]})
        assert joined["subtasks"][-1]["result"]["app"]["name"] == "site"

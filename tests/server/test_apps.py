"""An app to look at, of a run or of the task: `task:app_update` to its viewers, and to be found by who comes later."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from wegent.core.model import Job, Outcome, Principal
from wegent.core.ports.executor import Executor, Sink
from wegent.protocol.blocks import App
from wegent.testing.deployment import deployment
from wegent.testing.faulty_fanout import Rates
from wegent.testing.harness import application
from wegent.testing.scripted import ScriptedExecutor, say

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


def another(name: str) -> App:
    return App(**{**APP, "name": name})


def names_told(client: Any) -> list[str]:
    return [told["app"]["name"] for told in client.events("task:app_update")]


@pytest.mark.parametrize("lost", [False, True], ids=["", "messages between workers are lost"])
async def test_an_app_that_is_set_is_told_once_to_every_viewer_and_to_who_joins_later(
    autojump_clock: Any, lost: bool
) -> None:
    async with deployment(2, ScriptedExecutor(default=[say("hello")])) as (one, other):
        near, far = await one.client("alice"), await other.client("alice")
        sent = await near.emit("chat:send", {"team_id": one.team_id, "message": "hi"})
        await near.wait_for("chat:done")
        await far.emit("task:join", {"task_id": sent["task_id"]})
        who = Principal(one.users["alice"], "alice")
        await trio.sleep(10)
        for name in ("first", "second"):
            other.fanout.rates = Rates(lost=1.0 if lost else 0.0)
            task = await one.changing.show(who, sent["task_id"], another(name))
            await trio.sleep(0.5)
            other.fanout.rates = Rates()
            await trio.sleep(10)
            assert (task.app or {})["name"] == name
        assert names_told(near) == names_told(far) == ["first", "second"]
        late = await other.client("alice")
        await late.emit("task:join", {"task_id": sent["task_id"]})
        await trio.sleep(10)
        assert names_told(late) == ["second"]

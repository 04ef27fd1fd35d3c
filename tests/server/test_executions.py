"""Background work: once for each time, over restarts, and told to its user."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

from wegent.core.errors import AccessDenied, Conflict, InvalidPayload, NotFound, RunFailed, StoreAway
from wegent.core.model import Principal
from wegent.protocol.executions import ExecutionRequest
from wegent.server.execution_view import ExecutionTeller
from wegent.server.executions import Executions
from wegent.server.ports.store import Store, Unit
from wegent.storage import MemoryStore
from wegent.testing.harness import Application, serving
from wegent.testing.scripted import ScriptedExecutor, fail, say, wait

MINUTE = 60.0


class ShakyStore(MemoryStore):
    """Away for a while, before and after each unit; or now and then, by chance."""

    away_until = 0.0
    chance = 0.0
    rng = random.Random(0)

    async def _pause(self) -> None:
        await super()._pause()
        if trio.current_time() < self.away_until or self.rng.random() < self.chance:
            raise StoreAway("the database is away")


class Background(Application):
    """With executions; over the store of an earlier life, where one is given."""

    def __init__(self, *script: Any, store: Store | None = None) -> None:
        self._store = store
        super().__init__(ScriptedExecutor(default=list(script) or [say("done")]))
        self.executions = Executions(self.store, self.clock, self.sending, ExecutionTeller(self.rooms), per_user=5)
        self.teller.on_run = self.executions.hear

    def make_store(self) -> Store:
        return self._store or ShakyStore(self.clock)

    def _prepare(self, unit: Unit) -> None:
        if unit.user_named("alice") is None:
            super()._prepare(unit)
        team = unit.kind_named("Team", "default", "assistant", user_id=None)
        self.team_id = team.id
        self.users = {user.user_name: user.id for user in unit.users()}

    async def run(self, **given: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.executions.run)
            await super().run(**given)

    def who(self, name: str = "alice") -> Principal:
        return Principal(self.users[name], name)

    async def make(self, name: str = "alice", **asked: Any) -> Any:
        asked = {"team_id": self.team_id, "prompt": "water the plants", **asked}
        return (await self.executions.make(self.who(name), ExecutionRequest(**asked))).as_item()

    async def item(self, execution_id: int) -> Any:
        return (await self.executions.get(self.who(), execution_id)).as_item()

    def tasks(self) -> list[Any]:
        return self.peek(lambda unit: unit.tasks_of(self.users["alice"], limit=100))


@asynccontextmanager
async def background(*script: Any, store: Store | None = None) -> Any:
    async with serving(Background(*script, store=store)) as app:
        yield app


async def updates(client: Any, *statuses: str) -> list[Any]:
    return [
        await client.wait_for("background:execution_update", lambda told, at=each: told["status"] == at)
        for each in statuses
    ]


async def test_what_has_no_time_runs_at_once_and_its_user_is_told(autojump_clock):
    async with background(wait(1), say("all is watered")) as app:
        alice, bob = await app.client("alice"), await app.client("bob")
        made = await app.make()
        waiting, running, done = await updates(alice, "PENDING", "RUNNING", "COMPLETED")
        assert (waiting["execution_id"], waiting["prompt"], waiting.get("task_id")) == (made.id, made.prompt, None)
        assert running["task_id"] == done["task_id"]
        assert done["result_summary"] == "all is watered"
        (task,) = app.tasks()
        assert (task.id, task.status, task.title) == (done["task_id"], "COMPLETED", "water the plants")
        assert (await app.item(made.id)).next_at is None
        assert bob.events("background:execution_update") == []


async def test_what_is_asked_for_later_runs_then_and_not_before(autojump_clock):
    async with background() as app:
        at = app.clock.now() + timedelta(hours=3)
        made = await app.make(run_at=at)
        assert (made.status, made.next_at) == ("PENDING", at)
        await trio.sleep(3 * 3600 - 1)
        assert app.tasks() == []
        await trio.sleep(2)
        assert len(app.tasks()) == 1
        assert (await app.item(made.id)).status == "COMPLETED"


async def test_a_cron_job_goes_on_after_a_restart_and_makes_up_for_what_it_missed_once(autojump_clock):
    async with background() as app:
        made = await app.make(cron="*/10 * * * *")
        assert made.next_at == datetime(2023, 11, 14, 22, 20, tzinfo=UTC)
        await trio.sleep(25 * MINUTE)
        assert (await app.item(made.id)).runs == 2
        store = app.store
    await trio.sleep(60 * MINUTE)
    async with background(store=store) as app:
        await trio.sleep(1)
        item = await app.item(made.id)
        assert item.runs == 3
        assert item.next_at == datetime(2023, 11, 14, 23, 40, tzinfo=UTC)
        await trio.sleep(21 * MINUTE)
        assert (await app.item(made.id)).runs == 5
        assert len(app.tasks()) == 5


async def test_two_schedulers_on_one_store_run_nothing_twice(autojump_clock):
    async with background() as app, background(store=app.store) as other:
        for _ in range(5):
            await app.make(cron="* * * * *")
        await trio.sleep(3 * MINUTE)
        items = [item.as_item() for item in await other.executions.page(app.who(), before_id=None, limit=10)]
        assert [item.runs for item in items] == [3] * 5
        assert len(app.tasks()) == 15


@pytest.mark.parametrize("seed", range(12))
async def test_each_time_makes_one_task_however_often_nobody_knows_of_a_commit(autojump_clock, seed):
    async with background() as app, background(store=app.store):
        ids = [(await app.make(cron="* * * * *")).id for _ in range(3)]
        await trio.sleep(1)
        app.store.rng, app.store.chance = random.Random(seed), 0.25
        await trio.sleep(6 * MINUTE)
        app.store.chance = 0.0
        await trio.sleep(10)
        assert [(await app.item(each)).runs for each in ids] == [6] * 3
        assert len(app.tasks()) == 18


async def test_what_cannot_be_run_says_why_and_a_schedule_goes_on(autojump_clock):
    async with background() as app:
        alice = await app.client("alice")
        made = await app.make(cron="* * * * *")
        team = app.peek(lambda unit: unit.kind(app.team_id))
        await app.store.write(lambda unit: unit.delete_kind(app.team_id))
        (told,) = await updates(alice, "FAILED")
        assert "there is no team" in told["error_message"]
        await app.store.write(
            lambda unit: unit.put_kind("Team", "default", "assistant", user_id=None, body=dict(team.body))
        )
        renewed = app.peek(lambda unit: unit.kind_named("Team", "default", "assistant", user_id=None)).id
        asked = ExecutionRequest(team_id=renewed, prompt="again", cron="* * * * *")
        await app.executions.change(app.who(), made.id, asked)
        await updates(alice, "COMPLETED")
        item = await app.item(made.id)
        assert (item.status, item.error_message, item.runs) == ("COMPLETED", None, 1)


async def test_a_run_that_fails_is_told_with_its_error(autojump_clock):
    async with background(fail(RunFailed("no water"))) as app:
        alice = await app.client("alice")
        await app.make()
        (told,) = await updates(alice, "FAILED")
        assert told["error_message"] == "no water"


async def test_nothing_is_run_for_a_user_who_is_not_active(autojump_clock):
    async with background() as app:
        made = await app.make(run_at=app.clock.now() + timedelta(minutes=1))
        await app.store.write(lambda unit: unit.update_user(app.users["alice"], active=False))
        await trio.sleep(2 * MINUTE)
        assert (await app.item(made.id)).status == "FAILED"
        assert app.tasks() == []


async def test_a_database_that_is_away_delays_and_loses_nothing(autojump_clock):
    async with background() as app:
        made = await app.make(run_at=app.clock.now() + timedelta(minutes=1))
        app.store.away_until = trio.current_time() + 5 * MINUTE
        await trio.sleep(5 * MINUTE + 30)
        assert (await app.item(made.id)).status == "COMPLETED"
        assert len(app.tasks()) == 1


async def test_a_schedule_whose_time_zone_is_no_more_ends_and_says_so(autojump_clock):
    async with background() as app:
        made = await app.make(cron="* * * * *", timezone="Europe/Berlin")
        await app.store.write(lambda unit: unit.update_execution(made.id, timezone="Mars/Olympus"))
        await trio.sleep(2 * MINUTE)
        item = await app.item(made.id)
        assert (item.status, item.next_at) == ("FAILED", None)
        assert "IANA" in item.error_message
        other = await app.make()
        await trio.sleep(1)
        assert (await app.item(other.id)).status == "COMPLETED"


async def test_others_know_nothing_of_it(autojump_clock):
    async with background() as app:
        made = await app.make(run_at=app.clock.now() + timedelta(hours=1))
        bob = app.who("bob")
        asked = ExecutionRequest(team_id=app.team_id, prompt="mine now")
        for call in (
            lambda: app.executions.get(bob, made.id),
            lambda: app.executions.delete(bob, made.id),
            lambda: app.executions.change(bob, made.id, asked),
            lambda: app.executions.get(bob, 12345),
        ):
            with pytest.raises(NotFound):
                await call()
        assert await app.executions.page(bob, before_id=None, limit=10) == []
        assert (await app.item(made.id)).prompt == "water the plants"


async def test_one_asks_only_teams_that_are_open_to_one(autojump_clock):
    async with background() as app:
        body = {"metadata": {}, "spec": {"members": [{"botRef": {"name": "assistant"}}]}}
        team = await app.store.write(
            lambda unit: unit.put_kind("Team", "default", "secret", user_id=app.users["bob"], body=body)
        )
        with pytest.raises((AccessDenied, NotFound)):
            await app.make(team_id=team.id)


async def test_what_has_run_is_not_changed_and_what_is_deleted_does_not_run(autojump_clock):
    async with background() as app:
        ran = await app.make()
        later = await app.make(run_at=app.clock.now() + timedelta(minutes=1))
        await trio.sleep(1)
        with pytest.raises(Conflict, match="has run"):
            await app.executions.change(app.who(), ran.id, ExecutionRequest(team_id=app.team_id, prompt="x"))
        await app.executions.delete(app.who(), later.id)
        await app.executions.delete(app.who(), ran.id)
        await trio.sleep(2 * MINUTE)
        assert len(app.tasks()) == 1


async def test_a_user_has_as_many_as_the_limit_says(autojump_clock):
    async with background() as app:
        for _ in range(5):
            await app.make(cron="0 0 1 1 *")
        with pytest.raises(Conflict, match="5 executions wait"):
            await app.make()
        await app.make("bob")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"cron": "* * * *"}, "five fields"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "61 * * * *"}, "bad minute"),
        ({"cron": "0 0 30 2 *"}, "bad day-of-month"),
        ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, "IANA"),
        ({"cron": "* * * * *", "timezone": "../../etc/passwd"}, "IANA"),
        ({"cron": "* * * * *", "timezone": "Europe"}, "IANA"),
        ({"timezone": "Europe/Berlin"}, "goes with `cron`"),
        ({"cron": "* * * * *", "run_at": datetime(2030, 1, 1, tzinfo=UTC)}, "got both"),
        ({"run_at": datetime(1, 1, 1, tzinfo=UTC)}, "from 2000 to 8999"),
        ({"prompt": " \n"}, "some text"),
    ],
)
async def test_what_is_no_time_is_refused_with_what_would_be(autojump_clock, asked, says):
    async with background() as app:
        with pytest.raises(InvalidPayload, match=says):
            await app.make(**asked)

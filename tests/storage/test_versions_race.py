"""Of writers who have read the same version of what is edited over REST one succeeds, on every store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from attrs import frozen

from wegent.core.clock import SystemClock
from wegent.core.errors import NotFound, Outdated
from wegent.core.instruments import Registry
from wegent.core.model import Principal
from wegent.core.rooms import Rooms
from wegent.protocol.executions import ExecutionRequest
from wegent.server.api.executions import execution_version
from wegent.server.api.knowledge import base_version
from wegent.server.api.tasks import task_version
from wegent.server.api.users import user_version
from wegent.server.auth import TokenAuth
from wegent.server.changing import Changing
from wegent.server.evicting import Evictions
from wegent.server.execution_view import ExecutionTeller
from wegent.server.executions import Executions
from wegent.server.knowledge import KnowledgeBases, KnowledgeLimits
from wegent.server.passwords import Passwords
from wegent.server.ports.store import Store
from wegent.server.sending import Sending
from wegent.server.targets import Targets
from wegent.server.teams import CHAT_SHELL, add_defaults
from wegent.server.telling import Teller
from wegent.server.tokens import Signer
from wegent.server.updates import Updates
from wegent.server.users import Changes, Users
from wegent.storage import open_store
from wegent.testing.store_scene import task, user

WRITERS = 6
ROUNDS = 5
LATER = datetime(2090, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite", "mariadb", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")


@frozen
class Place:
    """A row that is edited: its version as it was read, and ways to change, delete and read it."""

    version: str
    change: Callable[[str, Any], Awaitable[Any]]
    delete: Callable[[Any], Awaitable[Any]]
    read: Callable[[], Awaitable[str]]
    version_of: Callable[[Any], str]

    def unchanged(self, row: Any) -> None:
        if self.version_of(row) != self.version:
            raise Outdated("it has changed")


Make = Callable[[Store, Principal], Awaitable[Place]]


async def a_task(store: Store, who: Principal) -> Place:
    clock, rooms = SystemClock(), Rooms(Registry())
    changing = Changing(store, clock, Teller(rooms), Updates(rooms), Evictions(rooms), lambda row, attempt: None)

    def make(unit: Any) -> Any:
        return task(unit, unit.user(who.user_id))

    made = await store.write(make)

    async def read() -> str:
        return (await store.read(lambda unit: unit.task(made.id))).title

    return Place(
        task_version(made),
        lambda text, condition: changing.rename(who, made.id, text, condition),
        lambda condition: changing.delete(who, made.id, condition),
        read,
        task_version,
    )


async def an_execution(store: Store, who: Principal) -> Place:
    """One whose time stays the same, so that nothing but its text tells that it was changed."""
    clock, rooms = SystemClock(), Rooms(Registry())
    sending = Sending(store, clock, rooms, Teller(rooms), lambda row: None, Targets(clock, [CHAT_SHELL], CHAT_SHELL))
    executions = Executions(store, clock, sending, ExecutionTeller(rooms))
    team = await store.read(lambda unit: unit.kind_named("Team", "default", "assistant", user_id=None))
    assert team is not None
    team_id = team.id

    def asked(text: str) -> ExecutionRequest:
        return ExecutionRequest(team_id=team_id, prompt=text, run_at=LATER)

    made = (await executions.make(who, asked("first"))).execution

    async def read() -> str:
        return (await executions.get(who, made.id)).execution.prompt

    return Place(
        execution_version(made),
        lambda text, condition: executions.change(who, made.id, asked(text), condition),
        lambda condition: executions.delete(who, made.id, condition),
        read,
        execution_version,
    )


async def a_base(store: Store, who: Principal) -> Place:
    bases = KnowledgeBases(store, KnowledgeLimits())
    made = await bases.make(who, "first")

    async def read() -> str:
        return (await bases.get(who, made.id)).name

    return Place(
        base_version(made),
        lambda text, condition: bases.rename(who, made.id, text, condition),
        lambda condition: bases.delete(who, made.id, condition),
        read,
        base_version,
    )


async def an_avatar(store: Store, who: Principal) -> Place:
    clock = SystemClock()
    users = Users(store, TokenAuth(store, Signer(b"s" * 64), clock, Passwords(), ttl=0.0), clock)

    async def change(text: str, condition: Any) -> None:
        await users.change_me(who, Changes(avatar=text), None, condition)

    async def delete(condition: Any) -> None:
        raise AssertionError("nobody deletes users")

    async def read() -> str:
        return (await users.me(who)).avatar or ""

    return Place(user_version(await users.me(who)), change, delete, read, user_version)


async def owner_of(store: Store) -> Principal:
    await store.write(add_defaults)
    owner = await store.write(user)
    return Principal(owner.id, owner.user_name)


async def race(writes: list[Callable[[], Awaitable[Any]]]) -> list[int]:
    """Which of these succeed, all begun at once."""
    won: list[int] = []

    async def write(number: int) -> None:
        try:
            await writes[number]()
        except (Outdated, NotFound):  # there is nothing to find where another one has deleted it
            return
        won.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(len(writes)):
            nursery.start_soon(write, number)
    return won


@pytest.mark.parametrize("make", [a_task, an_execution, a_base, an_avatar])
async def test_of_many_who_change_one_version_one_succeeds(url: str, make: Make) -> None:
    async with open_store(url, clock=SystemClock()) as store:
        who = await owner_of(store)
        for _ in range(ROUNDS):
            place = await make(store, who)
            texts = [f"text {number} of {place.version}" for number in range(WRITERS)]
            writes = [lambda text=text, at=place: at.change(text, at.unchanged) for text in texts]
            won = await race(writes)
            assert [texts[number] for number in won] == [await place.read()]


@pytest.mark.parametrize("make", [a_task, an_execution, a_base])
async def test_of_those_who_change_and_delete_one_version_one_succeeds(url: str, make: Make) -> None:
    async with open_store(url, clock=SystemClock()) as store:
        who = await owner_of(store)
        for _ in range(ROUNDS):
            place = await make(store, who)
            changes = [lambda at=place: at.change("changed", at.unchanged)] * (WRITERS // 2)
            deletions = [lambda at=place: at.delete(at.unchanged)] * (WRITERS // 2)
            both = zip(changes, deletions, strict=True)
            assert len(await race([write for pair in both for write in pair])) == 1


async def test_a_base_that_is_made_again_is_another_version(url: str) -> None:
    async with open_store(url, clock=SystemClock()) as store:
        who = await owner_of(store)
        old = await a_base(store, who)
        await old.delete(old.unchanged)
        assert (await a_base(store, who)).version != old.version


async def test_asked_in_a_unit_of_its_own_a_condition_lets_many_through() -> None:
    """The race finds it where the condition is not asked in the unit that writes."""
    async with open_store("memory://", clock=SystemClock()) as store:
        who = await owner_of(store)
        bases = KnowledgeBases(store, KnowledgeLimits())
        made = await bases.make(who, "first")

        async def write() -> None:
            if base_version(await bases.get(who, made.id)) != base_version(made):
                raise Outdated("it has changed")
            await bases.rename(who, made.id, "second")

        assert len(await race([write] * WRITERS)) > 1

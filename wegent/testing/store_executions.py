"""What every store must do with background work."""

from __future__ import annotations

import pytest
import trio

from wegent.core.errors import InvalidPayload, NotFound
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Execution, User
from wegent.testing.store_scene import NOON, SECOND, user


def execution(unit: Unit, owner: User, **fields: object) -> Execution:
    """One that is due at noon."""
    given = {"user_id": owner.id, "team_id": 1, "prompt": "water the plants", "next_at": NOON, **fields}
    return unit.add_execution(**given)  # type: ignore[arg-type]


class ExecutionsContract:
    """What runs in the background, and when."""

    async def test_an_execution_is_made_then_changed_then_removed(self, store: Store) -> None:
        owner = await store.write(user)
        fields = {"run_at": NOON, "cron": "0 7 * * *", "timezone": "Europe/Berlin", "prompt": "grüß 🌱"}
        made = await store.write(lambda unit: execution(unit, owner, **fields))
        assert {name: getattr(made, name) for name in fields} == fields
        assert (made.runs, made.task_id, made.subtask_id, made.failed) == (0, None, None, None)
        assert await store.read(lambda unit: unit.execution(made.id)) == made
        changes = {"next_at": None, "runs": 2, "task_id": 5, "subtask_id": 2**50, "failed": "no such team"}
        changed = await store.write(lambda unit: unit.take_execution(made.id, NOON, **changes))
        assert changed is not None
        assert {name: getattr(changed, name) for name in changes} == changes
        assert await store.read(lambda unit: unit.execution(made.id)) == changed
        again = await store.write(lambda unit: unit.update_execution(made.id, runs=3))
        assert (again.runs, again.task_id) == (3, 5)
        assert await store.write(lambda unit: unit.take_execution(made.id, NOON, runs=9)) is None
        await store.write(lambda unit: unit.delete_execution(made.id))
        assert await store.read(lambda unit: unit.execution(made.id)) is None
        with pytest.raises(NotFound):
            await store.write(lambda unit: unit.delete_execution(made.id))

    async def test_executions_are_listed_newest_first_and_are_a_users_own(self, store: Store) -> None:
        owner, other = await store.write(lambda unit: (user(unit), user(unit)))
        rows = [await store.write(lambda unit: execution(unit, owner)) for _ in range(3)]
        theirs = await store.write(lambda unit: execution(unit, other, next_at=None))
        assert await store.read(lambda unit: unit.executions(owner.id)) == rows[::-1]
        assert await store.read(lambda unit: unit.executions(owner.id, before_id=rows[2].id, limit=1)) == [rows[1]]
        assert await store.read(lambda unit: unit.executions(other.id)) == [theirs]
        assert await store.read(lambda unit: unit.count_scheduled(owner.id)) == 3
        assert await store.read(lambda unit: unit.count_scheduled(other.id)) == 0

    async def test_what_is_due_comes_by_its_time(self, store: Store) -> None:
        owner = await store.write(user)
        early = NOON.replace(year=2001)
        late, first, second = [
            await store.write(lambda unit, at=at: execution(unit, owner, next_at=at))  # type: ignore[misc]
            for at in (early + 2 * SECOND, early, early + SECOND)
        ]

        def mine(unit: Unit, limit: int) -> list[Execution]:
            return [row for row in unit.due_executions(early + SECOND, limit=limit) if row.user_id == owner.id]

        assert await store.read(lambda unit: mine(unit, 100)) == [first, second]
        assert await store.read(lambda unit: mine(unit, 1)) == [first]
        assert await store.read(lambda unit: unit.next_execution_at()) == early
        for row in (first, second, late):
            await store.write(lambda unit, row=row: unit.delete_execution(row.id))  # type: ignore[misc]
        assert await store.read(lambda unit: mine(unit, 100)) == []

    async def test_of_many_who_would_take_one_time_one_does(self, store: Store) -> None:
        owner = await store.write(user)
        made = await store.write(lambda unit: execution(unit, owner))
        taken: list[Execution | None] = []

        async def take() -> None:
            changes = {"next_at": NOON + SECOND, "runs": 1}
            taken.append(await store.write(lambda unit: unit.take_execution(made.id, NOON, **changes)))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(take)
        assert sum(each is not None for each in taken) == 1

    async def test_an_execution_that_cannot_be_kept_is_refused(self, store: Store) -> None:
        owner = await store.write(user)
        nobody = User(2**52, "x", None, "user", active=True, created_at=NOON)
        with pytest.raises(NotFound):
            await store.write(lambda unit: execution(unit, nobody))
        for fields in ({"prompt": "a\0b"}, {"cron": "x" * 256}):
            with pytest.raises(InvalidPayload):
                await store.write(lambda unit, fields=fields: execution(unit, owner, **fields))  # type: ignore[misc]
        with pytest.raises(TypeError):
            await store.write(lambda unit: execution(unit, owner, nonsense=1))

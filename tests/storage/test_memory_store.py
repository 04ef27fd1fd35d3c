"""What the store in memory has of its own: points where tests can schedule, and rows that nobody can change."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import trio
import trio.testing
from hypothesis import given, settings

from wegent.core.clock import VirtualClock
from wegent.core.errors import NotFound, StoreAway
from wegent.server.ports.store import Unit
from wegent.storage import MemoryStore
from wegent.testing.store_scene import answer, message, scene, task, user


class Slow(MemoryStore):
    """Takes a second before each unit, and one after it."""

    async def _pause(self) -> None:
        await trio.sleep(1)


async def test_a_unit_happens_between_two_pauses(autojump_clock: trio.testing.MockClock) -> None:
    store = Slow(VirtualClock())
    made = await store.write(user)
    assert trio.current_time() == 2
    assert made.created_at.timestamp() == VirtualClock().time() - 1


async def test_a_cancelled_caller_still_gets_what_was_done(autojump_clock: trio.testing.MockClock) -> None:
    store = Slow(VirtualClock())
    got = []
    with trio.move_on_after(1.5) as scope:
        got.append(await store.write(user))
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert len(got) == 1
    with trio.move_on_after(0.5) as scope:
        await store.write(user)
    assert scope.cancelled_caught
    assert await store.read(lambda unit: unit.users()) == got


async def test_a_store_that_goes_away_after_a_unit_has_done_it() -> None:
    class Fickle(MemoryStore):
        __slots__ = ("pauses",)

        async def _pause(self) -> None:
            self.pauses -= 1
            if self.pauses == 0:
                raise StoreAway("gone")
            await super()._pause()

    store = Fickle(VirtualClock())
    store.pauses = 2
    with pytest.raises(StoreAway):
        await store.write(user)
    assert len(await store.read(lambda unit: unit.users())) == 1
    store.pauses = 1
    with pytest.raises(StoreAway):
        await store.write(user)
    assert len(await store.read(lambda unit: unit.users())) == 1


async def test_rows_do_not_change_with_what_they_were_made_of() -> None:
    store = MemoryStore(VirtualClock())
    result = {"value": ["a"]}
    _, _, row = await scene(store, lambda unit, owner, made: message(unit, made, owner, result=result))
    result["value"].append("b")
    assert (await store.read(lambda unit: unit.subtask(row.id))).result == {"value": ["a"]}  # type: ignore[union-attr]


STEPS = st.lists(
    st.sampled_from(
        ["user", "rename", "task", "touch", "message", "answer", "finish", "member", "kind", "beat", "drop"]
    ),
    max_size=12,
)


def do(unit: Unit, step: str, number: int) -> None:
    owner = unit.users()[0]
    tasks = unit.tasks_of(owner.id)
    if step == "user":
        user(unit)
    elif step == "rename":
        unit.update_user(owner.id, user_name=f"name-{number}")
    elif step == "task":
        task(unit, owner)
    elif step == "touch":
        unit.touch(tasks[-1].id)
    elif step == "message":
        message(unit, tasks[0], owner, client_message_id=f"c{number}")
    elif step == "answer":
        answer(unit, tasks[0], owner, target="t", claimable_at=owner.created_at)
    elif step == "finish":
        for row in unit.unfinished(tasks[0].id):
            unit.update_subtask(row.id, task=unit.touch(tasks[0].id), status="COMPLETED")
    elif step == "member":
        unit.put_member(tasks[0].id, owner.id, last_read_message_id=number)
    elif step == "kind":
        unit.put_kind("Bot", "default", f"k{number % 2}", user_id=None, body={"n": number})
    elif step == "beat":
        unit.beat("w")
    else:
        unit.forget_owner("w")


def everything(store: MemoryStore) -> dict[str, Any]:
    tables = vars(store._tables)
    return {
        name: {key: value for key, value in table.items() if value != ()}
        for name, table in tables.items()
        if isinstance(table, dict) and name != "_ids"
    }


@settings(max_examples=100, deadline=None)
@given(kept=STEPS, undone=STEPS)
def test_a_unit_that_raises_leaves_every_table_as_it_was(kept: list[str], undone: list[str]) -> None:
    async def main() -> None:
        store = MemoryStore(VirtualClock())
        await scene(store)

        def work(steps: list[str], *, fail: bool, start: int) -> Any:
            def run(unit: Unit) -> None:
                for number, step in enumerate(steps):
                    do(unit, step, start + number)
                if fail:
                    raise NotFound("on purpose")

            return run

        await store.write(work(kept, fail=False, start=0))
        before = everything(store)
        with pytest.raises(NotFound):
            await store.write(work(undone, fail=True, start=100))
        assert everything(store) == before

    trio.run(main)

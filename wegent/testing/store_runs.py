"""What every store must do with runs: who holds one, and what a stream had said."""

from __future__ import annotations

import trio

from wegent.core.model import StreamId
from wegent.server.owners import device_owner, host_owner
from wegent.server.ports.store import Store, Unit
from wegent.server.records import SavedPart, Subtask, Task, User
from wegent.testing.store_scene import answer, scene, unique


class RunsContract:
    """RUNNING and CANCELLING."""

    async def test_rows_that_are_held_are_found_by_owner(self, store: Store) -> None:
        mine, theirs = unique("w"), unique("w")

        def work(unit: Unit, owner: User, made: Task) -> list[Subtask]:
            held = [("RUNNING", mine), ("CANCELLING", mine), ("RUNNING", theirs), ("COMPLETED", mine)]
            return [answer(unit, made, owner, status=s, owner=o, lease="l") for s, o in held]

        _, made, rows = await scene(store, work)
        assert await store.read(lambda unit: unit.running([mine])) == rows[:2]
        assert await store.read(lambda unit: unit.running([mine, theirs])) == rows[:3]
        assert await store.read(lambda unit: unit.running([])) == []
        everybody = {row.id for row in await store.read(lambda unit: unit.running())}
        assert {row.id for row in rows[:3]} <= everybody
        assert rows[3].id not in everybody
        owned = await store.read(lambda unit: unit.owned(mine))
        assert owned == [(rows[0].id, 1, "l", "RUNNING"), (rows[1].id, 1, "l", "CANCELLING")]
        assert await store.read(lambda unit: unit.unfinished(made.id)) == rows[:3]
        assert await store.read(lambda unit: (unit.holding(mine), unit.holding(unique("w")))) == (2, 0)
        holders = await store.read(lambda unit: unit.holders())
        assert {mine, theirs} <= holders

    async def test_rows_of_hosts_and_devices_are_told_from_those_of_workers(self, store: Store) -> None:
        owners = [unique("w"), host_owner(unique("h%_"), 1, 1), device_owner(7, unique("d")), unique("hostel")]

        def work(unit: Unit, owner: User, made: Task) -> list[Subtask]:
            return [answer(unit, made, owner, status="RUNNING", owner=each, lease="l") for each in owners]

        _, _, rows = await scene(store, work)
        remote = [row for row in await store.read(lambda unit: unit.running_remote()) if row.owner in owners]
        assert remote == rows[1:3]

    async def test_an_attempt_is_marked_as_heard_of_without_a_revision(self, store: Store) -> None:
        _, made, row = await scene(store, lambda unit, owner, made: answer(unit, made, owner))
        assert not row.reported
        await store.write(lambda unit: unit.set_reported([]))
        await store.write(lambda unit: unit.set_reported([row.id, 2**52]))
        after = await store.read(lambda unit: unit.subtask(row.id))
        assert after is not None
        assert (after.reported, after.revision, after.updated_at) == (True, row.revision, row.updated_at)
        again = await store.write(lambda unit: unit.update_subtask(row.id, task=unit.touch(made.id), reported=False))
        assert not again.reported

    async def test_a_beat_only_grows_until_it_is_forgotten(self, store: Store) -> None:
        owner = unique("w")

        async def seen() -> list[int]:
            return [each.beat for each in await store.read(lambda unit: unit.beats()) if each.owner == owner]

        assert await seen() == []
        await store.write(lambda unit: unit.beat(owner))
        (first,) = await seen()
        for expected in (first + 1, first + 2):
            await store.write(lambda unit: unit.beat(owner))
            assert await seen() == [expected]
        assert await store.write(lambda unit: unit.forget_owner(owner))
        assert await seen() == []
        assert not await store.write(lambda unit: unit.forget_owner(owner))
        await store.write(lambda unit: unit.beat(owner))
        (again,) = await seen()
        assert again not in (first, first + 1, first + 2)

    async def test_an_owner_is_forgotten_only_with_the_beat_that_was_seen(self, store: Store) -> None:
        owner, other = unique("w"), unique("w")

        async def seen() -> dict[str, int]:
            found = await store.read(lambda unit: unit.beats())
            return {each.owner: each.beat for each in found if each.owner in (owner, other)}

        await store.write(lambda unit: (unit.beat(owner), unit.beat(other)))
        was = await seen()
        await store.write(lambda unit: unit.beat(owner))
        assert not await store.write(lambda unit: unit.forget_owner(owner, beat=was[owner]))
        assert await seen() == {**was, owner: was[owner] + 1}
        assert await store.write(lambda unit: unit.forget_owner(owner, beat=was[owner] + 1))
        assert await seen() == {other: was[other]}
        assert not await store.write(lambda unit: unit.forget_owner(owner, beat=was[owner] + 1))

    async def test_of_two_who_forget_an_owner_at_once_one_does(self, store: Store) -> None:
        owner = unique("w")
        await store.write(lambda unit: unit.beat(owner))
        (beat,) = [each.beat for each in await store.read(lambda unit: unit.beats()) if each.owner == owner]
        done: list[bool] = []

        async def forget() -> None:
            done.append(await store.write(lambda unit: unit.forget_owner(owner, beat=beat)))

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(forget)
        assert sorted(done) == [False] * 5 + [True]

    async def test_saved_parts_are_replaced_at_their_offset_and_dropped(self, store: Store) -> None:
        _, made, row = await scene(store, lambda unit, owner, made: answer(unit, made, owner))
        stream, later = StreamId(made.id, row.id, 1), StreamId(made.id, row.id, 2)
        first = [
            SavedPart(stream, "thinking", 0, "hm"),
            SavedPart(stream, "content", 5, "wor"),
            SavedPart(stream, "content", 0, "hello"),
            SavedPart(later, "content", 0, "again"),
        ]
        await store.write(lambda unit: unit.save_parts(first))
        longer = SavedPart(stream, "content", 5, "world" * 20_000)
        await store.write(lambda unit: unit.save_parts([longer]))
        await store.write(lambda unit: unit.save_parts([]))
        saved = await store.read(lambda unit: unit.saved_parts(stream))
        assert saved == [first[2], longer, first[0]]
        await store.write(lambda unit: unit.drop_parts(stream))
        assert await store.read(lambda unit: unit.saved_parts(stream)) == []
        assert await store.read(lambda unit: unit.saved_parts(later)) == [first[3]]

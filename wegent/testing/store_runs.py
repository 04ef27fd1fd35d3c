"""What every store must do with runs: who may claim one, who holds one, and what a stream had said."""

from __future__ import annotations

from collections.abc import Collection

from wegent.core.model import StreamId
from wegent.server.ports.store import Store, Unit
from wegent.server.records import SavedPart, Subtask, Task, User
from wegent.testing.store_scene import NOON, SECOND, answer, message, scene, task, unique


class RunsContract:
    """PENDING, RUNNING, CANCELLING."""

    async def test_a_pending_row_is_claimable_once_its_time_has_come(self, store: Store) -> None:
        target = unique("t")

        def work(unit: Unit, owner: User, made: Task) -> tuple[Subtask, Subtask]:
            timed = answer(unit, made, owner, target=target, claimable_at=NOON)
            return timed, answer(unit, task(unit, owner), owner, target=target)

        _, _, (timed, held) = await scene(store, work)
        assert await self._claimable(store, target, before=True) == []
        assert await self._claimable(store, target) == [timed.id]
        assert await self._claimable(store, target, before=True, released=[held.id]) == [held.id]
        assert await self._claimable(store, target, released=[held.id, timed.id]) == [timed.id, held.id]
        assert await self._claimable(store, target, released=[held.id], limit=1) == [timed.id]
        assert await self._claimable(store, unique("t"), released=[held.id]) == []
        row = (await store.read(lambda unit: unit.claimable([target, "x"], now=NOON)))[0]
        assert row == timed

    async def test_no_targets_claim_nothing(self, store: Store) -> None:
        assert await store.read(lambda unit: unit.claimable([], now=NOON)) == []

    async def test_of_a_task_only_the_oldest_row_is_claimable(self, store: Store) -> None:
        target = unique("t")

        def work(unit: Unit, owner: User, made: Task) -> list[Subtask]:
            return [answer(unit, made, owner, target=target, claimable_at=NOON) for _ in range(2)]

        _, made, (first, second) = await scene(store, work)
        assert await self._claimable(store, target, released=[second.id]) == [first.id]
        for status, expected in (("RUNNING", []), ("CANCELLING", []), ("COMPLETED", [second.id])):
            await self._set(store, made, first, status=status)
            assert await self._claimable(store, target) == expected

    async def test_an_older_row_that_is_not_due_or_of_another_target_blocks_too(self, store: Store) -> None:
        target = unique("t")

        def work(unit: Unit, owner: User, made: Task) -> Subtask:
            answer(unit, made, owner, target=unique("other"))
            return answer(unit, made, owner, target=target, claimable_at=NOON)

        _, _, row = await scene(store, work)
        assert await self._claimable(store, target, released=[row.id]) == []

    async def test_removed_rows_and_those_of_removed_tasks_are_not_claimable(self, store: Store) -> None:
        target = unique("t")

        def work(unit: Unit, owner: User, made: Task) -> tuple[Task, Subtask, Subtask]:
            gone = answer(unit, made, owner, target=target, claimable_at=NOON)
            unit.update_subtask(gone.id, task=unit.touch(made.id), deleted=True)
            other = task(unit, owner)
            return other, gone, answer(unit, other, owner, target=target, claimable_at=NOON)

        _, made, (other, _, kept) = await scene(store, work)
        assert await self._claimable(store, target) == [kept.id]
        await store.write(lambda unit: unit.update_task(other.id, deleted=True))
        assert await self._claimable(store, target) == []
        assert await store.read(lambda unit: unit.unfinished(made.id)) == []

    async def test_a_pending_row_of_a_user_is_no_run(self, store: Store) -> None:
        target = unique("t")

        def work(unit: Unit, owner: User, made: Task) -> None:
            message(unit, made, owner, status="PENDING", target=target, claimable_at=NOON)

        _, made, _ = await scene(store, work)
        assert await self._claimable(store, target) == []
        assert await store.read(lambda unit: unit.unfinished(made.id)) == []

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

    async def test_a_beat_only_grows_until_it_is_forgotten(self, store: Store) -> None:
        owner = unique("w")

        async def seen() -> list[int]:
            return [each.beat for each in await store.read(lambda unit: unit.beats()) if each.owner == owner]

        assert await seen() == []
        for expected in (1, 2, 3):
            await store.write(lambda unit: unit.beat(owner))
            assert await seen() == [expected]
        await store.write(lambda unit: unit.forget_owner(owner))
        assert await seen() == []
        await store.write(lambda unit: unit.forget_owner(owner))

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

    async def _claimable(
        self,
        store: Store,
        target: str,
        *,
        before: bool = False,
        released: Collection[int] = (),
        limit: int = 100,
    ) -> list[int]:
        now = NOON - SECOND if before else NOON

        def work(unit: Unit) -> list[int]:
            rows = unit.claimable([target], now=now, released=released, limit=limit)
            return [row.id for row in rows]

        return await store.read(work)

    async def _set(self, store: Store, made: Task, row: Subtask, **changes: str) -> None:
        await store.write(lambda unit: unit.update_subtask(row.id, task=unit.touch(made.id), **changes))

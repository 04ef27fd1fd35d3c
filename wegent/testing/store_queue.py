"""What every store must do with the queue: what can be claimed, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import trio

from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task, User, Waiting
from wegent.testing.store_scene import NOON, SECOND, answer, message, scene, task, unique, user


class QueueContract:
    """PENDING."""

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
        assert await self._claimable(store, target, limit=0) == []
        assert await self._claimable(store, unique("t"), released=[held.id]) == []
        row = (await store.read(lambda unit: unit.queue(target, now=NOON, limit=1, per_user=1)))[0]
        assert row == Waiting(timed.id, timed.task_id, 1, timed.sender_id, timed.updated_at)

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

    async def test_users_take_turns_with_their_oldest_rows(self, store: Store) -> None:
        target = unique("t")
        rows = await self._rows_of(store, target, [3, 2, 1])
        first, second, third = rows
        line = [first[0], second[0], third[0], first[1], second[1], first[2]]
        assert await self._claimable(store, target) == [row.id for row in line]
        assert await self._claimable(store, target, limit=4) == [row.id for row in line[:4]]

        def serve(unit: Unit) -> list[int]:
            turn = unit.take_turns(target, 2)
            unit.served(target, first[0].sender_id, turn + 1)
            unit.served(target, third[0].sender_id, turn)
            return [turn, unit.take_turns(target, 1)]

        assert await store.write(serve) == [1, 3]
        line = [second[0], third[0], first[0], second[1], first[1], first[2]]
        assert await self._claimable(store, target) == [row.id for row in line]
        await store.write(lambda unit: unit.served(target, second[0].sender_id, 4))
        line = [third[0], first[0], second[0], first[1], second[1], first[2]]
        assert await self._claimable(store, target) == [row.id for row in line]

    async def test_turns_of_one_target_are_not_those_of_another(self, store: Store) -> None:
        target, other = unique("t"), unique("t")
        first, second = await self._rows_of(store, target, [1, 1])

        def serve(unit: Unit) -> int:
            unit.served(other, first[0].sender_id, unit.take_turns(other, 5))
            return unit.take_turns(target, 1)

        assert await store.write(serve) == 1
        assert await self._claimable(store, target) == [first[0].id, second[0].id]

    async def test_who_has_as_much_as_one_may_is_passed_over(self, store: Store) -> None:
        target = unique("t")
        first, second = await self._rows_of(store, target, [4, 2])

        def run(unit: Unit) -> None:
            for row, status in ((first[0], "RUNNING"), (first[1], "CANCELLING")):
                unit.update_subtask(row.id, task=unit.touch(row.task_id), status=status)
            elsewhere = task(unit, user(unit))
            answer(unit, elsewhere, user(unit), target=target, status="RUNNING")

        await store.write(run)
        expected = {1: [second[0]], 2: [second[0], second[1]], 3: [second[0], first[2], second[1]]}
        for per_user, rows in expected.items():
            assert await self._claimable(store, target, per_user=per_user) == [row.id for row in rows]

    async def test_what_waits_is_counted_by_target(self, store: Store) -> None:
        target = unique("t")
        first, _ = await self._rows_of(store, target, [3, 1])
        assert (await store.read(lambda unit: unit.depths()))[target] == 4

        def change(unit: Unit) -> None:
            unit.update_subtask(first[0].id, task=unit.touch(first[0].task_id), status="RUNNING")
            unit.update_subtask(first[1].id, task=unit.touch(first[1].task_id), deleted=True)

        await store.write(change)
        depths = await store.read(lambda unit: unit.depths())
        assert depths[target] == 2
        assert unique("t") not in depths

    async def test_claimers_at_once_take_no_row_twice_and_give_each_user_as_many(self, store: Store) -> None:
        target = unique("t")
        rows = await self._rows_of(store, target, [9, 9, 9])
        taken: list[Subtask] = []

        def claim(unit: Unit) -> list[Subtask]:
            turn = unit.take_turns(target, 3)
            got = []
            for index, row in enumerate(unit.queue(target, now=NOON, limit=3, per_user=100)):
                got.append(unit.update_subtask(row.id, task=unit.touch(row.task_id), status="RUNNING"))
                unit.served(target, row.user_id, turn + index)
            return got

        async def claimer() -> None:
            while got := await store.write(claim):
                taken.extend(got)
                counts = Counter(row.sender_id for row in taken).values()
                assert max(counts) - min(counts) <= 1 or len(taken) < 9

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(claimer)
        assert sorted(row.id for row in taken) == sorted(row.id for each in rows for row in each)

    async def _rows_of(self, store: Store, target: str, counts: list[int]) -> list[list[Subtask]]:
        """As many due rows for each of some new users, each in a task of its own, made in turns."""

        def work(unit: Unit) -> list[list[Subtask]]:
            users = [user(unit) for _ in counts]
            rows: list[list[Subtask]] = [[] for _ in counts]
            for index in range(max(counts)):
                for who, count, mine in zip(users, counts, rows, strict=True):
                    if index < count:
                        mine.append(answer(unit, task(unit, who), who, target=target, claimable_at=NOON))
            return rows

        return await store.write(work)

    async def _claimable(
        self,
        store: Store,
        target: str,
        *,
        before: bool = False,
        released: Collection[int] = (),
        limit: int = 100,
        per_user: int = 100,
    ) -> list[int]:
        now = NOON - SECOND if before else NOON

        def work(unit: Unit) -> list[int]:
            rows = unit.queue(target, now=now, released=released, limit=limit, per_user=per_user)
            return [row.id for row in rows]

        return await store.read(work)

    async def _set(self, store: Store, made: Task, row: Subtask, **changes: str) -> None:
        await store.write(lambda unit: unit.update_subtask(row.id, task=unit.touch(made.id), **changes))

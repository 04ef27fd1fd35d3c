"""What every store must do with tasks and their messages."""

from __future__ import annotations

import pytest

from wegent.core.errors import Conflict, NotFound
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task, User
from wegent.testing.store_scene import NOON, answer, message, scene, task, unique


def talk(unit: Unit, owner: User, made: Task) -> list[Subtask]:
    """Six messages: question and answer, three times."""
    rows = []
    for _ in range(3):
        rows.append(message(unit, made, owner, prompt="?"))
        rows.append(answer(unit, made, owner, status="COMPLETED", content="!"))
    return rows


def ids(rows: list[Subtask]) -> list[int]:
    """Their message ids."""
    return [row.message_id for row in rows]


class RowsContract:
    """What was said, in what order, and what has changed since."""

    async def test_a_task_starts_at_revision_one(self, store: Store) -> None:
        def work(unit: Unit, owner: User, _: Task) -> Task:
            return task(unit, owner, messages=2, status="PENDING", device_id="d", options={"a": [1]})

        owner, _, made = await scene(store, work)
        assert (made.revision, made.last_message_id, made.owner_id) == (1, 2, owner.id)
        assert (made.status, made.progress, made.deleted) == ("PENDING", 0, False)
        assert (made.device_id, made.options, made.created_at) == ("d", {"a": [1]}, made.updated_at)
        assert await store.read(lambda unit: unit.task(made.id)) == made

    async def test_touch_counts_and_takes_no_deleted_task(self, store: Store) -> None:
        _, made, _ = await scene(store)
        touched = await store.write(lambda unit: unit.touch(made.id, messages=2))
        assert (touched.revision, touched.last_message_id) == (2, 2)
        touched = await store.write(lambda unit: unit.touch(made.id))
        assert (touched.revision, touched.last_message_id) == (3, 2)
        assert touched.updated_at >= made.updated_at
        gone = await store.write(lambda unit: unit.update_task(made.id, deleted=True))
        assert gone.revision == 3
        with pytest.raises(NotFound):
            await store.write(lambda unit: unit.touch(made.id))
        assert await store.read(lambda unit: unit.task(made.id)) == gone

    async def test_a_task_is_changed(self, store: Store) -> None:
        _, made, _ = await scene(store)
        changes = {"status": "FAILED", "progress": 50, "completed_at": NOON, "options": {"x": 1}, "title": "T"}
        changed = await store.write(lambda unit: unit.update_task(made.id, **changes))
        assert {name: getattr(changed, name) for name in changes} == changes
        assert await store.read(lambda unit: unit.task(made.id)) == changed
        back = await store.write(lambda unit: unit.update_task(made.id, completed_at=None))
        assert back.completed_at is None

    async def test_tasks_come_last_changed_first_in_pages(self, store: Store) -> None:
        def work(unit: Unit, owner: User, made: Task) -> None:
            for _ in range(5):
                task(unit, owner)

        owner, first, _ = await scene(store, work)
        await store.write(lambda unit: unit.touch(first.id))
        rows = await store.read(lambda unit: unit.tasks_of(owner.id))
        assert rows == sorted(rows, key=lambda row: (row.updated_at, row.id), reverse=True)
        assert rows[0].id == first.id
        assert len(rows) == 6
        seen = rows[:2]
        while len(seen) < 6:
            mark = (seen[-1].updated_at, seen[-1].id)
            page = await store.read(lambda unit, mark=mark: unit.tasks_of(owner.id, limit=2, before=mark))  # type: ignore[misc]
            assert page
            seen += page
        assert seen == rows

    async def test_tasks_are_searched_by_status_and_title(self, store: Store) -> None:
        def work(unit: Unit, owner: User, made: Task) -> None:
            task(unit, owner, title="100 % ÄRGER", status="FAILED")
            task(unit, owner, title="100 x Straße_1/2")
            unit.update_task(made.id, title="Altes", deleted=True)

        owner, _, _ = await scene(store, work)

        async def found(query: str | None = None, status: str | None = None) -> list[str]:
            rows = await store.read(lambda unit: unit.tasks_of(owner.id, query=query, status=status))
            return sorted(row.title for row in rows)

        assert await found() == ["100 % ÄRGER", "100 x Straße_1/2"]
        assert await found("ärger") == ["100 % ÄRGER"]
        assert await found("STRASSE_1") == ["100 x Straße_1/2"]
        assert await found("0 % ") == ["100 % ÄRGER"]
        assert await found("e_1/") == ["100 x Straße_1/2"]
        assert await found("0_x") == []
        assert await found("altes") == []
        assert await found(status="FAILED") == ["100 % ÄRGER"]
        assert await found("100", status="COMPLETED") == ["100 x Straße_1/2"]

    async def test_a_changed_title_is_found(self, store: Store) -> None:
        owner, made, _ = await scene(store)
        await store.write(lambda unit: unit.update_task(made.id, title="NEU"))
        found = await store.read(lambda unit: unit.tasks_of(owner.id, query="neu"))
        assert [row.id for row in found] == [made.id]

    async def test_a_message_is_as_it_was_made(self, store: Store) -> None:
        fields = {
            "prompt": "hi",
            "contexts": ({"type": "text", "text": "t"}, {"type": "attachment", "id": 4}),
            "client_message_id": unique("c"),
            "sender_name": "Anna",
            "claimable_at": NOON,
            "values": ({"key": "b", "version": 2},),
            "options": {"team": {"id": 1}},
        }
        owner, made, row = await scene(store, lambda unit, owner, made: message(unit, made, owner, **fields))
        assert {name: getattr(row, name) for name in fields} == fields
        assert (row.task_id, row.message_id, row.revision, row.attempt) == (made.id, 1, 2, 1)
        assert (row.role, row.sender_id, row.status, row.deleted) == ("USER", owner.id, "COMPLETED", False)
        assert await store.read(lambda unit: unit.subtask(row.id)) == row

    async def test_the_sender_is_named_after_the_user(self, store: Store) -> None:
        owner, _, row = await scene(store, lambda unit, owner, made: message(unit, made, owner))
        assert row.sender_name == owner.user_name

    async def test_a_changed_message_has_the_revision_of_its_task(self, store: Store) -> None:
        _, made, row = await scene(store, lambda unit, owner, made: answer(unit, made, owner))
        changes = {"status": "RUNNING", "owner": "w", "lease": "l", "attempt": 2, "started_at": NOON}

        def work(unit: Unit) -> Subtask:
            return unit.update_subtask(row.id, task=unit.touch(made.id), **changes)

        changed = await store.write(work)
        assert {name: getattr(changed, name) for name in changes} == changes
        assert (changed.revision, changed.message_id) == (3, row.message_id)
        assert await store.read(lambda unit: unit.subtask(row.id)) == changed

    async def test_a_message_id_is_taken_once_per_task(self, store: Store) -> None:
        owner, made, _ = await scene(store, talk)

        def work(unit: Unit) -> Subtask:
            touched = unit.touch(made.id)
            return unit.add_subtask(task=touched, message_id=3, role="USER", sender_id=owner.id, status="COMPLETED")

        with pytest.raises(Conflict):
            await store.write(work)
        assert len(await store.read(lambda unit: unit.subtasks(made.id))) == 6

    async def test_a_client_id_is_taken_once_per_user_to_the_letter(self, store: Store) -> None:
        client = unique("c")

        def send(unit: Unit, owner: User, made: Task) -> Subtask:
            return message(unit, made, owner, client_message_id=client)

        owner, made, row = await scene(store, send)
        guest, other, theirs = await scene(store, send)
        with pytest.raises(Conflict):
            await store.write(lambda unit: message(unit, other, owner, client_message_id=client))
        loud = await store.write(lambda unit: message(unit, made, owner, client_message_id=client.upper()))
        assert await store.read(lambda unit: unit.sent(owner.id, client)) == row
        assert await store.read(lambda unit: unit.sent(owner.id, client.upper())) == loud
        assert await store.read(lambda unit: unit.sent(guest.id, client)) == theirs
        assert await store.read(lambda unit: unit.sent(owner.id, client + " ")) is None

    async def test_messages_are_found_by_their_neighbours(self, store: Store) -> None:
        _, made, _ = await scene(store, talk)

        async def found(**query: int) -> list[int]:
            return ids(await store.read(lambda unit: unit.subtasks(made.id, **query)))  # type: ignore[arg-type]

        assert await found() == [1, 2, 3, 4, 5, 6]
        assert await found(limit=2) == [1, 2]
        assert await found(limit=2, newest=True) == [5, 6]
        assert await found(after_message_id=4) == [5, 6]
        assert await found(after_message_id=1, limit=2) == [2, 3]
        assert await found(before_message_id=4, limit=2, newest=True) == [2, 3]
        assert await found(after_message_id=1, before_message_id=4) == [2, 3]
        assert await found(after_message_id=6) == []
        assert await store.read(lambda unit: unit.subtasks(made.id + 10**9)) == []

    async def test_removed_messages_come_by_revision_only(self, store: Store) -> None:
        _, made, rows = await scene(store, talk)

        def remove(unit: Unit) -> None:
            unit.update_subtask(rows[5].id, task=unit.touch(made.id), deleted=True)
            unit.update_subtask(rows[1].id, task=unit.touch(made.id), content="?")

        await store.write(remove)
        assert ids(await store.read(lambda unit: unit.subtasks(made.id))) == [1, 2, 3, 4, 5]
        newest = await store.read(lambda unit: unit.newest_answer(made.id))
        assert newest is not None
        assert newest.message_id == 4
        since = await store.read(lambda unit: unit.subtasks(made.id, after_revision=7))
        assert [(row.message_id, row.deleted, row.revision) for row in since] == [(2, False, 9), (6, True, 8)]
        assert await store.read(lambda unit: unit.subtasks(made.id, after_revision=9)) == []
        assert len(await store.read(lambda unit: unit.subtasks(made.id, after_revision=0))) == 6

    async def test_rows_of_a_task_are_removed_from_one_to_another(self, store: Store) -> None:
        _, made, _ = await scene(store, talk)
        _, other, _ = await scene(store, talk)
        touched = await store.write(lambda unit: unit.touch(made.id))
        removed = await store.write(lambda unit: unit.remove_subtasks(touched, since=4, until=6))
        assert removed == 2
        assert await store.write(lambda unit: unit.remove_subtasks(touched, since=3, until=6)) == 1
        assert ids(await store.read(lambda unit: unit.subtasks(made.id))) == [1, 2, 6]
        assert len(await store.read(lambda unit: unit.subtasks(other.id))) == 6
        since = await store.read(lambda unit: unit.subtasks(made.id, after_revision=touched.revision - 1))
        assert [(row.message_id, row.deleted, row.revision) for row in since] == [
            (3, True, touched.revision),
            (4, True, touched.revision),
            (5, True, touched.revision),
        ]

    async def test_message_ids_are_the_greatest_above_one(self, store: Store) -> None:
        _, made, rows = await scene(store, talk)

        async def found(**query: int) -> list[int]:
            return await store.read(lambda unit: unit.message_ids(made.id, **query))

        assert await found(limit=10) == [1, 2, 3, 4, 5, 6]
        assert await found(after=2, limit=10) == [3, 4, 5, 6]
        assert await found(after=2, limit=2) == [5, 6]
        assert await found(after=6, limit=2) == []
        await store.write(lambda unit: unit.update_subtask(rows[4].id, task=unit.touch(made.id), deleted=True))
        assert await found(after=2, limit=2) == [4, 6]

    async def test_an_empty_task_has_no_answer(self, store: Store) -> None:
        _, made, _ = await scene(store)
        assert await store.read(lambda unit: unit.newest_answer(made.id)) is None
        assert await store.read(lambda unit: unit.unfinished(made.id)) == []

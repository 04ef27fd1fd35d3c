"""What every `Store` must do, as tests: subclass `StoreContract` as `Test…`, and give it a fixture `store`.

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self): ...

The tests share a database without harm. They are Trio's, for pytest-trio in its Trio mode.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from wegent.core.errors import Conflict, InvalidPayload, NotFound
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task, User
from wegent.testing.store_attachments import AttachmentsContract
from wegent.testing.store_devices import DevicesContract
from wegent.testing.store_executions import ExecutionsContract
from wegent.testing.store_knowledge import KnowledgeContract
from wegent.testing.store_people import PeopleContract
from wegent.testing.store_queue import QueueContract
from wegent.testing.store_rows import RowsContract
from wegent.testing.store_runs import RunsContract
from wegent.testing.store_scene import answer, message, scene, task, unique, user

_MANY = 400
_TEXTS = {
    "emoji": "\U0001f9d1\u200d\U0001f680\U0001f44d\U0001f3fd",
    "cjk": "漢字かな交じり文",
    "quotes": "\\'\"%s{}`\n\r\t\x1a",
    "combining": "e\u0301 \u0627\u0651",
}


class UnitsContract:
    """Whole or not at all; one after the other where it matters."""

    async def test_a_unit_that_raises_leaves_nothing(self, store: Store) -> None:
        owner, made, _ = await scene(store)

        def work(unit: Unit) -> None:
            message(unit, made, owner, client_message_id=unique("c"))
            unit.update_user(owner.id, role="admin")
            raise Conflict("no")

        with pytest.raises(Conflict, match="no"):
            await store.write(work)
        assert await store.read(lambda unit: unit.task(made.id)) == made
        assert await store.read(lambda unit: unit.user(owner.id)) == owner
        assert await store.read(lambda unit: unit.subtasks(made.id)) == []

    async def test_a_foreign_exception_passes_unchanged(self, store: Store) -> None:
        def work(unit: Unit) -> None:
            unit.users(limit=1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.write(work)
        with pytest.raises(ZeroDivisionError):
            await store.read(work)

    async def test_a_read_must_not_change_rows(self, store: Store) -> None:
        _, made, _ = await scene(store)
        with pytest.raises(RuntimeError):
            await store.read(lambda unit: unit.touch(made.id))
        assert await store.read(lambda unit: unit.task(made.id)) == made

    async def test_a_unit_is_of_no_use_afterwards(self, store: Store) -> None:
        kept = await store.write(lambda unit: unit)
        with pytest.raises(RuntimeError):
            kept.user(1)

    async def test_a_unit_sees_its_own_changes(self, store: Store) -> None:
        owner, made, _ = await scene(store)

        def work(unit: Unit) -> tuple[Subtask, list[Subtask], Task | None]:
            row = message(unit, made, owner, prompt="hello")
            return row, unit.subtasks(made.id), unit.task(made.id)

        row, rows, changed = await store.write(work)
        assert rows == [row]
        assert changed is not None
        assert (changed.revision, changed.last_message_id) == (2, 1)

    async def test_ready_returns(self, store: Store) -> None:
        await store.ready()

    async def test_concurrent_touches_are_all_counted(self, store: Store) -> None:
        _, made, _ = await scene(store)
        seen: list[int] = []

        async def touch() -> None:
            seen.append((await store.write(lambda unit: unit.touch(made.id, messages=2))).revision)

        async with trio.open_nursery() as nursery:
            for _ in range(_MANY):
                nursery.start_soon(touch)
        assert sorted(seen) == list(range(2, _MANY + 2))
        end = await store.read(lambda unit: unit.task(made.id))
        assert end is not None
        assert (end.revision, end.last_message_id) == (_MANY + 1, 2 * _MANY)

    async def test_concurrent_sends_get_numbers_of_their_own(self, store: Store) -> None:
        owner, made, _ = await scene(store)
        await self._all(store, [lambda unit: message(unit, made, owner)] * 40)
        rows = await store.read(lambda unit: unit.subtasks(made.id))
        assert [row.message_id for row in rows] == list(range(1, 41))
        assert [row.revision for row in rows] == list(range(2, 42))

    async def test_of_equal_client_ids_sent_at_once_one_wins_and_all_see_it(self, store: Store) -> None:
        owner, _, _ = await scene(store)
        client = unique("c")

        def send(unit: Unit) -> Subtask:
            # Each in a task of its own: nothing serialises them but the unique key.
            return unit.sent(owner.id, client) or message(unit, task(unit, owner), owner, client_message_id=client)

        rows = await self._all(store, [send] * 20)
        assert len({row.id for row in rows}) == 1
        tasks = await store.read(lambda unit: unit.tasks_of(owner.id))
        assert len(tasks) == 2

    async def test_a_cancelled_caller_that_has_not_begun_runs_nothing(self, store: Store) -> None:
        ran: list[Unit] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.write(ran.append)
        assert scope.cancelled_caught
        assert ran == []

    async def _all(self, store: Store, works: list[Callable[[Unit], Subtask]]) -> list[Subtask]:
        rows: list[Subtask] = []

        async def one(work: Callable[[Unit], Subtask]) -> None:
            rows.append(await store.write(work))

        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(one, work)
        return rows


class TextContract:
    """Text comes back as it was."""

    @pytest.mark.parametrize("kind", sorted(_TEXTS))
    async def test_text_of_some_megabytes_comes_back_whole(self, store: Store, kind: str) -> None:
        text = _TEXTS[kind] * (2_000_000 // len(_TEXTS[kind].encode()))
        values = ({"key": "b", "data": {"text": _TEXTS[kind]}},)

        def work(unit: Unit) -> Subtask:
            owner = user(unit)
            made = task(unit, owner, title=_TEXTS[kind])
            row = answer(unit, made, owner, prompt=text)
            return unit.update_subtask(row.id, task=unit.touch(made.id), content=text, thinking=text[:5], values=values)

        row = await store.write(work)
        assert (row.prompt, row.content, row.thinking, row.values) == (text, text, text[:5], values)
        assert await store.read(lambda unit: unit.subtask(row.id)) == row

    @pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
    async def test_text_that_is_none_is_refused(self, store: Store, text: str) -> None:
        owner, made, row = await scene(store, answer_of)
        for work in (
            lambda unit: message(unit, made, owner, prompt=text),
            lambda unit: unit.update_subtask(row.id, task=unit.touch(made.id), content=text),
            lambda unit: unit.update_task(made.id, title=text),
            lambda unit: unit.add_user(text, password_hash=None),
            lambda unit: unit.user_named(text),
            lambda unit: unit.sent(owner.id, text),
            lambda unit: unit.tasks_of(owner.id, query=text),
        ):
            with pytest.raises(InvalidPayload):
                await store.write(work)
        assert await store.read(lambda unit: unit.subtask(row.id)) == row

    async def test_half_a_surrogate_pair_within_json_is_refused(self, store: Store) -> None:
        owner, made, _ = await scene(store)
        with pytest.raises(InvalidPayload):
            await store.write(lambda unit: message(unit, made, owner, result={"value": "\ud800"}))

    async def test_u0000_within_json_is_kept(self, store: Store) -> None:
        owner, made, _ = await scene(store)
        row = await store.write(lambda unit: message(unit, made, owner, result={"value": "a\0b"}))
        read = await store.read(lambda unit: unit.subtask(row.id))
        assert read is not None
        assert read.result == {"value": "a\0b"}

    async def test_a_name_too_long_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidPayload, match="user_name"):
            await store.write(lambda unit: unit.add_user("x" * 256, password_hash=None))

    async def test_an_unknown_field_is_a_type_error(self, store: Store) -> None:
        owner, made, row = await scene(store, answer_of)
        for work in (
            lambda unit: unit.update_user(owner.id, nonsense=1),
            lambda unit: unit.update_task(made.id, id=7),
            lambda unit: unit.update_subtask(row.id, task=made, revision=7),
            lambda unit: message(unit, made, owner, nonsense=1),
            lambda unit: unit.put_member(made.id, owner.id, nonsense=1),
        ):
            with pytest.raises(TypeError):
                await store.write(work)

    async def test_what_does_not_exist_is_not_found(self, store: Store) -> None:
        owner, made, _ = await scene(store)
        nobody = 2**52
        for work in (
            lambda unit: unit.touch(nobody),
            lambda unit: unit.update_task(nobody, title="x"),
            lambda unit: unit.update_user(nobody, role="admin"),
            lambda unit: unit.update_subtask(nobody, task=made, status="FAILED"),
            lambda unit: unit.put_member(nobody, owner.id),
            lambda unit: unit.put_member(made.id, nobody),
            lambda unit: unit.delete_kind(nobody),
            lambda unit: unit.add_task(owner_id=nobody, team_id=1, team_name="t", title="t"),
            lambda unit: unit.put_kind("Bot", "default", "b", user_id=nobody, body={}),
        ):
            with pytest.raises(NotFound):
                await store.write(work)


def answer_of(unit: Unit, owner: User, made: Task) -> Subtask:
    """An ASSISTANT row."""
    return answer(unit, made, owner)


class StoreContract(
    UnitsContract,
    TextContract,
    PeopleContract,
    RowsContract,
    QueueContract,
    RunsContract,
    DevicesContract,
    ExecutionsContract,
    AttachmentsContract,
    KnowledgeContract,
):
    """All of it."""

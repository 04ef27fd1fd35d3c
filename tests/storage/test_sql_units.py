"""What only a database with threads can get wrong."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from tests.storage.databases import Database
from wegent.core.clock import SystemClock
from wegent.core.errors import Conflict, InvalidPayload, StoreAway
from wegent.server.ports.store import Store, Unit
from wegent.storage import Limits, SqlStore, open_store
from wegent.testing.store_scene import answer, message, scene, unique, user

PATIENCE = 20.0


@pytest.fixture(params=["mariadb", "postgresql"])
def server(request: pytest.FixtureRequest) -> Database:
    database: Database = request.getfixturevalue(f"{request.param}_server")
    return database


@pytest.fixture
def url(server: Database, request: pytest.FixtureRequest) -> str:
    name = "mariadb" if server.scheme == "mysql" else "postgresql"
    value: str = request.getfixturevalue(f"{name}_url")
    return value


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with open_store(url, clock=SystemClock(), limits=Limits(timeout=5)) as store:
        yield store


def kill_all(server: Database, url: str) -> Callable[[], None]:
    """Ends every other connection to the database, as an administrator can."""
    name = url.rpartition("/")[2]
    if server.scheme == "postgresql":
        return lambda: server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'", "postgres"
        )
    return lambda: server.execute(
        "BEGIN NOT ATOMIC FOR c IN (SELECT id FROM information_schema.processlist"
        f" WHERE db = '{name}' AND id <> CONNECTION_ID()) DO KILL CONNECTION c.id; END FOR; END",
        "mysql",
    )


async def test_a_read_sees_one_moment(sql_store: Store) -> None:
    owner, made, _ = await scene(sql_store)
    begun, changed = threading.Event(), threading.Event()

    def look(unit: Unit) -> tuple[int, int]:
        first = unit.task(made.id)
        begun.set()
        assert changed.wait(PATIENCE)
        rows = unit.subtasks(made.id)
        second = unit.task(made.id)
        assert first == second
        return len(rows), 0 if second is None else second.revision

    seen = []

    async def reader() -> None:
        seen.append(await sql_store.read(look))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.to_thread.run_sync(begun.wait, PATIENCE)
        await sql_store.write(lambda unit: message(unit, made, owner))
        changed.set()
    assert seen == [(0, 1)]


async def test_a_cancelled_caller_still_gets_what_was_committed(sql_store: Store) -> None:
    _, made, _ = await scene(sql_store)
    running, go_on = threading.Event(), threading.Event()

    def work(unit: Unit) -> int:
        running.set()
        assert go_on.wait(PATIENCE)
        return unit.touch(made.id).revision

    got = []
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def caller() -> None:
            with scope:
                got.append(await sql_store.write(work))
                await trio.lowlevel.checkpoint()
                got.append(-1)

        nursery.start_soon(caller)
        await trio.to_thread.run_sync(running.wait, PATIENCE)
        scope.cancel()
        go_on.set()
    assert scope.cancelled_caught
    assert got == [2]


async def test_a_caller_cancelled_in_the_queue_runs_nothing(sql_store: SqlStore) -> None:
    go_on = threading.Event()
    ran: list[Unit] = []
    waits = [threading.Event() for _ in range(sql_store.readers)]

    def hold(at: threading.Event) -> Callable[[Unit], None]:
        def work(unit: Unit) -> None:
            at.set()
            assert go_on.wait(PATIENCE)

        return work

    async with trio.open_nursery() as nursery:
        for each in waits:
            nursery.start_soon(sql_store.read, hold(each))
        for each in waits:
            await trio.to_thread.run_sync(each.wait, PATIENCE)
        with trio.move_on_after(0.05) as scope:
            await sql_store.read(ran.append)
        go_on.set()
    assert scope.cancelled_caught
    assert ran == []
    await sql_store.ready()


async def test_a_store_is_whole_after_cancelling_many_callers(sql_store: Store) -> None:
    _, made, _ = await scene(sql_store)
    done: list[int] = []

    async def touch() -> None:
        done.append((await sql_store.write(lambda unit: unit.touch(made.id))).revision)

    for pause in (0, 0.001, 0.003, 0.01):
        with trio.move_on_after(pause):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(touch)
    end = await sql_store.write(lambda unit: unit.touch(made.id))
    assert sorted(done) == list(range(2, end.revision))


async def test_both_of_a_deadlock_get_through(store: Store) -> None:
    _, one, _ = await scene(store)
    _, two, _ = await scene(store)
    runs: list[int] = []
    meet = threading.Barrier(2)

    def both(first: int, second: int) -> Callable[[Unit], None]:
        def work(unit: Unit) -> None:
            runs.append(first)
            unit.touch(first)
            if runs.count(first) == 1:
                meet.wait(PATIENCE)
            unit.touch(second)

        return work

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.write, both(one.id, two.id))
        nursery.start_soon(store.write, both(two.id, one.id))
    assert len(runs) > 2
    for made in (one, two):
        row = await store.read(lambda unit, made=made: unit.task(made.id))
        assert row is not None
        assert row.revision == 3


async def test_lost_connections_are_made_anew_without_a_word(server: Database, url: str, store: Store) -> None:
    _, made, _ = await scene(store)
    kill = kill_all(server, url)
    for _ in range(2):
        await trio.to_thread.run_sync(kill)
        assert await store.read(lambda unit: unit.task(made.id)) is not None
        await trio.to_thread.run_sync(kill)
        await store.write(lambda unit: unit.touch(made.id))


async def test_a_unit_whose_connection_breaks_before_commit_is_run_again(
    server: Database, url: str, store: Store
) -> None:
    _, made, _ = await scene(store)
    kill = kill_all(server, url)
    runs = []

    def work(unit: Unit) -> int:
        runs.append(1)
        unit.touch(made.id)
        if len(runs) == 1:
            kill()
            time.sleep(0.1)
        return unit.touch(made.id).revision

    assert await store.write(work) == 3
    assert len(runs) == 2


async def test_a_unit_whose_commit_may_have_been_done_is_not_run_again(
    server: Database, url: str, store: Store
) -> None:
    _, made, _ = await scene(store)
    kill = kill_all(server, url)
    runs = []

    def work(unit: Unit) -> None:
        runs.append(1)
        unit.touch(made.id)
        kill()
        time.sleep(0.1)

    with pytest.raises(StoreAway):
        await store.write(work)
    assert len(runs) == 1
    with trio.fail_after(PATIENCE):
        while True:
            try:
                row = await store.read(lambda unit: unit.task(made.id))
                break
            except StoreAway:
                await trio.sleep(0.05)
    assert row is not None
    assert row.revision == 1


async def test_a_number_too_great_is_refused(sql_store: Store) -> None:
    _, made, _ = await scene(sql_store)
    with pytest.raises(InvalidPayload):
        await sql_store.write(lambda unit: unit.touch(made.id, messages=2**70))
    await sql_store.ready()


async def test_the_longest_streams_fit_whatever_the_server_is_set_to(sql_store: Store) -> None:
    _, made, row = await scene(sql_store, lambda unit, owner, made: answer(unit, made, owner))
    longest = "\U0001f600" * 4_000_000
    changes = {"content": longest, "thinking": longest, "values": ({"data": "é" * 1_000_000},)}
    changed = await sql_store.write(lambda unit: unit.update_subtask(row.id, task=unit.touch(made.id), **changes))
    assert await sql_store.read(lambda unit: unit.subtask(row.id)) == changed
    assert changed.content == longest


async def test_a_key_that_stays_taken_is_a_conflict_after_few_runs(sql_store: Store) -> None:
    client, runs = unique("c"), []
    owner, made, _ = await scene(sql_store, lambda unit, o, t: message(unit, t, o, client_message_id=client))

    def work(unit: Unit) -> None:
        runs.append(1)
        message(unit, made, owner, client_message_id=client)

    with pytest.raises(Conflict):
        await sql_store.write(work)
    assert len(runs) <= 3


async def test_sqlite_that_another_program_locks_is_away_and_back(tmp_path: Path) -> None:
    path = tmp_path / "wegent.db"
    async with open_store(f"sqlite:///{path}", clock=SystemClock(), limits=Limits(timeout=0.3)) as store:
        _, made, _ = await scene(store)
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            began = trio.current_time()
            with pytest.raises(StoreAway):
                await store.write(lambda unit: unit.touch(made.id))
            assert trio.current_time() - began < 3
            assert await store.read(lambda unit: unit.task(made.id)) == made
            other.execute("ROLLBACK")
        other.close()
        assert (await store.write(lambda unit: unit.touch(made.id))).revision == 2


async def test_a_closed_store_is_away(sql_url: str) -> None:
    async with open_store(sql_url, clock=SystemClock()) as store:
        await store.write(user)
    with pytest.raises(StoreAway):
        await store.read(lambda unit: unit.users())


async def test_an_error_in_the_block_passes_unwrapped(sql_url: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_store(sql_url, clock=SystemClock()):
            raise ZeroDivisionError


async def test_a_shielded_write_works_while_the_block_is_cancelled(sql_url: str) -> None:
    done = []
    with trio.CancelScope() as scope:
        async with open_store(sql_url, clock=SystemClock()) as store:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            finally:
                with trio.CancelScope(shield=True):
                    done.append(await store.write(user))
    assert scope.cancelled_caught
    assert len(done) == 1

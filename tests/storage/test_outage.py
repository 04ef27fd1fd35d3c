"""The database stopped, and hung: calls fail in time, and work again when it is back, without a restart."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable

import pytest
import trio

from tests.storage.databases import Database
from wegent.core.clock import SystemClock
from wegent.core.errors import ConfigError, StoreAway
from wegent.server.ports.store import Store, Unit
from wegent.storage import Limits, open_store
from wegent.testing.store_scene import scene

TIMEOUT = 1.0
# libpq takes no connect timeout under 2 seconds; then a slow machine
IN_TIME = TIMEOUT + 2.5
PATIENCE = 30.0


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
    async with open_store(url, clock=SystemClock(), limits=Limits(timeout=TIMEOUT)) as store:
        yield store


async def back(store: Store) -> float:
    """Wait until the store answers; how long that took."""
    began = trio.current_time()
    with trio.fail_after(PATIENCE):
        while True:
            try:
                await store.ready()
            except StoreAway:
                await trio.sleep(0.02)
            else:
                return trio.current_time() - began


async def refused(call: Callable[[], object]) -> float:
    began = trio.current_time()
    with pytest.raises(StoreAway):
        await call()  # type: ignore[misc]
    return trio.current_time() - began


@pytest.mark.parametrize("how", ["stopped", "hung"])
async def test_calls_fail_in_time_and_work_again(server: Database, store: Store, how: str) -> None:
    _, made, _ = await scene(store)
    took: list[float] = []

    async def caller(writing: bool) -> None:
        if writing:
            took.append(await refused(lambda: store.write(lambda unit: unit.touch(made.id))))
        else:
            took.append(await refused(lambda: store.read(lambda unit: unit.task(made.id))))

    if how == "stopped":
        await trio.to_thread.run_sync(server.stop)
    else:
        server.pause()
    try:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(caller, bool(number % 2))
        assert max(took) < IN_TIME
        later = [await refused(store.ready) for _ in range(3)]
        assert max(later) < 0.5
    finally:
        if how == "stopped":
            await trio.to_thread.run_sync(server.start)
        else:
            server.resume()
    assert await back(store) < 5
    end = await store.write(lambda unit: unit.touch(made.id))
    assert end.revision == 2


async def test_a_unit_that_the_database_leaves_hanging_ends_in_time(server: Database, store: Store) -> None:
    _, made, _ = await scene(store)
    runs = []

    def work(unit: Unit) -> None:
        runs.append(1)
        unit.touch(made.id)
        server.pause()
        unit.touch(made.id)

    try:
        assert await refused(lambda: store.write(work)) < IN_TIME
    finally:
        server.resume()
    await back(store)
    end = await store.write(lambda unit: unit.touch(made.id))
    assert (end.revision, len(runs)) == (2, 1)


async def test_a_commit_that_hangs_ends_in_time_and_nobody_knows(server: Database, store: Store) -> None:
    _, made, _ = await scene(store)

    def work(unit: Unit) -> None:
        unit.touch(made.id)
        server.pause()

    try:
        assert await refused(lambda: store.write(work)) < IN_TIME
    finally:
        server.resume()
    await back(store)
    end = await store.write(lambda unit: unit.touch(made.id))
    assert end.revision in {2, 3}


async def test_the_block_ends_in_time_while_the_database_hangs(server: Database, url: str) -> None:
    try:
        async with open_store(url, clock=SystemClock(), limits=Limits(timeout=TIMEOUT)) as store:
            await store.ready()
            server.pause()
            assert await refused(store.ready) < IN_TIME
            began = trio.current_time()
        assert trio.current_time() - began < IN_TIME
    finally:
        server.resume()


async def test_a_row_locked_for_long_is_busy_not_away(server: Database, url: str, store: Store) -> None:
    _, made, _ = await scene(store)
    held, let_go = threading.Event(), threading.Event()

    def hold(unit: Unit) -> None:
        unit.touch(made.id)
        held.set()
        assert let_go.wait(PATIENCE)

    async with (
        open_store(url, clock=SystemClock(), limits=Limits(timeout=PATIENCE)) as other,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(other.write, hold)
        await trio.to_thread.run_sync(held.wait, PATIENCE)
        try:
            assert await refused(lambda: store.write(lambda unit: unit.touch(made.id))) < IN_TIME + 1
            await store.ready()
        finally:
            let_go.set()
    assert (await store.write(lambda unit: unit.touch(made.id))).revision == 3


async def test_a_store_cannot_be_opened_while_the_database_is_away(server: Database, url: str) -> None:
    server.pause()
    try:
        with pytest.raises(StoreAway):
            async with open_store(url, clock=SystemClock(), limits=Limits(timeout=TIMEOUT)):
                pytest.fail("opened")
    finally:
        server.resume()


async def test_a_database_that_does_not_exist_is_a_matter_of_configuration(server: Database, url: str) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        async with open_store(url.rpartition("/")[0] + "/nowhere", clock=SystemClock()):
            pytest.fail("opened")


async def test_a_wrong_user_is_a_matter_of_configuration(server: Database, url: str) -> None:
    stranger = url.replace("//root@", "//stranger:sesame@").replace("//wegent@", "//stranger:sesame@")
    with pytest.raises(ConfigError, match="stranger") as raised:
        async with open_store(stranger, clock=SystemClock()):
            pytest.fail("opened")
    assert "sesame" not in str(raised.value)

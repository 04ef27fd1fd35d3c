"""From an empty database to the newest tables."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from tests.storage.databases import Database
from wegent.core.clock import SystemClock
from wegent.core.errors import ConfigError
from wegent.storage import Limits, MemoryStore, open_store
from wegent.storage.engines import make_engine, parse_url
from wegent.storage.migrate import migrate, revision
from wegent.storage.models import Base
from wegent.testing.store_scene import scene

NAMES = ["one", "three", "two"]
OPEN = """
import sys, trio
from wegent.core.clock import SystemClock
from wegent.storage import Limits, open_store

async def main():
    async with open_store(sys.argv[1], clock=SystemClock(), limits=Limits(timeout=30)) as store:
        await store.write(lambda unit: unit.beat(sys.argv[2]))

trio.run(main)
"""


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/down/wegent.db"
    server: Database = request.getfixturevalue(f"{request.param}_server")
    return server.fresh()


def test_the_tables_are_those_of_the_models(sql_url: str) -> None:
    url = parse_url(sql_url)
    migrate(url, timeout=5)
    with make_engine(url, writing=True, timeout=5).connect() as conn:
        differences = compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), Base.metadata)
    assert differences == []


async def test_workers_that_start_together_make_the_tables_once(fresh_url: str) -> None:
    async with trio.open_nursery() as nursery:
        for name in NAMES:
            nursery.start_soon(trio.run_process, [sys.executable, "-W", "error", "-c", OPEN, fresh_url, name])
    async with open_store(fresh_url, clock=SystemClock()) as store:
        beats = await store.read(lambda unit: unit.beats())
    assert [each.owner for each in beats] == NAMES


async def test_stores_that_open_together_in_one_process_make_the_tables_once(fresh_url: str) -> None:
    async def worker(name: str) -> None:
        async with open_store(fresh_url, clock=SystemClock(), limits=Limits(timeout=30)) as store:
            await store.write(lambda unit: unit.beat(name))

    async with trio.open_nursery() as nursery:
        for name in NAMES:
            nursery.start_soon(worker, name)
    async with open_store(fresh_url, clock=SystemClock()) as store:
        assert [each.owner for each in await store.read(lambda unit: unit.beats())] == NAMES


async def test_rows_are_still_there_when_opened_again(fresh_url: str) -> None:
    async with open_store(fresh_url, clock=SystemClock()) as store:
        owner, made, _ = await scene(store)
    async with open_store(fresh_url, clock=SystemClock()) as store:
        assert await store.read(lambda unit: unit.task(made.id)) == made
        assert await store.read(lambda unit: unit.user(owner.id)) == owner


async def test_a_database_of_a_newer_version_is_refused(fresh_url: str) -> None:
    url = parse_url(fresh_url)
    migrate(url, timeout=5)
    found, newest = revision(url)
    assert found == newest
    with make_engine(url, writing=True, timeout=5).begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    with pytest.raises(ConfigError, match="revision later, which this version does not know"):
        async with open_store(fresh_url, clock=SystemClock()):
            pytest.fail("opened")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("oracle://host/db", "oracle"),
        ("sqlite://", "memory://"),
        ("sqlite:///:memory:", "memory://"),
        ("no url at all", "URL"),
        ("sqlite:////proc/nowhere/wegent.db", "folder"),
    ],
)
async def test_a_url_of_no_use_is_a_matter_of_configuration(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with open_store(url, clock=SystemClock()):
            pytest.fail("opened")


async def test_a_file_that_is_no_database_is_a_matter_of_configuration(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("to be kept" * 1000)
    with pytest.raises(ConfigError, match="not a database"):
        async with open_store(f"sqlite:///{path}", clock=SystemClock()):
            pytest.fail("opened")
    assert path.read_text() == "to be kept" * 1000


async def test_memory_keeps_nothing() -> None:
    async with open_store("memory://", clock=SystemClock()) as store:
        assert isinstance(store, MemoryStore)

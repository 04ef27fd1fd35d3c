from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.storage.databases import Database, MariaDb, Missing, PostgreSql, running
from wegent.core.clock import SystemClock
from wegent.server.ports.store import Store
from wegent.storage import open_store

pytest.register_assert_rewrite(
    "wegent.testing.store_attachments",
    "wegent.testing.store_contract",
    "wegent.testing.store_devices",
    "wegent.testing.store_executions",
    "wegent.testing.store_knowledge",
    "wegent.testing.store_people",
    "wegent.testing.store_queue",
    "wegent.testing.store_rows",
    "wegent.testing.store_runs",
)


def serve(kind: type[Database]) -> Iterator[Database]:
    try:
        with running(kind) as database:
            yield database
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Database]:
    yield from serve(MariaDb)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Database]:
    yield from serve(PostgreSql)


@pytest.fixture(scope="session")
def mariadb_url(mariadb_server: Database) -> str:
    """One database for all tests that can share one: making the tables takes a while."""
    return mariadb_server.fresh()


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: Database) -> str:
    return postgresql_server.fresh()


@pytest.fixture(scope="session")
def sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/wegent.db"


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def sql_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def sql_store(sql_url: str) -> AsyncIterator[Store]:
    async with open_store(sql_url, clock=SystemClock()) as store:
        yield store

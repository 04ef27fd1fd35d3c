from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fanout.redis_server import RedisServer, serve

pytest.register_assert_rewrite(
    "wegent.testing.fanout_contract",
    "wegent.testing.presence_contract",
    "wegent.testing.streamlog_contract",
)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One server for all tests that do no harm to it."""
    yield from serve()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """One that may be stopped, hung and emptied."""
    yield from serve()

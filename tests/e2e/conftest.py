from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.serving import Server, serving
from tests.fanout.redis_server import RedisServer, serve


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not stop it; its answers come without pacing."""
    with serving(tmp_path_factory.mktemp("server"), "offline.tokens_per_s=400") as running:
        yield running


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """One for the tests of a module, which may stop and hang it."""
    yield from serve()

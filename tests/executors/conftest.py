from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.executors.docker_engine import DockerDaemon, serve


@pytest.fixture(scope="session")
def docker_session() -> Iterator[DockerDaemon]:
    yield from serve()


@pytest.fixture
def docker_daemon(docker_session: DockerDaemon) -> DockerDaemon:
    """One engine for all tests; up, also after one that stopped it."""
    docker_session.start()
    return docker_session

"""For all tests: where `CI=true`, a test that is skipped has failed; and the Docker engine that some share."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.executors.docker_engine import DockerDaemon, serve

NOTHING_IS_SKIPPED = os.environ.get("CI") == "true"


def _refuse_skip(report: Any) -> Any:
    """Expected failures count as skipped too, and stay what they are."""
    if NOTHING_IS_SKIPPED and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped where CI=true. {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _refuse_skip((yield))


@pytest.fixture(scope="session")
def docker_session() -> Iterator[DockerDaemon]:
    yield from serve()


@pytest.fixture
def docker_daemon(docker_session: DockerDaemon) -> DockerDaemon:
    """One engine for all tests; up, also after one that stopped it."""
    docker_session.start()
    return docker_session

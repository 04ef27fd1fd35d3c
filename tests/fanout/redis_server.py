"""A Redis server of the tests' own, and what they do to it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import redis
import trio
from attrs import evolve
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.storage.databases import Database, Missing, program, running
from wegent.fanout.redis.link import Link
from wegent.fanout.redis.log_scripts import SCRIPTS
from wegent.fanout.redis.opening import Limits
from wegent.fanout.redis.url import parse_url

LIMITS = Limits(timeout=0.5)


class RedisServer(Database):
    """In memory only: what is stopped has forgotten everything."""

    scheme = "redis"
    options: ClassVar[list[str]] = []
    password: ClassVar[str | None] = None

    def install(self) -> None:
        program("redis-server")

    def command(self) -> list[str]:
        return [
            program("redis-server"),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--save", "", "--appendonly", "no", "--databases", "64"),
            *self.options,
        ]

    def ping(self) -> None:
        self.do("PING")

    def url(self, name: str) -> str:
        return f"redis://127.0.0.1:{self.port}/{name}"

    def create(self, name: str) -> None:
        """Databases are there from the beginning."""

    def fresh(self) -> str:
        self._names += 1
        return self.url(str(self._names % 64))

    def do(self, *command: Any, db: int = 0) -> Any:
        once = Retry(NoBackoff(), 0)
        with redis.Redis(
            port=self.port, db=db, password=self.password, socket_timeout=30, protocol=2, retry=once
        ) as client:
            return client.execute_command(*command)

    def clients(self, kind: str) -> int:
        """Connections of that kind (`normal`, `pubsub`), but for the one that asks."""
        return len(self.do("CLIENT", "LIST", "TYPE", kind).splitlines()) - (kind == "normal")

    def kill_clients(self, kind: str) -> int:
        """Cut all connections of that kind, but for the one that asks; how many."""
        return int(self.do("CLIENT", "KILL", "TYPE", kind))

    def overrun(self, channel: str, *, most: int = 64) -> None:
        """Publish what nobody understands, a megabyte at a time, until those who subscribe there are cut off: they had
        better not be reading.
        """
        limit = "client-output-buffer-limit"
        self.do("CONFIG", "SET", limit, "pubsub 65536 0 0")
        try:
            for _ in range(most):
                if not self.do("PUBLISH", channel, b"?" * 1_000_000):
                    return
        finally:
            self.do("CONFIG", "SET", limit, "pubsub 33554432 8388608 60")
        message = f"nobody was cut off by {most} MB"
        raise AssertionError(message)

    def restart(self) -> None:
        self.stop(signal.SIGTERM)
        self.start()


def serve() -> Iterator[RedisServer]:
    """For a fixture: one of its own, or the test is skipped."""
    try:
        with running(RedisServer) as server:
            yield server
    except Missing as missing:
        pytest.skip(str(missing))


def link_to(server: RedisServer, **limits: Any) -> Link:
    return Link(parse_url(server.url("0")), evolve(LIMITS, **limits), name="test", scripts=SCRIPTS)


async def until_up(link: Link, *, within: float = 10.0) -> None:
    with trio.fail_after(within):
        while not link.up:  # noqa: ASYNC110
            await trio.sleep(0.005)


async def until_down(link: Link, *, within: float = 10.0) -> float:
    """How long it takes until the link knows that the server is away."""
    began = trio.current_time()
    with trio.fail_after(within):
        while link.up:  # noqa: ASYNC110
            await trio.sleep(0.005)
    return trio.current_time() - began

"""Real workers, a real Redis behind a proxy that loses messages, and everything that can be killed is killed.

Each round, by its seed: a run with viewers on any workers, of which connections are cut; meanwhile workers are killed,
Redis is cut off, suspended, restarted empty, or cuts off who takes too slowly; messages between workers are lost and
late. In the end each viewer holds what the rows say, and what the engine said.

    WEGENT_CHAOS_ROUNDS=1000 WEGENT_SEED=5000 pytest tests/chaos -s      # or: make chaos ROUNDS=1000
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from tests.chaos.proxy import LossyProxy
from tests.e2e.serving import Server, serving
from tests.e2e.test_workers import alive
from tests.fanout.redis_server import RedisServer
from tests.storage.databases import Missing, running
from wegent.client.rest import open_rest
from wegent.client.session import Backoff, Session, open_session
from wegent.client.streams import TaskStream, open_task

ROUNDS = int(os.environ.get("WEGENT_CHAOS_ROUNDS", "25"))
FIRST = int(os.environ.get("WEGENT_SEED", str(int(time.time()) % 1_000_000)))
QUICK = Backoff(first=0.02, most=0.3)
VIEWERS = 4
PROMPTS = ("/long 120", "/tools", "/think", "/emoji", "/long 250")
TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
EQUAL_WITHIN = 20.0
"""Seconds after the last disturbance: the last number is repeated after 15 s, and mended within 3."""
KEPT = 3.0


class Scene:
    """Servers, and the means to hurt them."""

    def __init__(self, server: Server, redis_server: RedisServer, proxy: LossyProxy, token: str, team: int) -> None:
        self.server = server
        self.redis_server = redis_server
        self.proxy = proxy
        self.token = token
        self.team = team


@contextmanager
def proxied(port: int, rng: random.Random) -> Iterator[LossyProxy]:
    """The proxy at work in a thread of its own."""
    proxy, up = LossyProxy(port, rng), threading.Event()
    scope: list[tuple[trio.CancelScope, trio.lowlevel.TrioToken]] = []

    async def main() -> None:
        with trio.CancelScope() as mine:
            scope.append((mine, trio.lowlevel.current_trio_token()))
            async with trio.open_nursery() as nursery:
                await nursery.start(proxy.serve)
                up.set()

    thread = threading.Thread(target=trio.run, args=[main])
    thread.start()
    up.wait(10)
    try:
        yield proxy
    finally:
        [(mine, token)] = scope
        token.run_sync_soon(mine.cancel)
        thread.join(10)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    data = tmp_path_factory.mktemp("chaos")
    try:
        with running(RedisServer) as redis_server, proxied(redis_server.port, random.Random(FIRST)) as proxy:
            settings = [
                'plugins.add=["redis"]', 'plugins.remove=["memory"]', "offline.tokens_per_s=150",
                f"redis.url=redis://127.0.0.1:{proxy.port}/0", "redis.timeout=0.5", "redis.retry_most=0.3",
                f"chat.keep_streams={KEPT:g}", "log.level=ERROR",
            ]  # fmt: skip
            with serving(data, *settings, workers=2) as server:
                token = server.login()
                yield Scene(server, redis_server, proxy, token, server.team(token))
    except Missing as missing:
        pytest.skip(str(missing))


class Round:
    """One run and its viewers."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.rng = random.Random(seed)
        self.answer = 0
        self.task_id = 0
        self.streams: list[TaskStream] = []
        self.log: list[str] = []

    async def play(self) -> None:
        """Send, watch, disturb, and compare when it is over."""
        async with trio.open_nursery() as nursery:
            writer = await nursery.start(self._view, None)
            ack = await writer.send(self.scene.team, self.rng.choice(PROMPTS))
            self.task_id, self.answer = ack["task_id"], ack["assistant_subtask_id"]
            for _ in range(VIEWERS - 1):
                await nursery.start(self._view, self.task_id)
            await self._disturb()
            await self._until_equal()
            nursery.cancel_scope.cancel()

    async def _view(self, task_id: int | None, *, task_status: trio.TaskStatus[TaskStream]) -> None:
        async with (
            open_session(self.scene.server.url, self.scene.token, backoff=QUICK, first_patience=50) as session,
            open_task(session, task_id) as stream,
            trio.open_nursery() as nursery,
        ):
            self.streams.append(stream)
            task_status.started(stream)
            nursery.start_soon(self._cut, session)
            async for _ in stream:
                pass

    async def _cut(self, session: Session) -> None:
        for _ in range(self.rng.randrange(3)):
            await trio.sleep(self.rng.random())
            if session.link is not None:
                session.link.cut()

    async def _disturb(self) -> None:
        scene, rng = self.scene, self.rng
        scene.proxy.lost, scene.proxy.late = rng.choice([0.0, 0.1, 0.3]), rng.choice([0.0, 0.2])
        acts: list[Callable[[], Awaitable[None]]] = [
            self._kill_worker, self._cut_redis, self._cut_redis, self._suspend_redis, self._restart_redis,
            self._overrun_redis, self._cancel, self._nothing, self._nothing,
        ]  # fmt: skip
        for _ in range(rng.randrange(1, 4)):
            await trio.sleep(rng.random() * 0.6)
            act = rng.choice(acts)
            self.log.append(act.__name__)
            await act()
        scene.proxy.lost = scene.proxy.late = 0.0

    async def _nothing(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _kill_worker(self) -> None:
        workers = alive(self.scene.server)
        if len(workers) == 2:  # with none there is nobody to recover at
            os.kill(self.rng.choice(list(workers.values())), signal.SIGKILL)
        await trio.lowlevel.checkpoint()

    async def _cut_redis(self) -> None:
        kind = self.rng.choice(["normal", "pubsub"])
        await trio.to_thread.run_sync(self.scene.redis_server.kill_clients, kind)

    async def _overrun_redis(self) -> None:
        """Subscribers take nothing for so long that Redis cuts them off."""
        self.scene.proxy.stalled = True
        try:
            await trio.to_thread.run_sync(self.scene.redis_server.overrun, "wegent:{workers}")
        finally:
            self.scene.proxy.stalled = False

    async def _suspend_redis(self) -> None:
        self.scene.redis_server.pause()
        await trio.sleep(self.rng.random() * 1.5)
        self.scene.redis_server.resume()

    async def _restart_redis(self) -> None:
        await trio.to_thread.run_sync(self.scene.redis_server.restart)

    async def _cancel(self) -> None:
        with trio.move_on_after(1):
            try:
                await self.streams[0].cancel(self.answer)
            except Exception as error:  # over already, or the connection is gone
                self.log.append(type(error).__name__)

    async def _until_equal(self) -> None:
        with trio.fail_after(60):
            row = await self._row()
            while row["status"] not in TERMINAL:
                await trio.sleep(0.1)
                row = await self._row()
        deadline = trio.current_time() + EQUAL_WITHIN
        while (wrong := self._wrong(row)) and trio.current_time() < deadline:  # noqa: ASYNC110
            await trio.sleep(0.05)
        assert not wrong, (self.log, wrong, row)

    async def _row(self) -> dict[str, Any]:
        async with open_rest(self.scene.server.url, self.scene.token) as rest:
            task = await rest.task(self.task_id)
        row: dict[str, Any] = next(row for row in task["subtasks"] if row["id"] == self.answer)
        return row

    def _wrong(self, row: dict[str, Any]) -> list[Any]:
        """What viewers hold of the answer that is not what the row says."""
        said = (row["status"], row["attempt"], row["result"].get("value", ""), row["result"].get("thinking") or "")
        held = []
        for stream in self.streams:
            view = stream.view
            messages = view.holds() if view is not None else []
            mine = next((each for each in messages if each["id"] == self.answer), None)
            held.append(mine and (mine["status"], mine["attempt"], mine["text"], mine["thinking"] or ""))
        return [each for each in held if each != said]


@pytest.mark.parametrize("seed", range(FIRST, FIRST + ROUNDS))
def test_after_the_chaos_everybody_holds_what_the_rows_say(scene: Scene, seed: int) -> None:
    trio.run(Round(scene, seed).play)


def test_messages_were_lost(scene: Scene) -> None:
    assert ROUNDS < 5 or scene.proxy.dropped


def test_no_key_is_left_behind(scene: Scene) -> None:
    def keys() -> list[bytes]:
        return [key for key in scene.redis_server.do("KEYS", "*") if b"{task:" in key]

    assert all(scene.redis_server.do("PTTL", key) > 0 for key in scene.redis_server.do("KEYS", "*"))
    deadline = time.monotonic() + KEPT + 10
    while keys() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not keys()

"""The log in Redis: its keys, what it does about lost ones, and a worker that writes through kills and restarts."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.fanout.redis_server import RedisServer, link_to, until_down, until_up
from wegent.core.errors import BrokerAway, OffsetMismatch
from wegent.core.instruments import Registry
from wegent.core.model import CONTENT, THINKING, Snapshot, StreamId, Text
from wegent.core.ports.fanout import Appended, Lost, Message, Subscription, task_topic
from wegent.core.ports.streamlog import StreamLog
from wegent.core.replica import Replica
from wegent.core.timers import Timers
from wegent.fanout.holding import HoldingLog
from wegent.fanout.redis.fanout import RedisFanout
from wegent.fanout.redis.link import Link, open_link
from wegent.fanout.redis.log import RedisStreamLog
from wegent.testing.fanout_contract import until
from wegent.testing.streamlog_contract import DONE, content, stream, text, value

PREFIX = "wegent:"
TTL = 60.0


def fanout_of(link: Link, sender: str = "one") -> RedisFanout:
    return RedisFanout(link, sender=sender, prefix=PREFIX, registry=Registry())


@asynccontextmanager
async def opened(server: RedisServer) -> AsyncIterator[RedisStreamLog]:
    async with open_link(link_to(server)) as link:
        yield RedisStreamLog(link, fanout_of(link), ttl=TTL)


def keys_of(server: RedisServer, of: StreamId) -> dict[str, int]:
    """The keys of a stream, each with the milliseconds it has."""
    names = sorted(server.do("KEYS", f"{PREFIX}{task_topic(of.task_id)}:*"))
    return {name.decode(): server.do("PTTL", name) for name in names}


async def test_all_keys_of_a_stream_share_a_tag_with_its_topic_and_lapse(shared_redis: RedisServer) -> None:
    async with opened(shared_redis) as log:
        mine = stream()
        await log.append(mine, [content(0, "a"), Text(THINKING, 0, "b"), value("a", 1)])
        keys = keys_of(shared_redis, mine)
        base = f"{PREFIX}{{task:{mine.task_id}}}:{mine.subtask_id}.{mine.attempt}"
        assert list(keys) == [base, f"{base}:content", f"{base}:thinking"]
        assert all(TTL * 900 < left <= TTL * 1000 for left in keys.values())
        for key in keys:
            shared_redis.do("PEXPIRE", key, 1000)
        await log.append(mine, [content(1, "c")])
        assert all(left > TTL * 900 for left in keys_of(shared_redis, mine).values())
        await log.end(mine, DONE, keep=5)
        assert all(0 < left <= 5000 for left in keys_of(shared_redis, mine).values())


@pytest.mark.parametrize("evicted", ["", ":content"])
async def test_text_that_was_evicted_counts_as_lost(shared_redis: RedisServer, evicted: str) -> None:
    async with opened(shared_redis) as log:
        mine = stream()
        await log.append(mine, [content(0, "abc")])
        shared_redis.do("DEL", f"{next(iter(keys_of(shared_redis, mine)))}{evicted}")
        assert await text(log, mine) == ""
        with pytest.raises(OffsetMismatch) as raised:
            await log.append(mine, [content(3, "d")])
        assert raised.value.offset == 0
        await log.restore(mine, Snapshot({CONTENT: "abc"}))
        await log.append(mine, [content(3, "d")])
        assert await text(log, mine) == "abcd"


async def test_forgotten_scripts_are_told_again_at_the_price_of_a_number(redis_server: RedisServer) -> None:
    async with opened(redis_server) as log, open_link(link_to(redis_server)) as other:
        mine = stream()
        await other.call("PING")  # its own telling of the scripts is behind it
        async with fanout_of(other, "two").subscribe() as subscription:
            await subscription.add(task_topic(mine.task_id))
            await log.append(mine, [content(0, "a")])
            redis_server.do("SCRIPT", "FLUSH")
            await log.append(mine, [content(1, "b")])
            redis_server.do("SCRIPT", "FLUSH")
            assert await text(log, mine) == "ab"
            got = await until(subscription, lambda message: message.number >= 3)
        assert [message.number for message in got] == [1, 3]


class Worker:
    """Writes streams as `Streams` does."""

    def __init__(self, log: StreamLog, streams: list[StreamId]) -> None:
        self.log = log
        self.replicas = [Replica(each) for each in streams]
        for replica in self.replicas:
            log.hold(replica)
        self.slowest = 0.0

    async def say(self, replica: Replica, delta: str) -> None:
        entries = [content(replica.length(), delta)]
        began = trio.current_time()
        await self.log.append(replica.stream, entries)
        self.slowest = max(self.slowest, trio.current_time() - began)
        replica.apply(entries)


class Viewer:
    """Another worker's copies: follows by offset, and reads the log where it may have missed something."""

    def __init__(self, log: StreamLog, streams: list[StreamId]) -> None:
        self.log = log
        self.replicas = {each: Replica(each) for each in streams}
        self.numbers: dict[tuple[str, str], int] = {}
        self.repairs = 0

    async def follow(self, subscription: Subscription) -> None:
        while True:
            for message in await subscription.receive():
                if isinstance(message, Lost):
                    await self.repair()
                else:
                    await self.take(message)

    async def take(self, message: Message) -> None:
        source = (message.topic, message.sender)
        latest = self.numbers.get(source)
        assert latest is None or message.number >= latest
        self.numbers[source] = message.number
        if latest is not None and message.number > latest + 1:
            await self.repair()
        elif isinstance(message.body, Appended):
            replica = self.replicas[message.body.stream]
            first = message.body.entries[0]
            assert isinstance(first, Text)
            if first.offset > replica.length():
                await self.repair()
            else:
                replica.apply(message.body.entries)

    async def repair(self) -> None:
        self.repairs += 1
        for of, replica in self.replicas.items():
            if (found := await self.log.read(of)) is not None and found.lengths[CONTENT] > replica.length():
                self.replicas[of] = Replica.of(of, found)


@asynccontextmanager
async def writing(server: RedisServer, streams: list[StreamId]) -> AsyncIterator[tuple[Worker, Link, HoldingLog]]:
    async with open_link(link_to(server)) as link, trio.open_nursery() as nursery:
        log = HoldingLog(RedisStreamLog(link, fanout_of(link), ttl=TTL), Timers())
        link.returned = log.returned
        nursery.start_soon(log.run)
        yield Worker(log, streams), link, log
        nursery.cancel_scope.cancel()


async def settled(log: HoldingLog, link: Link) -> None:
    await until_up(link)
    with trio.fail_after(10):
        while log.behind:  # noqa: ASYNC110
            await trio.sleep(0.005)


@pytest.mark.parametrize("how", ["stopped", "hung"])
async def test_a_worker_goes_on_while_redis_is_away_and_writes_back(redis_server: RedisServer, how: str) -> None:
    streams = [stream() for _ in range(5)]
    async with writing(redis_server, streams) as (worker, link, log):
        for replica in worker.replicas:
            await worker.say(replica, "before ")
        if how == "stopped":
            await trio.to_thread.run_sync(redis_server.stop)
        else:
            redis_server.pause()
        try:
            began = trio.current_time()
            while trio.current_time() < began + 1.5:
                async with trio.open_nursery() as nursery:
                    for replica in worker.replicas:
                        nursery.start_soon(worker.say, replica, "é")
                await trio.sleep(0.02)
            assert worker.slowest < 1.0
        finally:
            if how == "stopped":
                await trio.to_thread.run_sync(redis_server.start)
            else:
                redis_server.resume()
        await settled(log, link)
        for replica in worker.replicas:
            await worker.say(replica, " after")
    async with opened(redis_server) as there:
        for replica in worker.replicas:
            assert "éé" in replica.text()
            assert await text(there, replica.stream) == replica.text()


async def test_a_worker_goes_on_while_redis_has_no_memory_left(redis_server: RedisServer) -> None:
    async with writing(redis_server, [stream()]) as (worker, link, log):
        [replica] = worker.replicas
        await worker.say(replica, "before ")
        redis_server.do("CONFIG", "SET", "maxmemory", "1")
        for _ in range(100):
            await worker.say(replica, "é")
        assert link.up
        assert log.behind == 1
        redis_server.do("CONFIG", "SET", "maxmemory", "0")
        await settled(log, link)
    async with opened(redis_server) as there:
        assert await text(there, replica.stream) == replica.text()


async def test_streams_that_ended_while_redis_was_away_are_sealed_there(redis_server: RedisServer) -> None:
    [mine] = streams = [stream()]
    async with writing(redis_server, streams) as (worker, link, log):
        await trio.to_thread.run_sync(redis_server.stop)
        await until_down(link)
        await worker.say(worker.replicas[0], "all of it")
        await log.end(mine, DONE, keep=60)
        await trio.to_thread.run_sync(redis_server.start)
        await settled(log, link)
    async with opened(redis_server) as there:
        found = await there.read(mine)
        assert found is not None
        assert (found.texts[CONTENT], found.ending) == ("all of it", DONE)


@pytest.mark.parametrize("seed", range(3))
async def test_who_follows_has_everything_in_the_end_whatever_happens_to_redis(
    redis_server: RedisServer, seed: int
) -> None:
    """Connections are cut, scripts forgotten, the server hung and restarted while streams are written and followed."""
    rng = random.Random(seed)
    first = stream()
    streams = [first._replace(subtask_id=number) for number in range(10)]
    over = trio.Event()
    async with writing(redis_server, streams) as (worker, link, log), open_link(link_to(redis_server)) as second:
        other = fanout_of(second, "two")
        viewer = Viewer(HoldingLog(RedisStreamLog(second, other, ttl=TTL), Timers()), streams)

        async def write(replica: Replica) -> None:
            number = 0
            while not over.is_set():
                number += 1
                await worker.say(replica, f"{number} é\U0001f680 ")
                await trio.sleep(0.002)

        async with other.subscribe() as subscription, trio.open_nursery() as following:
            await subscription.add(task_topic(first.task_id))
            following.start_soon(follow_through_outages, viewer, subscription, second)
            async with trio.open_nursery() as nursery:
                for replica in worker.replicas:
                    nursery.start_soon(write, replica)
                for _ in range(6):
                    await harm(redis_server, rng)
                    await trio.sleep(rng.random() * 0.3)
                await until_up(link)
                over.set()
            await settled(log, link)
            for replica in worker.replicas:
                await worker.say(replica, "end")
            await caught_up(worker, viewer)
            following.cancel_scope.cancel()
    async with opened(redis_server) as there:
        for replica in worker.replicas:
            assert await text(there, replica.stream) == replica.text()
    assert worker.slowest < 1.5


async def follow_through_outages(viewer: Viewer, subscription: Subscription, link: Link) -> None:
    """A repair that meets an outage is made again when it is over."""
    missed = False
    while True:
        try:
            if missed:
                await viewer.repair()
                missed = False
            await viewer.follow(subscription)
        except BrokerAway:
            missed = True
            await until_up(link)


async def harm(server: RedisServer, rng: random.Random) -> None:
    what = rng.choice(["cut", "cut", "scripts", "flush", "hang", "restart"])
    if what == "cut":
        kinds = rng.sample(["normal", "pubsub"], rng.randrange(1, 3))
        for kind in kinds:
            await trio.to_thread.run_sync(server.kill_clients, kind)
    elif what == "scripts":
        await trio.to_thread.run_sync(server.do, "SCRIPT", "FLUSH")
    elif what == "flush":
        await trio.to_thread.run_sync(server.do, "FLUSHALL")
    elif what == "hang":
        server.pause()
        await trio.sleep(rng.choice([0.1, 0.8]))
        server.resume()
    else:
        await trio.to_thread.run_sync(server.restart)


async def caught_up(worker: Worker, viewer: Viewer) -> None:
    def equal() -> bool:
        return all(viewer.replicas[mine.stream].text() == mine.text() for mine in worker.replicas)

    with trio.fail_after(5):
        while not equal():  # noqa: ASYNC110
            await trio.sleep(0.01)

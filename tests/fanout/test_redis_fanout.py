"""Fan-out over Redis while Redis is killed, hung, emptied, and while nobody reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from tests.fanout.redis_server import RedisServer, link_to, until_down, until_up
from wegent.core.instruments import Registry
from wegent.core.ports.fanout import Lost, Message, Subscription
from wegent.fanout.redis.fanout import RedisFanout
from wegent.fanout.redis.link import Link, open_link
from wegent.testing.checkpoints import Cut, at_every_checkpoint
from wegent.testing.fanout_contract import topic, until

PREFIX = "wegent:"


class Worker:
    """One end, with its link and counters."""

    def __init__(self, link: Link, sender: str) -> None:
        self.link = link
        self.registry = Registry()
        self.fanout = RedisFanout(link, sender=sender, prefix=PREFIX, registry=self.registry)

    @property
    def dropped(self) -> float:
        return self.registry.counter("wegent_fanout_dropped", "").value


@asynccontextmanager
async def workers(server: RedisServer, **limits: object) -> AsyncIterator[tuple[Worker, Worker]]:
    async with open_link(link_to(server, **limits)) as one, open_link(link_to(server, **limits)) as two:
        yield Worker(one, "one"), Worker(two, "two")


async def until_lost(subscription: Subscription) -> list[Message | Lost]:
    """What is received up to the first word of a loss."""
    got: list[Message | Lost] = []
    with trio.fail_after(10):
        while not any(isinstance(each, Lost) for each in got):
            got += await subscription.receive()
    return got


async def cut(server: RedisServer, how: str) -> None:
    """Away and back."""
    if how == "cut":
        assert await trio.to_thread.run_sync(server.kill_clients, "pubsub") > 0
    elif how == "restarted":
        await trio.to_thread.run_sync(server.restart)
    else:
        server.pause()
        await trio.sleep(1.0)
        server.resume()


@pytest.mark.parametrize("how", ["cut", "restarted", "hung"])
async def test_a_loss_is_told_and_the_topics_are_heard_again(redis_server: RedisServer, how: str) -> None:
    async with workers(redis_server) as (one, two), two.fanout.subscribe() as subscription:
        names = [topic() for _ in range(100)]
        for name in names:
            await subscription.add(name)
        one.fanout.publish(names[0], b"before")
        [before] = await until(subscription, lambda _: True)
        await cut(redis_server, how)
        assert isinstance((await until_lost(subscription))[-1], Lost)
        await until_up(one.link)
        for name in names:
            one.fanout.publish(name, b"after")
        got = await until(subscription, lambda message: message.topic == names[-1])
        assert [message.topic for message in got] == names
        assert got[0].number == before.number + 1


async def test_what_is_published_while_redis_is_away_is_dropped_counted_and_a_gap(redis_server: RedisServer) -> None:
    async with workers(redis_server) as (one, two), two.fanout.subscribe() as subscription:
        name = topic()
        await subscription.add(name)
        one.fanout.publish(name, b"before")
        [before] = await until(subscription, lambda _: True)
        await trio.to_thread.run_sync(redis_server.stop)
        await until_down(one.link)
        for _ in range(3):
            one.fanout.publish(name, b"nowhere")
        with trio.fail_after(1):
            await one.fanout.flush()
        assert one.dropped == 3
        await trio.to_thread.run_sync(redis_server.start)
        await until_lost(subscription)
        await until_up(one.link)
        one.fanout.remind(name)
        [again] = await until(subscription, lambda _: True)
        assert (again.body, again.number) == (None, before.number + 3)


async def test_topics_added_while_redis_is_away_are_heard_when_it_is_back(redis_server: RedisServer) -> None:
    async with workers(redis_server) as (one, two), two.fanout.subscribe() as subscription:
        await trio.to_thread.run_sync(redis_server.stop)
        await until_down(one.link)
        kept, left = topic(), topic()
        for name in (kept, left):
            with trio.fail_after(1):
                await subscription.add(name)
        await subscription.discard(left)
        await trio.to_thread.run_sync(redis_server.start)
        await until_lost(subscription)
        await until_up(one.link)
        one.fanout.publish(left, b"a")
        one.fanout.publish(kept, b"b")
        [got] = await until(subscription, lambda _: True)
        assert (got.topic, got.body) == (kept, b"b")


async def test_a_receiver_that_the_server_gives_up_on_is_told(redis_server: RedisServer) -> None:
    redis_server.do("CONFIG", "SET", "client-output-buffer-limit", "pubsub 100000 0 0")
    async with workers(redis_server) as (one, two), two.fanout.subscribe() as subscription:
        name = topic()
        await subscription.add(name)
        one.fanout.publish(name, b"x" * 1_000_000)
        await until_lost(subscription)
        one.fanout.publish(name, b"after")
        [got] = await until(subscription, lambda _: True)
        assert got.body == b"after"


async def test_what_overflows_the_way_is_dropped_and_a_gap(shared_redis: RedisServer) -> None:
    async with workers(shared_redis, waiting=100_000) as (one, two), two.fanout.subscribe() as subscription:
        name = topic()
        await subscription.add(name)
        for _ in range(1_000):
            one.fanout.publish(name, b"x" * 1_000)
        assert 880 < one.dropped < 920
        await one.fanout.flush()
        one.fanout.publish(name, b"after")
        got = await until(subscription, lambda message: message.body == b"after")
        assert got[-1].number == got[0].number + 1_000
        assert len(got) == 1_001 - one.dropped


async def test_what_strangers_publish_is_passed_over(shared_redis: RedisServer) -> None:
    async with workers(shared_redis) as (one, two), two.fanout.subscribe() as subscription:
        name = topic()
        await subscription.add(name)
        for payload in ("", "hello", "a b c\n", "a 1 x\n", "a 1 a\n[]\n", "a 1 a\n[1,1,1,[[1]],[]]\n", b"\xff 1 m\n"):
            shared_redis.do("PUBLISH", PREFIX + name, payload)
        one.fanout.publish(name, b"ours")
        [got] = await until(subscription, lambda _: True)
        assert got.body == b"ours"


async def test_subscriptions_cancelled_at_any_checkpoint_leave_no_connection(redis_server: RedisServer) -> None:
    async with workers(redis_server) as (one, _):

        async def attempt(at: Cut) -> None:
            with trio.CancelScope() as scope, at.at(scope.cancel):
                async with one.fanout.subscribe() as subscription:
                    await subscription.add(topic())

        assert await at_every_checkpoint(attempt) > 5
        await settled(lambda: redis_server.clients("pubsub") == 0)


async def settled(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)

"""What every `Fanout` must do, as tests: subclass `FanoutContract` as `Test…`, and give it a fixture `fanouts`.

    class TestMyFanout(FanoutContract):
        @pytest.fixture
        async def fanouts(self): ...    # the ends of two workers, named one and two

The tests share a broker without harm. They are Trio's, for pytest-trio in its Trio mode, on a real clock.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import pytest
import trio

from wegent.core.ports.fanout import Fanout, Lost, Message, Subscription
from wegent.testing.checkpoints import Cut, at_every_checkpoint

Fanouts = tuple[Fanout, Fanout]
PATIENCE_S = 10.0
_BODIES = [b"", b"\n", b"\0\xff\r\n$5\r\nHELLO", b"one 1 m\ntwo", "\U0001f680 漢字".encode(), b"x" * 100_000]

_names = itertools.count()


def topic() -> str:
    """A topic that no other test has."""
    return f"{{test:{os.getpid()}.{next(_names)}}}"


async def until(subscription: Subscription, done: Callable[[Message], bool]) -> list[Message]:
    """What is received up to the message that is looked for; nothing may be lost."""
    got: list[Message] = []
    with trio.fail_after(PATIENCE_S):
        while True:
            for message in await subscription.receive():
                assert not isinstance(message, Lost)
                got.append(message)
                if done(message):
                    return got


async def receive(subscription: Subscription, count: int) -> list[Message]:
    """So many messages."""
    left = itertools.count(1)
    return await until(subscription, lambda _: next(left) == count)


class FanoutContract:
    """Two workers talk to each other."""

    async def test_messages_come_in_order_and_numbered(self, fanouts: Fanouts) -> None:
        one, two = fanouts
        name = topic()
        async with two.subscribe() as subscription:
            await subscription.add(name)
            for number in range(500):
                one.publish(name, b"%d" % number)
            got = await receive(subscription, 500)
        assert [message.body for message in got] == [b"%d" % number for number in range(500)]
        assert {(message.topic, message.sender) for message in got} == {(name, "one")}
        numbers = [message.number for message in got]
        assert numbers == list(range(numbers[0], numbers[0] + 500))

    @pytest.mark.parametrize("body", _BODIES, ids=range(len(_BODIES)))
    async def test_any_bytes_are_a_body(self, fanouts: Fanouts, body: bytes) -> None:
        one, two = fanouts
        name = topic() + " 漢\n字*"
        async with two.subscribe() as subscription:
            await subscription.add(name)
            one.publish(name, body)
            [got] = await receive(subscription, 1)
        assert (got.topic, got.body) == (name, body)

    async def test_a_sender_does_not_hear_itself(self, fanouts: Fanouts) -> None:
        one, two = fanouts
        name = topic()
        async with one.subscribe() as subscription:
            await subscription.add(name)
            one.publish(name, b"mine")
            await one.flush()
            two.publish(name, b"theirs")
            [got] = await receive(subscription, 1)
        assert (got.sender, got.body) == ("two", b"theirs")

    async def test_only_topics_that_were_added_are_heard_and_each_has_its_numbers(self, fanouts: Fanouts) -> None:
        one, two = fanouts
        heard, other, discarded = topic(), topic(), topic()
        async with two.subscribe() as subscription:
            for name in (heard, discarded):
                await subscription.add(name)
            await subscription.discard(discarded)
            one.publish(heard, b"a")
            for name in (other, discarded, other):
                one.publish(name, b"not heard")
            one.publish(heard, b"b")
            got = await until(subscription, lambda message: message.body == b"b")
        assert [message.body for message in got if message.topic != discarded] == [b"a", b"b"]
        first, last = (message.number for message in got if message.topic == heard)
        assert last == first + 1

    async def test_a_topic_can_be_added_again(self, fanouts: Fanouts) -> None:
        one, two = fanouts
        name = topic()
        async with two.subscribe() as subscription:
            for body in (b"a", b"b"):
                await subscription.add(name)
                one.publish(name, body)
                [got] = await receive(subscription, 1)
                assert got.body == body
                await subscription.discard(name)

    async def test_a_message_that_was_missed_shows_as_a_gap(self, fanouts: Fanouts) -> None:
        one, two = fanouts
        name = topic()
        async with two.subscribe() as subscription:
            await subscription.add(name)
            one.publish(name, b"a")
            [before] = await receive(subscription, 1)
            await subscription.discard(name)
            one.publish(name, b"missed")
            await one.flush()
            await subscription.add(name)
            one.publish(name, b"b")
            after = (await until(subscription, lambda message: message.body == b"b"))[-1]
        assert after.number == before.number + 2

    async def test_a_reminder_repeats_the_latest_number(self, fanouts: Fanouts) -> None:
        one, two = fanouts
        name = topic()
        async with two.subscribe() as subscription:
            await subscription.add(name)
            one.remind(name)  # of nothing
            one.publish(name, b"a")
            one.remind(name)
            one.publish(name, b"b")
            first, again, second = await receive(subscription, 3)
        assert (first.body, again.body, second.body) == (b"a", None, b"b")
        assert (again.number, second.number) == (first.number, first.number + 1)

    async def test_every_subscription_hears_all(self, fanouts: Fanouts) -> None:
        one, two = fanouts
        name = topic()
        async with two.subscribe() as first, two.subscribe() as second:
            for subscription in (first, second):
                await subscription.add(name)
            one.publish(name, b"a")
            for subscription in (first, second):
                [got] = await receive(subscription, 1)
                assert got.body == b"a"

    async def test_publishing_and_flushing_need_no_listener(self, fanouts: Fanouts) -> None:
        one, _ = fanouts
        one.publish(topic(), b"a")
        with trio.fail_after(PATIENCE_S):
            await one.flush()

    async def test_a_cancelled_receive_loses_nothing(self, fanouts: Fanouts) -> None:
        one, two = fanouts
        name = topic()
        async with two.subscribe() as subscription:
            await subscription.add(name)
            got: list[Message | Lost] = []
            sent: list[bytes] = []

            async def attempt(cut: Cut) -> None:
                sent.append(b"%d" % len(sent))
                one.publish(name, sent[-1])
                with trio.fail_after(PATIENCE_S), trio.CancelScope() as scope, cut.at(scope.cancel):
                    got.extend(await subscription.receive())

            await at_every_checkpoint(attempt)
            one.publish(name, b"end")
            got += await until(subscription, lambda message: message.body == b"end")
        assert [message.body for message in got if isinstance(message, Message)] == [*sent, b"end"]

    async def test_a_cancelled_add_harms_nothing(self, fanouts: Fanouts) -> None:
        one, two = fanouts
        async with two.subscribe() as subscription:

            async def attempt(cut: Cut) -> None:
                name = topic()
                with trio.CancelScope() as scope, cut.at(scope.cancel):
                    await subscription.add(name)
                await subscription.add(name)
                one.publish(name, b"a")
                [got] = await receive(subscription, 1)
                assert (got.topic, got.body) == (name, b"a")
                await subscription.discard(name)

            await at_every_checkpoint(attempt)

"""Fan-out over Redis's PUBLISH and SUBSCRIBE."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import hiredis
import trio

from wegent.core.errors import BrokerAway
from wegent.core.instruments import Registry
from wegent.core.ports.fanout import Fanout, Lost, Message, Subscription
from wegent.fanout.backlog import Backlog
from wegent.fanout.numbers import Numbers
from wegent.fanout.redis.connection import Connection
from wegent.fanout.redis.link import Link, open_link
from wegent.fanout.redis.messages import published, read_message, reminder


class RedisFanout(Fanout):
    """One worker's end. What it publishes goes over the link it is given; each subscription has a link of its own."""

    def __init__(self, link: Link, *, sender: str, prefix: str, registry: Registry) -> None:
        """`sender` is the worker's name, without white space; topics are channels behind `prefix`."""
        self.numbers = Numbers()
        self.sender = sender
        self.prefix = prefix
        self._link = link
        self._dropped = registry.counter("wegent_fanout_dropped", "Messages to other workers that found no way")
        self._sent = registry.counter("wegent_fanout_messages", "Messages between workers", direction="out")
        self._received = registry.counter("wegent_fanout_messages", "Messages between workers", direction="in")
        self._overflowed = registry.counter("wegent_fanout_overflowed", "Messages that waited for no receiver")

    def publish(self, topic: str, body: bytes) -> None:
        """Send it, if there is a way and room on it; its number is taken in any case."""
        self._send(topic, published(self.sender, self.numbers.take(topic), body))

    def remind(self, topic: str) -> None:
        """Send the latest number."""
        if (number := self.numbers.latest(topic)) is not None:
            self._send(topic, reminder(self.sender, number))

    async def flush(self) -> None:
        """Wait until the server has read all that was sent."""
        try:
            await self._link.ready()
        except BrokerAway:
            await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscription]:
        """A subscription on a link of its own, closed with its block."""
        subscription = _RedisSubscription(self)
        async with open_link(subscription.link):
            yield subscription

    def link(self, subscription: _RedisSubscription) -> Link:
        """A link to the same server for a subscription."""
        return Link(
            self._link.target,
            self._link.limits,
            name=f"wegent-{self.sender}-sub",
            pushed=subscription.pushed,
            greeting=subscription.subscribe_again,
        )

    def count(self, *, taken: bool) -> None:
        """A message came, and was taken in or dropped."""
        (self._received if taken else self._overflowed).value += 1

    def _send(self, topic: str, payload: bytes) -> None:
        if not self._link.full:
            with suppress(BrokerAway):
                self._link.post_blind("PUBLISH", self.prefix + topic, payload)
                self._sent.value += 1
                return
        self._dropped.value += 1


class _RedisSubscription(Subscription):
    def __init__(self, owner: RedisFanout) -> None:
        self._owner = owner
        self._own = f"{owner.sender} ".encode()
        self._skip = len(owner.prefix.encode())
        self._topics: set[str] = set()
        self._backlog = Backlog()
        self.link = owner.link(self)

    async def add(self, topic: str) -> None:
        await trio.lowlevel.checkpoint()
        self._topics.add(topic)
        try:
            await self._tell("SUBSCRIBE", topic)
        except BaseException:
            self._leave(topic)
            raise

    async def discard(self, topic: str) -> None:
        await trio.lowlevel.checkpoint()
        self._leave(topic)

    async def receive(self) -> list[Message | Lost]:
        return await self._backlog.take()

    def pushed(self, reply: Any) -> bool:
        """Take a message; whether it was one."""
        if type(reply) is not list or reply[0] != b"message":
            return False
        _, channel, payload = reply
        if not payload.startswith(self._own):
            message = read_message(channel[self._skip :].decode(), payload)
            if message is not None:
                self._owner.count(taken=self._backlog.put(message, len(payload)))
        return True

    async def subscribe_again(self, connection: Connection) -> None:
        """Before a new connection counts as there: all topics on it, also those that are added meanwhile."""
        if not self._topics:
            return
        asked: set[str] = set()
        while missing := self._topics - asked:
            asked |= missing
            pending = [connection.post("SUBSCRIBE", self._owner.prefix + topic) for topic in missing]
            try:
                for each in pending:
                    await each
            except hiredis.ReplyError as error:
                message = f"Redis refuses to subscribe: {error}"
                raise BrokerAway(message) from None
        for topic in asked - self._topics:
            connection.post_blind("UNSUBSCRIBE", self._owner.prefix + topic)
        self._backlog.lose()

    def _leave(self, topic: str) -> None:
        if topic in self._topics:
            self._topics.discard(topic)
            with suppress(BrokerAway):
                self.link.post_blind("UNSUBSCRIBE", self._owner.prefix + topic)

    async def _tell(self, command: str, topic: str) -> None:
        with suppress(BrokerAway):
            await self.link.call(command, self._owner.prefix + topic)

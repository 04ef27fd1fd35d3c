"""A connection to Redis that is made again whenever it is lost."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import trio

from wegent.core.errors import BrokerAway, ConfigError
from wegent.fanout.redis.connection import Connection, Pending, Receiver, Reply
from wegent.fanout.redis.opening import Identity, Limits, carried, connect, find, greet
from wegent.fanout.redis.script import Script
from wegent.fanout.redis.url import Target

log = logging.getLogger(__name__)
Greeting = Callable[[Connection], Awaitable[None]]
_GONE = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS")
"""Refusals of a server that is not, or not yet, the one to talk to."""


class Link:
    """Commands for whoever holds it, as long as Redis is there; calls fail at once while it is not.

    `up` says which. `returned` is called in the plain step in which it comes up, after `greeting` has prepared the
    connection; `made` counts connections; `tried` is set after the first attempt. `reason` says why it is not up.
    """

    def __init__(
        self,
        target: Target,
        limits: Limits,
        *,
        name: str,
        pushed: Callable[[Any], bool] | None = None,
        greeting: Greeting | None = None,
        scripts: Sequence[Script] = (),
    ) -> None:
        """`scripts` are told to each server that is met, so that their first runs need no second round trip."""
        self.target = target
        self.limits = limits
        self.made = 0
        self.tried = trio.Event()
        self.returned: Callable[[], None] | None = None
        self.refused: ConfigError | None = None
        """Why the server would have none of us, at the latest attempt."""
        self._name = name
        self._pushed = pushed
        self._greeting = greeting
        self._scripts = scripts
        self._connection: Connection | None = None
        self.reason = "not connected yet"
        self._identity: Identity | None = None
        self._told: set[str] = set()
        """Refusals that the log has of this connection."""

    @property
    def up(self) -> bool:
        """Whether commands can be given now."""
        return self._connection is not None and self._connection.lost is None

    @property
    def full(self) -> bool:
        """Whether nothing more should be sent that can be done without."""
        return self._connection is None or self._connection.full

    async def ready(self) -> None:
        """Return if Redis answers; raises `BrokerAway`."""
        await self.call("PING")

    async def room(self) -> None:
        """Wait while as much waits to be sent as may; then `post` can be called. Raises `BrokerAway`."""
        await self._present().room()

    def post(self, *command: str | bytes | int) -> Pending:
        """Send a command; plain. Its reply is to be waited for by `reply`. Raises `BrokerAway`."""
        return self._present().post(*command)

    def post_to(self, receiver: Receiver, *command: str | bytes | int) -> None:
        """Send a command whose reply, or the lack of one, `receiver` is told of; plain. Raises `BrokerAway`."""
        self._present().post_to(receiver, *command)

    def post_blind(self, *command: str | bytes | int) -> None:
        """Send a command whose reply nobody wants to know; plain. Raises `BrokerAway`."""
        self._present().post_blind(*command)

    async def reply(self, pending: Pending) -> Reply:
        """The reply to what was posted.

        Raises:
            BrokerAway: there is none, or the server can't do it now.
            hiredis.ReplyError: NOSCRIPT, which only the caller can mend.
        """
        try:
            return await pending
        except hiredis.ReplyError as error:
            raise self._mapped(error) from None

    async def call(self, *command: str | bytes | int) -> Reply:
        """Send a command and wait for its reply; raises as `reply` does."""
        await self.room()
        return await self.reply(self.post(*command))

    async def run_script(self, script: Script, keys: tuple[str | bytes, ...], *args: str | bytes | int) -> Reply:
        """Run a script by its name, or where the server has forgotten it, by its text; raises `BrokerAway`."""
        try:
            return await self.call(*script.by_name(keys), *args)
        except hiredis.ReplyError:
            return await self.call(*script.by_text(keys), *args)

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        first = delay = self.limits.retry_first
        while True:
            began, made = trio.current_time(), self.made
            await self._live()
            if self.made > made:
                log.warning("Redis at %s is away: %s", self.target, self.reason)
            elif delay == first:
                log.warning("Redis at %s can't be used: %s", self.target, self.reason)
            if self.made > made and trio.current_time() > began + self.limits.retry_most:
                delay = first
            self.tried.set()
            await trio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the workers
            delay = min(2 * delay, self.limits.retry_most)

    async def _live(self) -> None:
        """One connection, from its making to its loss."""
        self.refused = None
        try:
            async with self._greeted() as connection:
                self._connection = connection
                self.made += 1
                self._told.clear()
                log.info("Redis at %s is here", self.target)
                if self.returned is not None:
                    self.returned()
                self.tried.set()
                await connection.closed.wait()
                self.reason = connection.lost or ""
        except BrokerAway as error:
            self.reason = error.sentence
        except ConfigError as error:
            self.refused, self.reason = error, error.sentence
        finally:
            self._connection = None

    @asynccontextmanager
    async def _greeted(self) -> AsyncIterator[Connection]:
        address = await find(self.target, self.limits)
        stream = await connect(address, self.target, self.limits)
        async with carried(stream, self.limits, self._pushed) as connection:
            self._identity = await greet(connection, self.target, self._name, self._identity)
            for script in self._scripts:
                connection.post_blind("SCRIPT", "LOAD", script.text)
            if self._greeting is not None:
                await self._greeting(connection)
            yield connection

    def _present(self) -> Connection:
        if self._connection is None:
            message = "Redis is away"  # the reason may name addresses, which are no client's business
            raise BrokerAway(message)
        return self._connection

    def _mapped(self, error: hiredis.ReplyError) -> Exception:
        code = str(error).partition(" ")[0]
        if code == "NOSCRIPT":
            return error
        if code in _GONE and self._connection is not None:
            self._connection.close(f"the server says {code}")
        elif code not in self._told:
            self._told.add(code)
            log.warning("Redis refused a command: %s", error)
        return BrokerAway(f"Redis refused a command: {code}")


@asynccontextmanager
async def open_link(link: Link) -> AsyncIterator[Link]:
    """The link at work for the time of the block, which begins after the first attempt, whatever came of it.

    Shielded: who tidies up while being cancelled still needs it.
    """
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        life = trio.CancelScope(shield=True)
        nursery.start_soon(_run, link, life)
        try:
            await link.tried.wait()
            yield link
        except BaseException as error:  # raised below, where no nursery wraps it
            failure = error
        finally:
            life.cancel()
    if failure is not None:
        raise failure


async def _run(link: Link, life: trio.CancelScope) -> None:
    with life:
        await link.run()

"""From a target to a connection that may be used: sentinels asked, logged in, and known to be a master."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import trio
from attrs import frozen

from wegent.core.errors import BrokerAway, ConfigError
from wegent.fanout.redis.connection import Connection, Pending
from wegent.fanout.redis.url import Address, Login, Target

_WRONG = ("NOAUTH", "WRONGPASS", "NOPERM", "ERR AUTH", "ERR invalid password", "ERR Client sent AUTH", "ERR DB index")


@frozen
class Limits:
    """Seconds and bytes.

    `timeout`: a server that owes a reply for so long is hung; `connect_timeout` is for the way to the first command;
    between attempts to connect pass `retry_first`, then twice as long each time, up to `retry_most`. `waiting`: bytes
    that may wait to be sent.
    """

    timeout: float = 0.75
    connect_timeout: float = 2.0
    retry_first: float = 0.05
    retry_most: float = 1.0
    waiting: int = 32 * 1024 * 1024


@frozen
class Identity:
    """A connection as the server names it."""

    id: bytes
    address: bytes


@asynccontextmanager
async def carried(
    stream: trio.abc.Stream, limits: Limits, pushed: Callable[[Any], bool] | None = None
) -> AsyncIterator[Connection]:
    """A connection at work on the stream for the time of the block."""
    connection = Connection(stream, timeout=limits.timeout, most=limits.waiting, pushed=pushed)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        try:
            yield connection
        except BaseException as error:  # raised below, where no nursery wraps it
            failure = error
        finally:
            connection.close("the connection was closed")
    if failure is not None:
        raise failure


async def find(target: Target, limits: Limits) -> Address:
    """Where the master is; raises `BrokerAway` if no sentinel can say."""
    if not target.master:
        return target.addresses[0]
    reasons = []
    for address in target.addresses:
        try:
            return await _ask_sentinel(address, target, limits)
        except BrokerAway as error:
            reasons.append(f"{address}: {error.sentence}")
    message = f"no sentinel knows the master {target.master!r}: {'; '.join(reasons)}"
    raise BrokerAway(message)


async def connect(address: Address, target: Target, limits: Limits) -> trio.abc.Stream:
    """A stream to the server, over TLS where the target says so; raises `BrokerAway`."""
    try:
        with trio.fail_after(limits.connect_timeout):
            if address.path:
                return await trio.open_unix_socket(address.path)
            stream = await trio.open_tcp_stream(address.host, address.port)
            if target.tls is None:
                return stream
            return await _over_tls(stream, address, target)
    except (OSError, trio.BrokenResourceError) as error:
        message = f"{address} can't be reached: {error.__cause__ or error}"
        raise BrokerAway(message) from error
    except trio.TooSlowError:
        message = f"{address} can't be reached within {limits.connect_timeout:g} s"
        raise BrokerAway(message) from None


async def greet(connection: Connection, target: Target, name: str, earlier: Identity | None) -> Identity | None:
    """Log in, choose the database, see that it is a master; who we are there.

    What an earlier connection sent and the server has not read yet is not to come after what this one sends: it is
    closed at the server.

    Raises:
        ConfigError: the server refuses who we are, or is one of a cluster.
        BrokerAway: it can't be used now.
    """
    for pending in _introduction(connection, target.login, target.database):
        await _agreed(pending)
    connection.post_blind("CLIENT", "SETNAME", name)
    who, role, cluster = (connection.post(*each) for each in (("CLIENT", "INFO"), ("ROLE",), ("INFO", "cluster")))
    identity = _identity(await _or_nothing(who))
    role_found = await _or_nothing(role)
    if role_found is not None and role_found[0] != b"master":
        message = f"the server is a {role_found[0].decode()}, not a master"
        raise BrokerAway(message)
    if b"cluster_enabled:1" in (await _or_nothing(cluster) or b""):
        message = (
            "the server is part of a Redis Cluster, which is not supported: name a server of its own, or sentinels"
        )
        raise ConfigError(message)
    if earlier is not None:
        await _or_nothing(connection.post("CLIENT", "KILL", "ID", earlier.id, "ADDR", earlier.address))
    return identity


async def _over_tls(stream: trio.SocketStream, address: Address, target: Target) -> trio.abc.Stream:
    assert target.tls is not None
    wrapped = trio.SSLStream(stream, target.tls, server_hostname=address.host, https_compatible=True)
    try:
        await wrapped.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return wrapped


async def _ask_sentinel(address: Address, target: Target, limits: Limits) -> Address:
    async with carried(await connect(address, target, limits), limits) as connection:
        for pending in _introduction(connection, target.sentinel_login, 0):
            await _agreed(pending)
        try:
            found = await connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.master)
        except hiredis.ReplyError as error:
            raise BrokerAway(str(error)) from None
    if found is None:
        message = f"it watches no master {target.master!r}"
        raise BrokerAway(message)
    return Address(found[0].decode(), int(found[1]))


def _introduction(connection: Connection, login: Login, database: int) -> Sequence[Pending]:
    said = [connection.post("AUTH", *filter(None, (login.user, login.password)))] if login.password else []
    return [*said, connection.post("SELECT", database)] if database else [*said, connection.post("PING")]


async def _agreed(pending: Pending) -> None:
    try:
        await pending
    except hiredis.ReplyError as error:
        if str(error).startswith(_WRONG):
            message = f"Redis refuses the user, password or database of its URL: {error}"
            raise ConfigError(message) from None
        message = f"Redis can't be used now: {error}"
        raise BrokerAway(message) from None


async def _or_nothing(pending: Pending) -> Any:
    """The reply, None where the server does not know the command or does not allow it."""
    try:
        return await pending
    except hiredis.ReplyError:
        return None


def _identity(info: bytes | None) -> Identity | None:
    fields = dict(part.partition(b"=")[::2] for part in (info or b"").split())
    return Identity(fields[b"id"], fields[b"addr"]) if {b"id", b"addr"} <= fields.keys() else None

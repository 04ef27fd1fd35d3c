"""Redis as a plugin: what the workers of one deployment share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio
from attrs import frozen

from wegent.core.config import Secret
from wegent.core.health import Health
from wegent.core.instruments import Registry
from wegent.core.kernel import Worker
from wegent.core.ports.fanout import Fanout
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.ports.presence import Presence
from wegent.core.ports.streamlog import StreamLog
from wegent.core.timers import Timers
from wegent.fanout.holding import HoldingLog
from wegent.fanout.redis import log_scripts, presence
from wegent.fanout.redis.fanout import RedisFanout
from wegent.fanout.redis.link import Link, open_link
from wegent.fanout.redis.log import RedisStreamLog
from wegent.fanout.redis.opening import Limits
from wegent.fanout.redis.presence import RedisPresence
from wegent.fanout.redis.url import parse_url

_LIMITS = Limits()


@frozen
class RedisConfig:
    """`url`: see `url.FORMS`. `prefix` begins every key and channel. Seconds, but for `waiting`, in bytes.

    `timeout`: a server that owes a reply for so long is hung; `connect_timeout` is for reaching it; `retry_most` passes
    at most between two attempts; `keep_streams`: a stream without an append is kept so long; `waiting` may wait to be
    sent.
    """

    url: Secret
    prefix: str = "wegent:"
    timeout: float = _LIMITS.timeout
    connect_timeout: float = _LIMITS.connect_timeout
    retry_most: float = _LIMITS.retry_most
    keep_streams: float = 7200.0
    waiting: int = _LIMITS.waiting

    def __attrs_post_init__(self) -> None:
        for name in ("timeout", "connect_timeout", "retry_most", "keep_streams", "waiting"):
            if not getattr(self, name) > 0:
                message = f"{name} is a number above 0"
                raise ValueError(message)
        if set(self.prefix) & set("{}"):
            message = "prefix holds no braces: they say which keys of Redis belong together"
            raise ValueError(message)


class RedisPlugin(Plugin):
    """Fan-out, stream log and presence in Redis."""

    name = "redis"
    provides: ClassVar[tuple[type[Any], ...]] = (Fanout, StreamLog, Presence)
    Config = RedisConfig

    async def run(self, config: RedisConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Keep the link, write back what Redis has lost; a server that is away does not keep the worker from starting.

        Raises:
            ConfigError: the URL is wrong, or the server refuses it.
        """
        worker, registry = deps.one(Worker).name, deps.one(Registry)
        limits = Limits(config.timeout, config.connect_timeout, retry_most=config.retry_most, waiting=config.waiting)
        scripts = (*log_scripts.SCRIPTS, *presence.SCRIPTS)
        link = Link(parse_url(config.url), limits, name=f"wegent-{worker}", scripts=scripts)
        fanout = RedisFanout(link, sender=worker, prefix=config.prefix, registry=registry)
        log = HoldingLog(RedisStreamLog(link, fanout, ttl=config.keep_streams), deps.one(Timers))
        link.returned = log.returned
        registry.gauge("wegent_redis_up", "Whether Redis answers", lambda: float(link.up))
        registry.gauge("wegent_streams_behind", "Streams that Redis may lack something of", lambda: float(log.behind))
        async with open_link(link):
            if link.refused is not None:
                raise link.refused
            deps.one(Health).add("redis", link.ready, vital=False)
            task_status.started(
                [
                    Provision(Fanout, fanout),
                    Provision(StreamLog, log),
                    Provision(Presence, RedisPresence(link, prefix=config.prefix)),
                ]
            )
            try:
                await log.run()
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(config.timeout):
                    await fanout.flush()

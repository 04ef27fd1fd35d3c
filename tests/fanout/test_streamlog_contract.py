from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.fanout.redis_server import RedisServer, link_to
from wegent.core.instruments import Registry
from wegent.core.ports.streamlog import StreamLog
from wegent.core.timers import Timers
from wegent.fanout.memory import MemoryBus, MemoryFanout, MemoryStreamLog
from wegent.fanout.redis.fanout import RedisFanout
from wegent.fanout.redis.link import open_link
from wegent.fanout.redis.log import RedisStreamLog
from wegent.testing.shared_log import SharedMemoryLog
from wegent.testing.streamlog_contract import Shared, SharedLogContract, StreamLogContract


class TestMemory(StreamLogContract):
    @pytest.fixture
    def log(self, nursery: trio.Nursery) -> StreamLog:
        timers = Timers()
        nursery.start_soon(timers.run)
        return MemoryStreamLog(timers)


class TestSharedMemory(StreamLogContract, SharedLogContract):
    @pytest.fixture
    def shared(self, nursery: trio.Nursery) -> Shared:
        timers, bus = Timers(), MemoryBus()
        nursery.start_soon(timers.run)
        one, two = MemoryFanout(bus, "one"), MemoryFanout(bus, "two")
        return SharedMemoryLog(MemoryStreamLog(timers), one, timers), one, two

    @pytest.fixture
    def log(self, shared: Shared) -> StreamLog:
        return shared[0]


class TestRedis(StreamLogContract, SharedLogContract):
    @pytest.fixture
    async def shared(self, shared_redis: RedisServer) -> AsyncIterator[Shared]:
        async with open_link(link_to(shared_redis)) as one, open_link(link_to(shared_redis)) as two:
            fanout = RedisFanout(one, sender="one", prefix="wegent:", registry=Registry())
            other = RedisFanout(two, sender="two", prefix="wegent:", registry=Registry())
            yield RedisStreamLog(one, fanout, ttl=60), fanout, other

    @pytest.fixture
    def log(self, shared: Shared) -> StreamLog:
        return shared[0]

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fanout.redis_server import RedisServer, link_to
from wegent.core.instruments import Registry
from wegent.fanout.memory import MemoryBus, MemoryFanout
from wegent.fanout.redis.fanout import RedisFanout
from wegent.fanout.redis.link import open_link
from wegent.testing.fanout_contract import FanoutContract, Fanouts


class TestMemory(FanoutContract):
    @pytest.fixture
    def fanouts(self) -> Fanouts:
        bus = MemoryBus()
        return MemoryFanout(bus, "one"), MemoryFanout(bus, "two")


class TestRedis(FanoutContract):
    @pytest.fixture
    async def fanouts(self, shared_redis: RedisServer) -> AsyncIterator[Fanouts]:
        async with open_link(link_to(shared_redis)) as one, open_link(link_to(shared_redis)) as two:
            yield (
                RedisFanout(one, sender="one", prefix="wegent:", registry=Registry()),
                RedisFanout(two, sender="two", prefix="wegent:", registry=Registry()),
            )

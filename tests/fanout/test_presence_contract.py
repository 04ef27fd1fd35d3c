from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fanout.redis_server import RedisServer, link_to
from wegent.core.ports.presence import Presence
from wegent.fanout.memory import MemoryPresence
from wegent.fanout.redis.link import open_link
from wegent.fanout.redis.presence import RedisPresence
from wegent.testing.presence_contract import PresenceContract


class TestMemory(PresenceContract):
    @pytest.fixture
    def presence(self) -> Presence:
        return MemoryPresence()


class TestRedis(PresenceContract):
    @pytest.fixture
    async def presence(self, shared_redis: RedisServer) -> AsyncIterator[Presence]:
        async with open_link(link_to(shared_redis)) as link:
            yield RedisPresence(link, prefix="wegent:")

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from wegent.core.clock import SystemClock
from wegent.server.ports.store import Store
from wegent.storage import MemoryStore, open_store
from wegent.testing.store_contract import StoreContract


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore(SystemClock())


class TestSql(StoreContract):
    @pytest.fixture
    async def store(self, sql_url: str) -> AsyncIterator[Store]:
        async with open_store(sql_url, clock=SystemClock()) as store:
            yield store

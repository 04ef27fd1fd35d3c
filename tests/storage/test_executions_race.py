"""Several schedulers on one database: each time is run by one of them."""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio

from wegent.core.clock import SystemClock
from wegent.core.instruments import Registry
from wegent.core.model import Principal
from wegent.core.rooms import Rooms
from wegent.protocol.executions import ExecutionRequest
from wegent.server.execution_view import ExecutionTeller
from wegent.server.executions import Executions
from wegent.server.ports.store import Store
from wegent.server.sending import Sending
from wegent.server.targets import Targets
from wegent.server.teams import CHAT_SHELL, add_defaults
from wegent.server.telling import Teller
from wegent.storage import open_store
from wegent.testing.store_scene import user


def scheduler(store: Store) -> Executions:
    clock, rooms = SystemClock(), Rooms(Registry())
    targets = Targets(clock, [CHAT_SHELL], CHAT_SHELL)
    sending = Sending(store, clock, rooms, Teller(rooms), lambda row: None, targets)
    return Executions(store, clock, sending, ExecutionTeller(rooms))


async def test_what_is_due_is_run_once(sql_url: str) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store(sql_url, clock=SystemClock())) for _ in range(3)]
        store = stores[0]
        await store.write(add_defaults)
        owner = await store.write(user)
        team = await store.read(lambda unit: unit.kind_named("Team", "default", "assistant", user_id=None))
        assert team is not None
        schedulers, who = [scheduler(each) for each in stores], Principal(owner.id, owner.user_name)
        for _ in range(12):
            await schedulers[0].make(who, ExecutionRequest(team_id=team.id, prompt="once"))
        async with trio.open_nursery() as nursery:
            for each in schedulers:
                nursery.start_soon(each._round)
        assert len(await store.read(lambda unit: unit.tasks_of(owner.id, limit=100))) == 12
        items = [view.as_item() for view in await schedulers[1].page(who, before_id=None, limit=100)]
        assert [(item.runs, item.next_at) for item in items] == [(1, None)] * 12
        assert len({item.task_id for item in items}) == 12

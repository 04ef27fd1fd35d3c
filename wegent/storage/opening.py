"""From a URL to a store that can be used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from wegent.core.clock import Clock
from wegent.core.ports.tracing import Tracer
from wegent.server.ports.store import Store
from wegent.storage.engines import parse_url
from wegent.storage.memory import MemoryStore
from wegent.storage.migrate import migrate
from wegent.storage.sql import Limits, SqlStore


@asynccontextmanager
async def open_store(
    url: str, *, clock: Clock, limits: Limits | None = None, tracer: Tracer | None = None
) -> AsyncIterator[Store]:
    """Open the database, bring its tables up to date, look after it while it is used, and close it.

    Args:
        url: `sqlite:///relative`, `sqlite:////absolute`, `mysql://user:pw@host/db`, `mariadb://…`,
            `postgresql://…`, or `memory://`, which keeps nothing.
        clock: where rows take their times from.
        limits: threads and time-outs.
        tracer: gets a span for each statement of those who have one under way.

    Raises:
        ConfigError: the URL, a missing driver, a wrong password, or a database of a newer version.
        StoreAway: the database does not answer.
    """
    if url.partition(":")[0] == "memory":
        yield MemoryStore(clock)
        return
    parsed, limits = parse_url(url), limits or Limits()
    store = SqlStore(parsed, clock, limits)
    if tracer is not None:
        store.trace(tracer)
    await trio.to_thread.run_sync(partial(migrate, parsed, timeout=limits.timeout))
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        # Shielded: who tidies up while being cancelled still needs a store whose calls come to an end.
        life = trio.CancelScope(shield=True)
        nursery.start_soon(store.look_after, life)
        try:
            yield store
        except BaseException as error:  # raised below, where no nursery wraps it
            failure = error
        finally:
            life.cancel()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(store.close)
    if failure is not None:
        raise failure

"""Time-outs of a stream, without a timer for each token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Silence:
    """Cancels a scope when somebody was waited for longer than the limit.

    Only the time between `listen` and `hear` counts: what the listener does in between, such as waiting for its own
    reader, is nobody's silence. Telling costs an assignment; one sleeping task looks now and then.

    Attributes:
        limit: seconds, of the wait that is on or comes next.
        broken: whether the scope was cancelled for silence.
    """

    __slots__ = ("_life", "_nap", "_scope", "_since", "broken", "limit")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.broken = False
        self._since: float | None = None
        self._scope = trio.CancelScope()
        self._nap = trio.CancelScope()
        self._life = trio.CancelScope(shield=True)

    def listen(self) -> None:
        """From now on somebody is waited for."""
        self._since = trio.current_time()

    def hear(self) -> None:
        """They were heard."""
        self._since = None

    def expect(self, limit: float) -> None:
        """Set another limit. Costs a timer: not for every token."""
        sooner = limit < self.limit
        self.limit = limit
        if sooner:
            self._nap.cancel()

    async def _watch(self) -> None:
        with self._life:
            while True:
                now = trio.current_time()
                expiry = (now if self._since is None else self._since) + self.limit
                if expiry <= now:
                    self.broken = True
                    self._scope.cancel()
                    return
                with trio.CancelScope(deadline=expiry) as self._nap:
                    await trio.sleep_forever()


@asynccontextmanager
async def watched(limit: float) -> AsyncIterator[Silence]:
    """Run the body until it ends, raises, or is cut for silence; which of them, `broken` tells afterwards."""
    silence = Silence(limit)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(silence._watch)
        try:
            with silence._scope:
                yield silence
        except BaseException as error:
            # Raised below: here the nursery would put it into a group, a cancellation too.
            failure = error
        silence._life.cancel()
    if failure is not None:
        raise failure

"""A context that a plugin provides: `{"type": "clock", "timezone": "Europe/Berlin"}` tells the model what time it is.

PYTHONPATH=examples wegent serve --set 'plugins.add=["clock_context:ClockPlugin"]'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import trio

from wegent.core.clock import Clock
from wegent.core.errors import InvalidPayload
from wegent.core.model import Principal
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.protocol.chat import Context, OtherContext
from wegent.server.ports.contexts import ContextProvider, Provided


class ClockProvider(ContextProvider):
    """Tells the time of a zone, as it is when the message is sent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def provide(self, principal: Principal, context: Context, message: str) -> Provided:
        """See `ContextProvider.provide`."""
        await trio.lowlevel.checkpoint()
        assert isinstance(context, OtherContext)  # every type that is not built in comes as one
        name = context.data.get("timezone", "UTC")
        try:
            zone = ZoneInfo(name)
        except (KeyError, ValueError, TypeError, OSError) as error:
            raise InvalidPayload("`timezone`: expected a name of the IANA database, such as `Europe/Berlin`") from error
        return Provided(f"The time in {name}", f"{self._clock.now().astimezone(zone):%A, %d %B %Y, %H:%M}")


class ClockPlugin(Plugin):
    """Brings the provider under the name of its type."""

    name = "clock-context"
    provides: ClassVar[tuple[type[Any], ...]] = (ContextProvider,)

    async def run(self, config: Any, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Nothing goes on beside it."""
        task_status.started([Provision(ContextProvider, ClockProvider(deps.one(Clock)), "clock")])
        await trio.sleep_forever()

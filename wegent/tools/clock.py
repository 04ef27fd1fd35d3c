"""The tool that tells the time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import trio

from wegent.core.clock import Clock
from wegent.protocol.chat_shell import ToolDefinition
from wegent.server.ports.tool import Asked, Report, Tool, ToolFailed

_DEFINITION = ToolDefinition(
    name="current_time",
    description="Tells the date and the time of day.",
    parameters={
        "type": "object",
        "properties": {"timezone": {"type": "string", "description": "as in Europe/Paris; default UTC"}},
    },
)


class ClockTool(Tool):
    """The time in any zone."""

    __slots__ = ("_clock",)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @property
    def definition(self) -> ToolDefinition:
        """See `Tool.definition`."""
        return _DEFINITION

    async def use(self, arguments: Mapping[str, Any], asked: Asked, report: Report) -> Any:
        """See `Tool.use`."""
        await trio.lowlevel.checkpoint()
        name = arguments.get("timezone") or "UTC"
        try:
            zone = ZoneInfo(str(name))
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ToolFailed("There is no such time zone; an example is Europe/Paris.") from error
        now = datetime.fromtimestamp(self._clock.time(), UTC).astimezone(zone)
        return {"time": now.isoformat(timespec="seconds"), "weekday": f"{now:%A}", "timezone": str(zone)}

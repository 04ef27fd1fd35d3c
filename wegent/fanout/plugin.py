"""Fan-out, stream log and presence of a deployment of one worker, as a plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio

from wegent.core.kernel import Worker
from wegent.core.ports.fanout import Fanout
from wegent.core.ports.plugin import Deps, NoConfig, Plugin, Provision
from wegent.core.ports.presence import Presence
from wegent.core.ports.streamlog import StreamLog
from wegent.core.timers import Timers
from wegent.fanout.memory import MemoryFanout, MemoryPresence, MemoryStreamLog


class MemoryFanoutPlugin(Plugin):
    """Everything within the one process there is."""

    name = "memory"
    provides: ClassVar[tuple[type[Any], ...]] = (Fanout, StreamLog, Presence)

    async def run(self, config: NoConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Nothing to open or close."""
        task_status.started(
            [
                Provision(Fanout, MemoryFanout(sender=deps.one(Worker).name)),
                Provision(StreamLog, MemoryStreamLog(deps.one(Timers))),
                Provision(Presence, MemoryPresence()),
            ]
        )

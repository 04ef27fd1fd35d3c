"""From what was read to the sink: plain where the sink takes it so, else with a wait that stops the reading."""

from __future__ import annotations

from wegent.core.ports.executor import Sink
from wegent.engines.deltas import Deltas
from wegent.engines.silence import Silence


class Handover:
    """Hands on what a reply has brought whenever all that has arrived was taken; then somebody is listened to again."""

    __slots__ = ("_deltas", "_silence", "_sink")

    def __init__(self, deltas: Deltas, sink: Sink, silence: Silence) -> None:
        self._deltas = deltas
        self._sink = sink
        self._silence = silence

    def now(self) -> bool:
        """Hand on what can be handed on without waiting; whether that was all."""
        if not self._deltas.write_now(self._sink):
            return False
        self._silence.listen()
        return True

    async def later(self) -> None:
        """Hand on all of it; takes as long as the sink does."""
        self._silence.hear()
        await self._deltas.flush(self._sink)
        self._silence.listen()

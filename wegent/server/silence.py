"""Whose beats have stopped for too long. Bookkeeping alone, so that it can be tried with any times."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from wegent.server.owners import Lapses, lapse_of

LATE = 3.0
"""Seconds that a look may take, or come after the one before; past that nobody can say what was missed meanwhile."""


@frozen
class _Heard:
    beat: int | None
    since: float


class Silences:
    """A clock for each owner, wound by looks at all beats. Only what was seen here counts (protocol §7).

    Times are seconds of one clock that goes on while this process is stopped.
    """

    def __init__(self, lapses: Lapses | None = None) -> None:
        self.lapses = lapses or Lapses()
        self._heard: dict[str, _Heard] = {}
        self._last = float("-inf")

    def restart(self) -> None:
        """A look failed: owners may have beaten in vain."""
        self._heard.clear()

    def look(self, began: float, ended: float, beats: Mapping[str, int | None]) -> list[tuple[str, int | None]]:
        """Take what a look found between two times; the owners that are lost by now, with their last beats."""
        if began - self._last > LATE or ended - began > LATE:
            self.restart()
        self._last = ended
        heard, lost = {}, []
        for owner, beat in beats.items():
            known = self._heard.get(owner)
            if known is None or known.beat != beat:
                known = _Heard(beat, ended)
            heard[owner] = known
            if began - known.since >= lapse_of(owner, self.lapses):
                lost.append((owner, beat))
        self._heard = heard
        return lost

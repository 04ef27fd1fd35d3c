"""Deltas on their way to a sink: adjacent ones of a channel become one."""

from __future__ import annotations

from wegent.core.ports.executor import Sink


class Deltas:
    """Collects what one read brought, in order, and hands it on in as few calls as keep the order.

    Attributes:
        begun: whether there ever was a delta; from then on a request must not be sent anew.
    """

    __slots__ = ("_kinds", "_runs", "begun")

    def __init__(self) -> None:
        self._kinds: list[bool] = []
        self._runs: list[list[str]] = []
        self.begun = False

    def text(self, delta: str) -> None:
        """Add to the content."""
        self._add(False, delta)

    def thinking(self, delta: str) -> None:
        """Add to the thinking."""
        self._add(True, delta)

    def _add(self, thinking: bool, delta: str) -> None:
        if not delta:
            return
        if self._kinds and self._kinds[-1] is thinking:
            self._runs[-1].append(delta)
        else:
            self._kinds.append(thinking)
            self._runs.append([delta])
            self.begun = True

    async def flush(self, sink: Sink) -> None:
        """Hand on all that is there; waits as long as the sink does."""
        if not self._kinds:
            return
        kinds, runs = self._kinds, self._runs
        self._kinds, self._runs = [], []
        for thinking, parts in zip(kinds, runs, strict=True):
            delta = parts[0] if len(parts) == 1 else "".join(parts)
            await (sink.thinking(delta) if thinking else sink.text(delta))

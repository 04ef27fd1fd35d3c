"""Who is told what an executor host or a device does."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

import trio
from attrs import field, frozen

from wegent.client.running import LocalRun

log = logging.getLogger(__name__)


class Monitor(ABC):
    """Is told, in plain calls that take no time."""

    __slots__ = ()

    @abstractmethod
    def connected(self) -> None:
        """The server answers, for the first time or again."""

    @abstractmethod
    def trouble(self, reason: str) -> None:
        """It does not; it is asked again and again."""

    @abstractmethod
    def began(self, run: LocalRun) -> None:
        """A run begins."""

    @abstractmethod
    def ended(self, run: LocalRun) -> None:
        """A run is over here: `run.ending`, unless it is `lost`."""

    @abstractmethod
    def stopping(self, runs: int, seconds: float) -> None:
        """The end was asked for; so many runs, at least one, may go on for so long."""


class LogMonitor(Monitor):
    """Writes to the log; of runs their numbers only."""

    __slots__ = ()

    def connected(self) -> None:
        log.info("connected")

    def trouble(self, reason: str) -> None:
        log.warning("%s; trying again", reason)

    def began(self, run: LocalRun) -> None:
        job = run.job
        log.info("run %d.%d of task %d begins", job.subtask_id, job.attempt, job.task_id)

    def ended(self, run: LocalRun) -> None:
        job, how = run.job, "taken back" if run.lost or run.ending is None else run.ending.status.value
        log.info("run %d.%d of task %d: %s, %d characters", *run.key, job.task_id, how, run.reporter.length())

    def stopping(self, runs: int, seconds: float) -> None:
        log.info("%s", patience(runs, seconds))


def patience(runs: int, seconds: float) -> str:
    """What is waited for once the end was asked for."""
    what, them = ("1 run", "it") if runs == 1 else (f"{runs} runs", "them")
    return f"stopping: {what} may take up to {max(seconds, 0):.0f} s; press Ctrl-C again to end {them} now"


@frozen
class Hurry:
    """Set when somebody who asked for the end asks again: what is still at work ends now."""

    event: trio.Event = field(factory=trio.Event)

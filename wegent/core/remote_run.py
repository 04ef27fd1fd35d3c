"""One attempt at work on an executor host or a device, as this worker knows it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import trio
from attrs import frozen

from wegent.core.errors import LeaseLost, Terminal
from wegent.core.model import Ending, Job, Snapshot
from wegent.core.ports.runbook import RemoteRow
from wegent.core.replica import Replica
from wegent.core.saving import Tail

ANSWERS = 32
"""Answers of one run that are kept for a reporter who has not taken them."""
ASKED = 256
"""Ids of skill requests of one run that are remembered, so that a repeat is known as one."""


@frozen
class Answer:
    """What came of a skill request: `result`, or where it was no success `error`."""

    id: str
    success: bool
    result: Any = None
    error: str | None = None


class RemoteRun:
    """One attempt on an executor host or a device, as this worker knows it.

    Its adapter may set two plain functions: `stopper` is called when the run is to stop, `answerer` when there is an
    answer in `answers` (by id; the adapter removes what it knows to have arrived). `cancelling`: it has been asked to
    stop. `heard`: it has reported; `reported`: the store knows that. `ending` is set once it has ended, `lost` once it
    is somebody else's; then `over` is set as well.
    """

    __slots__ = (
        "answerer", "answers", "asked", "beaten", "cancelling", "ending", "halves", "heard", "job", "lock", "lost",
        "over", "owner", "replica", "reported", "stopper", "tail", "waiting",
    )  # fmt: skip

    def __init__(self, job: Job, owner: str, replica: Replica, saved: Snapshot | None = None) -> None:
        self.job = job
        self.owner = owner
        self.replica = replica
        self.tail = Tail(replica, job.lease, saved)
        self.lock = trio.Lock()
        self.over = trio.Event()
        self.ending: Ending | None = None
        self.lost = False
        self.cancelling = False
        self.heard = False
        self.reported = False
        self.beaten = float("-inf")
        self.halves: dict[str, str] = {}
        self.asked: OrderedDict[str, None] = OrderedDict()
        self.waiting = 0
        self.answers: dict[str, Answer] = {}
        self.stopper: Callable[[], None] | None = None
        self.answerer: Callable[[], None] | None = None

    @classmethod
    def over_already(cls, row: RemoteRow) -> RemoteRun:
        """An attempt that has ended, for those who repeat its last report."""
        run = cls(row.job, row.owner, Replica.of(row.job.stream, row.snapshot))
        run.ending = row.ending
        run.over.set()
        return run

    @property
    def status(self) -> str:
        """RUNNING or CANCELLING, or how it ended."""
        if self.ending is not None:
            return self.ending.status.value
        return "CANCELLING" if self.cancelling else "RUNNING"

    def check(self) -> None:
        """Raise `LeaseLost` or `Terminal` where nothing more may be said of it."""
        stream = self.job.stream
        if self.ending is not None:
            message = f"attempt {stream.attempt} of {stream.subtask_id} has ended: it is {self.status}"
            raise Terminal(message, status=self.status)
        if self.lost:
            message = f"attempt {stream.attempt} of {stream.subtask_id} belongs to somebody else now"
            raise LeaseLost(message)

    def ask(self, skill_id: str) -> None:
        """A skill request waits for its answer from now on."""
        self.waiting += 1
        self.remember(skill_id)

    def remember(self, skill_id: str) -> None:
        """A skill request of this id is a repeat from now on."""
        self.asked[skill_id] = None
        while len(self.asked) > ASKED:
            self.asked.popitem(last=False)

    def answer(self, answer: Answer) -> None:
        """There is an answer for who asked."""
        self.waiting -= 1
        self.keep(answer)

    def keep(self, answer: Answer) -> None:
        """Have an answer for who asked, until they have taken it."""
        self.answers[answer.id] = answer
        while len(self.answers) > ANSWERS:
            del self.answers[next(iter(self.answers))]
        if self.answerer is not None:
            self.answerer()

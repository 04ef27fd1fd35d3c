"""The queue as this worker sees it: who waits for rows of which target, and when there may be some (protocol §7).

    with queue.watch(["docker"]) as watch:
        while True:
            for job in await queue.claim(dict.fromkeys(await watch.wait(), 1), owner):
                begin(job)

Rows are in the store, and what is fair is decided there; so any number of workers, executor hosts and devices may
claim side by side.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import trio

from wegent.core.errors import Overloaded
from wegent.core.instruments import Registry
from wegent.core.model import Job
from wegent.server.claiming import MAX_PER_USER, Claim, Claimed, OwnerOf
from wegent.server.owners import device_of
from wegent.server.records import Subtask
from wegent.server.runbook import StoreRunBook

log = logging.getLogger(__name__)
SCAN_EVERY = 2.0
"""Seconds between looks at the queue that nobody asked for."""
RELEASED_FOR = 5.0
"""Seconds that a release is remembered: a row that waits behind another is claimable by itself by then."""
MUST_LOOK = sys.maxsize
"""In place of a count of news: to be looked at, whatever others have found since."""


class Watch:
    """Somebody who waits for rows of some targets."""

    __slots__ = ("_hot", "_turned", "targets")

    def __init__(self, targets: Collection[str], news: int) -> None:
        self.targets = frozenset(targets)
        self._hot = dict.fromkeys(self.targets, news)  # nobody knows yet what waits
        self._turned = trio.Event()
        self._turned.set()

    def heat(self, target: str, news: int = MUST_LOOK) -> None:
        """There may be rows of that target; `news` counts how often the queue has heard of any."""
        if target in self.targets:
            self._hot[target] = news
            self._turned.set()

    def cool(self, target: str, news: int) -> None:
        """Somebody has looked since those news, and left nothing."""
        if self._hot.get(target, news + 1) <= news:
            del self._hot[target]
            if not self._hot:
                self._turned = trio.Event()

    async def turned(self) -> None:
        """Wait until there may be rows."""
        await self._turned.wait()

    def take(self) -> set[str]:
        """Of which targets there may be rows; each is said once. None, if others have taken what there was.

        Who does not ask for rows then, for want of room, need not remember: an end of a run says it again.
        """
        hot, self._hot, self._turned = set(self._hot), {}, trio.Event()
        return hot

    async def wait(self) -> set[str]:
        """The same, once there may be any."""
        while True:
            await self.turned()
            if hot := self.take():
                return hot


class Queue:
    """Hands out waiting rows of this deployment to those who ask on this worker."""

    def __init__(self, book: StoreRunBook, registry: Registry, *, per_user: int = MAX_PER_USER) -> None:
        """`per_user` is how many rows of a target may be at work for one user."""
        self._book = book
        self._registry = registry
        self._per_user = per_user
        self._watches: set[Watch] = set()
        self._released: dict[int, tuple[str, float]] = {}
        self._depths: Counter[str] = Counter()
        self._nudged = trio.Event()
        self._news = 0
        self.tell: Callable[[int, str], None] | None = None
        """Tells other workers of a row, and its target, that nobody here waits for."""
        self.paused = False
        """While set, nobody gets anything; see `pause`."""

    def release(self, row: Subtask) -> None:
        """The row's making has been told, so it may be claimed now."""
        self.release_here(row.id, row.target)
        if self.tell is not None and not any(row.target in watch.targets for watch in self._watches):
            self.tell(row.id, row.target)

    def release_here(self, subtask_id: int, target: str) -> None:
        """The same for this worker alone."""
        self._released[subtask_id] = (target, trio.current_time())
        self._heat(target)

    def nudge(self) -> None:
        """Something ended, or went back into the queue: look who waits."""
        self._nudged.set()

    def pause(self) -> None:
        """Hand out nothing more, and let those who wait see that."""
        self.paused = True
        for target in {target for watch in self._watches for target in watch.targets}:
            self._heat(target)

    @contextmanager
    def watch(self, targets: Collection[str]) -> Iterator[Watch]:
        """Be told when there may be rows of these targets."""
        watch = Watch(targets, self._news)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    async def claim(
        self, limits: Mapping[str, int], owner: str | OwnerOf, *, limit: int = 1_000, slots: int | None = None
    ) -> list[Job]:
        """Take rows whose turn it is; see `Claim` for the arguments.

        Returns after the commit with no checkpoint in between: begin the jobs in the same plain step. One whose
        `spec` is an error can't be run: end it as FAILED with that.

        Raises:
            StoreAway: nothing is known of what was claimed; what was comes back by itself.
        """
        limits = {target: most for target, most in limits.items() if most > 0}
        if self.paused or not limits or limit < 1:
            await trio.lowlevel.checkpoint()
            return []
        per_user = self._per_user if slots is None else slots  # a user's own machine is shared with nobody
        claim = Claim(limits, owner, limit, slots, self._released_of(limits), per_user)
        news = self._news
        jobs = await self._book.claim(claim)
        if slots is None and len(jobs) < limit:
            self._cool(limits, jobs, news)
        for job in jobs:
            self._released.pop(job.subtask_id, None)
            self._note_wait(job)
        return jobs

    async def run(self) -> None:
        """Look who waits, when nudged and now and then, until cancelled."""
        while True:
            self._nudged = trio.Event()
            try:
                self._see(await self._book.depths())
            except Overloaded as error:
                log.warning("nobody knows who waits: %s", error.sentence)
            with trio.move_on_after(SCAN_EVERY):
                await self._nudged.wait()

    def _see(self, depths: Mapping[str, int]) -> None:
        counted: Counter[str] = Counter(dict.fromkeys(self._depths, 0))
        for target, depth in depths.items():
            counted[_label(target)] += depth
            self._heat(target)
        for label in counted.keys() - self._depths.keys():
            self._registry.gauge(
                "wegent_queue_depth",
                "Runs that wait, in the whole deployment",
                partial(self._depth, label),
                target=label,
            )
        self._depths = counted

    def _depth(self, label: str) -> int:
        return self._depths[label]

    def _heat(self, target: str) -> None:
        self._news += 1
        for watch in self._watches:
            watch.heat(target, self._news)

    def _cool(self, limits: Mapping[str, int], jobs: Collection[Job], news: int) -> None:
        """A claim took all there was of some targets: others need not look for what was told before it."""
        taken = Counter(job.target for job in jobs)
        for target in (target for target, most in limits.items() if taken[target] < most):
            for watch in self._watches:
                watch.cool(target, news)

    def _released_of(self, targets: Collection[str]) -> tuple[int, ...]:
        now = trio.current_time()
        self._released = {row: entry for row, entry in self._released.items() if now - entry[1] < RELEASED_FOR}
        return tuple(row for row, (target, _) in self._released.items() if target in targets)

    def _note_wait(self, job: Job) -> None:
        claimed: Claimed = job.about
        self._registry.histogram(
            "wegent_queue_wait_seconds", "From a run's entry into the queue to its claim", target=_label(job.target)
        ).observe(claimed.waited)


def _label(target: str) -> str:
    """A metric's label: devices are many, so they share one."""
    return target if device_of(target) is None else "device"

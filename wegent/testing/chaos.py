"""Random parts: a store that is slow or away, an engine that says anything, and a plan of how much of it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import trio
from attrs import evolve, field, frozen

from wegent.core.clock import Clock
from wegent.core.errors import RunFailed, StoreAway
from wegent.core.model import Ending, Entry, Job, Outcome, Snapshot, StreamId
from wegent.core.ports.executor import Sink
from wegent.core.ports.streamlog import StreamLog
from wegent.core.timers import Timers
from wegent.fanout.memory import MemoryStreamLog
from wegent.server.ports.store import Unit
from wegent.storage.memory import MemoryStore
from wegent.testing import scripted
from wegent.testing.faulty_fanout import Rates
from wegent.testing.scripted import ScriptedExecutor, Step, Written

T = TypeVar("T")
PIECES = (
    "a",
    "Hello, ",
    "\n",
    "日本語",
    "👋🏽",
    "é",
    "👩‍👩‍👧",
    "\ud83d",
    "\ude00",
    "\0",
    '"\\',
    "x" * 300,
    "字" * 200,
    "",
)


@frozen
class Plan:
    """What a story is made of. Seconds are virtual.

    `workers` share the store, the log and a fan-out that suffers by `rates`; `crashes` of them happen, and `outages` of
    what they share but the store.
    """

    clients: int = 3
    actions: int = 12
    actors: tuple[str, ...] = ("alice",)
    group: bool = False
    store_away: float = 0.0
    distant_log: bool = False
    slow_store: float = 0.2
    pause: float = 0.05
    workers: int = 1
    rates: Rates = field(factory=Rates)
    crashes: int = 0
    outages: int = 0


def fleet_plan(rng: random.Random) -> Plan:
    """What most stories of several workers are made of."""
    share = rng.choice([0.0, 0.05, 0.2])
    rates = Rates(
        lost=share,
        again=rng.choice([0.0, 0.1]),
        late=rng.choice([0.0, 0.3]),
        lateness=rng.choice([0.02, 0.5]),
        cut=rng.choice([0.0, 0.02]),
    )
    crashes = rng.choice([0, 0, 1, 2])
    return evolve(
        random_plan(rng),
        clients=rng.randrange(2, 6),
        store_away=0.0,
        distant_log=False,
        workers=rng.randrange(2, 5),
        rates=rates,
        crashes=crashes,
        outages=0 if crashes else rng.choice([0, 0, 1]),  # who loses a worker and the log at once loses text
    )


def random_plan(rng: random.Random) -> Plan:
    """What most stories are made of."""
    group = rng.random() < 0.4
    return Plan(
        clients=rng.randrange(1, 5),
        actions=rng.randrange(4, 16),
        actors=("alice", "bob", "carol") if group else ("alice",),
        group=group,
        store_away=rng.choice([0.0, 0.0, 0.02]),
        distant_log=rng.random() < 0.5,
        slow_store=rng.choice([0.05, 0.3, 0.8]),
        pause=rng.choice([0.01, 0.2]),
    )


class RandomStore(MemoryStore):
    """Takes a random time before and after each unit, and is away now and then while `away` is above 0.

    Results of writes come back in the order of their commits, as they do from a database with one writer.
    """

    __slots__ = ("_rng", "_turn", "away", "pause", "slow")

    def __init__(self, clock: Clock, rng: random.Random, plan: Plan) -> None:
        super().__init__(clock)
        self._rng = rng
        self.away = 0.0
        self.slow = plan.slow_store
        self.pause = plan.pause
        self._turn = trio.Event()
        self._turn.set()

    async def _run(self, work: Callable[[Unit], T], *, writable: bool) -> T:
        await self._pause()
        result = self._step(work, writable=writable)
        with trio.CancelScope(shield=True):
            if writable:
                await self._in_turn()
            else:
                await self._pause()
        return result

    async def _in_turn(self) -> None:
        before, mine = self._turn, trio.Event()
        self._turn = mine
        try:
            try:
                await self._pause()
            finally:
                await before.wait()
        finally:
            mine.set()

    async def _pause(self) -> None:
        roll = self._rng.random()
        if roll < self.away:
            await trio.lowlevel.checkpoint()
            message = "the database does not answer"
            raise StoreAway(message)
        if roll > 1 - self.slow / 10:
            await trio.sleep(self._rng.random() * 4)
        elif roll > 1 - self.slow:
            await trio.sleep(self._rng.random() * self.pause)
        else:
            await trio.lowlevel.checkpoint()


class DistantLog(StreamLog):
    """A log that is somewhere else: `pause` comes before and after whatever it does."""

    def __init__(self, timers: Timers, pause: Callable[[], Awaitable[None]]) -> None:
        self.kept = MemoryStreamLog(timers)
        self._pause = pause

    async def append(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """Add entries."""
        await self._pause()
        self.kept.append_now(stream, entries)
        await self._pause()

    async def read(self, stream: StreamId, since: Mapping[str, int] | None = None) -> Snapshot | None:
        """What the stream holds."""
        await self._pause()
        return await self.kept.read(stream, since)

    async def restore(self, stream: StreamId, snapshot: Snapshot) -> None:
        """Write back what was lost."""
        await self._pause()
        await self.kept.restore(stream, snapshot)

    async def end(self, stream: StreamId, ending: Ending, *, keep: float) -> None:
        """Seal the stream."""
        await self._pause()
        await self.kept.end(stream, ending, keep=keep)


class RandomExecutor(ScriptedExecutor):
    """Writes a random script for each job."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    async def run(self, job: Job, sink: Sink) -> Outcome:
        """Play it."""
        self.jobs.append(job)
        written = self.written[job.stream] = Written()
        for step in script(self._rng):
            await step(sink, written)
        return Outcome()


def script(rng: random.Random) -> list[Step]:
    """A random script."""
    steps = [_step(rng) for _ in range(rng.randrange(1, 25))]
    if rng.random() < 0.2:
        steps.insert(rng.randrange(len(steps) + 1), scripted.fail(_failure(rng)))
    return steps


async def random_pause(rng: random.Random) -> None:
    """Nothing, or a moment."""
    await trio.sleep(rng.choice([0.0, 0.0, 0.001, 0.05, 0.5]))


def _failure(rng: random.Random) -> Exception:
    return rng.choice([RunFailed("the model broke", type="model"), ValueError("a defect"), trio.TooSlowError()])


def _step(rng: random.Random) -> Step:
    roll = rng.random()
    if roll < 0.5:
        return scripted.say("".join(rng.choices(PIECES, k=rng.randrange(1, 5))))
    if roll < 0.6:
        return scripted.think("".join(rng.choices(PIECES, k=rng.randrange(1, 4))))
    if roll < 0.75:
        return scripted.wait(rng.choice([0.0, 0.01, 0.1, 0.5, 2.0]))
    if roll < 0.9:
        name = rng.choice("xyz")
        status = rng.choice(["pending", "streaming", "done", "error"])
        return scripted.block(name, tool_name="tool", tool_output=rng.choice(PIECES[:5]), status=status)
    if roll < 0.95:
        return scripted.progress(rng.randrange(101))
    return scripted.linger(rng.choice([0.1, 1.0]), *[scripted.say(rng.choice(PIECES)) for _ in range(3)])

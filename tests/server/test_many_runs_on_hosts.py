"""200 runs of five users on two hosts of two slots, killed at random: turns are fair, and each row ends once."""

from __future__ import annotations

import logging
import random
from collections import Counter
from itertools import combinations
from typing import Any

import pytest
import trio
import trio.testing

from tests.server.hosting import TARGET, Site, chunk
from wegent.server.owners import Lapses
from wegent.storage import memory
from wegent.storage.memory_unit import MemoryUnit
from wegent.testing import harness
from wegent.testing.simulator import seed_trio

USERS = ("alice", "bob", "carol", "dave", "erin")
RUNS = 40
"""Of each user."""
HOSTS, SLOTS = 2, 2
ENDED = ("COMPLETED", "FAILED", "CANCELLED")


class Turns:
    """Who waited at each claim, and whose run was started: while two wait, neither may get ahead by more than one."""

    def __init__(self) -> None:
        self.started: dict[tuple[int, int], list[int]] = {}
        self.contested = 0
        self.unfair: list[str] = []

    def note(self, waiting: set[int], started: Counter[int]) -> None:
        pairs = {pair: self.started.get(pair, [0, 0]) for pair in combinations(sorted(waiting), 2)}
        self.started = pairs
        self.contested += bool(pairs) and bool(started)
        for (one, other), counts in pairs.items():
            counts[0] += started[one]
            counts[1] += started[other]
            if abs(counts[0] - counts[1]) > 1:
                self.unfair.append(f"users {one} and {other} both waited, and {counts} of their runs were started")


def noting(turns: Turns) -> type[MemoryUnit]:
    class Noting(MemoryUnit):
        __slots__ = ()

        def queue(self, target: str, *, limit: int, **options: Any) -> Any:
            everybody = super().queue(target, limit=10_000, **options)
            turns.note({row.user_id for row in everybody}, Counter(row.user_id for row in everybody[:limit]))
            return everybody[:limit]

    return Noting


class Story:
    """What hosts were given: by attempt of a row the host's life, and which lives were ended."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], tuple[str, int]] = {}
        self.killed: dict[tuple[str, int], float] = {}
        self.wrong: list[str] = []

    def give(self, job: dict[str, Any], life: tuple[str, int]) -> None:
        row, attempt = job["subtask_id"], job["attempt"]
        if (row, attempt) in self.held:
            self.wrong.append(f"attempt {attempt} of {row} was given to {self.held[row, attempt]} and {life}")
        self.held[row, attempt] = life
        before = self.held.get((row, attempt - 1))
        lost = bool(self.killed) if before is None else before in self.killed  # None: killed before the job arrived
        if attempt > 1 and not lost:
            self.wrong.append(f"attempt {attempt} of {row} began although {before or 'everybody'} lives")


async def host(app: Site, rng: random.Random, story: Story, name: str) -> None:
    """A host that is killed now and then, all of its slots at once, and started again under its name."""
    life = 0
    while True:
        with trio.move_on_after(rng.uniform(20, 60)):
            async with trio.open_nursery() as nursery:
                for _ in range(SLOTS):
                    nursery.start_soon(slot, app, rng, story, (name, life))
        story.killed[name, life] = trio.current_time()
        life += 1
        await trio.sleep(rng.uniform(0, 5))


async def slot(app: Site, rng: random.Random, story: Story, life: tuple[str, int]) -> None:
    while True:
        answer = await app.fetch(executor=life[0], wait_s=5)
        for job in answer.json["tasks"]:
            story.give(job, life)
            await work(app, rng, job)


async def work(app: Site, rng: random.Random, job: dict[str, Any]) -> None:
    for place, letter in enumerate("abc"):
        await trio.sleep(rng.uniform(0, 2))
        answer = await app.report(job, events=[chunk(letter, place)])
        assert answer.status == 200, answer.json
    answer = await app.report(job, status="COMPLETED", events=[{"type": "done"}])
    assert answer.status == 200, answer.json


async def send(app: Site, rng: random.Random, name: str, ids: list[int]) -> None:
    client = await app.client(name)
    for _ in range(RUNS):
        asked = {"team_id": app.team_id, "message": "hi", "on_lost": "rerun"}
        ids.append((await client.emit("chat:send", asked))["assistant_subtask_id"])
        await trio.sleep(rng.choice([0, 0, 0, 1, 30]))


async def tell(app: Site, rng: random.Random, story: Story, turns: Turns) -> None:
    app.token, _ = await app.new_token(TARGET)
    ids: list[int] = []
    async with trio.open_nursery() as hosts:
        async with trio.open_nursery() as senders:
            for name in USERS:
                senders.start_soon(send, app, rng, name, ids)
            for number in range(HOSTS):
                hosts.start_soon(host, app, rng, story, f"host-{number}")
        while any(app.row(row).status not in ENDED for row in ids):  # noqa: ASYNC110
            await trio.sleep(1)
        hosts.cancel_scope.cancel()
    rows = [app.row(row) for row in ids]
    assert len(rows) == RUNS * len(USERS)
    assert (story.wrong, turns.unfair) == ([], [])
    assert {row.content for row in rows if row.status == "COMPLETED"} == {"abc"}
    assert {(row.error_type, row.lost_attempts) for row in rows if row.status == "FAILED"} <= {("executor_lost", 3)}
    assert any(row.attempt > 1 for row in rows), "nobody was killed in the middle of a run"
    assert turns.contested > RUNS, "hardly anybody had to wait"
    assert app.peek(lambda unit: unit.holders()) == set()


@pytest.mark.parametrize("seed", range(3))
def test_turns_are_fair_and_each_row_ends_once_while_hosts_are_killed(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, turns, story = random.Random(seed), Turns(), Story()
    monkeypatch.setattr(memory, "MemoryUnit", noting(turns))
    monkeypatch.setattr(harness, "USERS", USERS)

    async def main() -> None:
        async with harness.serving(Site(lapses=Lapses(host=6))) as app:
            assert isinstance(app, Site)
            await tell(app, rng, story, turns)

    logging.disable(logging.CRITICAL)
    try:
        seed_trio(seed)
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        logging.disable(logging.NOTSET)

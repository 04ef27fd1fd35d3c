"""Work that is not to be cancelled is asked to end, step by step."""

from __future__ import annotations

import pytest
import trio

from wegent.executors.stopping import Step, stoppable
from wegent.testing.checkpoints import at_every_checkpoint


class Work:
    """Ends by itself, or when as many steps were taken as it takes to stop it."""

    def __init__(self, *, seconds=1e9, stubborn=0, last_words=0.0):
        self.seconds = seconds
        self.stubborn = stubborn
        self.last_words = last_words
        self.taken = []
        self.stopped = trio.Event()
        self.cancelled = False
        self.at_work = 0

    async def do(self):
        self.at_work += 1
        try:
            with trio.move_on_after(self.seconds):
                await self.stopped.wait()
            await trio.sleep(self.last_words)
        except trio.Cancelled:
            self.cancelled = True
            raise
        finally:
            self.at_work -= 1
        return "result"

    def step(self, name, seconds=5):
        async def act():
            await trio.lowlevel.checkpoint()
            self.taken.append(name)
            if len(self.taken) > self.stubborn:
                self.stopped.set()

        return Step(act, seconds)

    async def run(self):
        return await stoppable(self.do, [self.step("ask"), self.step("tell"), self.step("kill", 1)])


async def test_work_that_ends_by_itself_is_not_stopped(autojump_clock):
    work = Work(seconds=3)
    assert await work.run() == "result"
    assert work.taken == []


async def test_what_work_raises_is_raised(autojump_clock):
    async def fail():
        await trio.sleep(1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await stoppable(fail, [])


@pytest.mark.parametrize(
    ("stubborn", "taken", "seconds"), [(0, ["ask"], 0), (1, ["ask", "tell"], 5), (2, ["ask", "tell", "kill"], 10)]
)
async def test_a_cancel_takes_as_many_steps_as_are_needed(autojump_clock, stubborn, taken, seconds):
    work = Work(stubborn=stubborn)
    with trio.move_on_after(7) as scope:
        await work.run()
    assert scope.cancelled_caught
    assert work.taken == taken
    assert not work.cancelled
    assert trio.current_time() == pytest.approx(7 + seconds)


async def test_work_that_no_step_ends_is_cancelled(autojump_clock):
    work = Work(stubborn=99)
    with trio.move_on_after(7) as scope:
        await work.run()
    assert scope.cancelled_caught
    assert work.cancelled
    assert trio.current_time() == pytest.approx(7 + 11)


async def test_work_that_does_not_see_the_end_is_cancelled_soon_after_it(autojump_clock):
    async def gone():
        await trio.sleep(2)

    work = Work(stubborn=99)
    with trio.move_on_after(7) as scope:
        await stoppable(work.do, [work.step("ask"), work.step("kill")], gone)
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(7 + 2.5)


async def test_wherever_it_is_cancelled_no_work_is_left(autojump_clock):
    async def attempt(cut):
        work = Work(seconds=3, last_words=1)
        with trio.CancelScope() as scope, cut.at(scope.cancel):
            await work.run()
        assert work.at_work == 0

    assert await at_every_checkpoint(attempt) >= 3

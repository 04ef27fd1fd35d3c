"""Deadlines: in order, once, cancellable, harmless to each other."""

import logging

import pytest
import trio

from wegent.core.timers import Timers


@pytest.fixture
async def timers(nursery):
    made = Timers()
    nursery.start_soon(made.run)
    return made


async def test_callbacks_come_at_their_deadlines_in_order(timers, autojump_clock):
    fired = []
    start = trio.current_time()
    for seconds in (3, 1, 2):
        timers.after(seconds, lambda s=seconds: fired.append((s, trio.current_time() - start)))
    await trio.sleep(10)
    assert [each for each, _ in fired] == [1, 2, 3]
    assert all(at == pytest.approx(each) for each, at in fired)


async def test_a_cancelled_one_never_fires(timers, autojump_clock):
    fired = []
    timer = timers.after(1, lambda: fired.append(1))
    timer.cancel()
    timer.cancel()
    await trio.sleep(2)
    assert not fired


async def test_one_that_raises_harms_no_other(timers, autojump_clock, caplog):
    fired = []
    timers.after(1, lambda: 1 / 0)
    timers.after(1, lambda: fired.append(1))
    with caplog.at_level(logging.CRITICAL):
        await trio.sleep(2)
    assert fired == [1]


async def test_a_callback_may_set_and_cancel_others(timers, autojump_clock):
    fired = []
    late = [timers.after(2, lambda: fired.append("late")) for _ in range(200)]
    kept = timers.after(2, lambda: fired.append("kept"))

    def change():
        for timer in late:
            timer.cancel()
        timers.after(0, lambda: fired.append("new"))

    timers.after(1, change)
    timers.after(1, lambda: fired.append("same"))
    await trio.sleep(5)
    assert sorted(fired) == ["kept", "new", "same"]
    assert kept.callback is None
    assert timers._cancelled == 0
    assert not timers._heap


async def test_many_cancelled_ones_take_no_room(timers, autojump_clock):
    for _ in range(10_000):
        timers.after(1_000, lambda: None).cancel()
    assert len(timers._heap) < 200

"""What the loop's share of work says about how long text may wait."""

from time import perf_counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from wegent.core import load as module
from wegent.core.load import FULL, LONGEST, LOOK, SPARE, Load


class Watch:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def watch(monkeypatch):
    watch = Watch()
    monkeypatch.setattr(module, "perf_counter", watch)
    return watch


def turn(load, watch, *, works, waits):
    """One turn of the loop."""
    watch.now += works
    load.before_io_wait(waits)
    watch.now += waits
    load.after_io_wait(waits)


def test_nothing_waits_while_there_is_time_to_spare(watch):
    load = Load()
    for _ in range(1_000):
        turn(load, watch, works=0.000_4, waits=0.000_6)
        assert load.rest == 0
    assert load.busy == pytest.approx(0.4, abs=0.05)


def test_a_loop_without_rest_makes_text_wait_the_longest_and_no_longer_once_the_load_has_gone(watch):
    load = Load()
    for _ in range(1_000):
        turn(load, watch, works=0.001, waits=0)
    assert load.rest == LONGEST
    for _ in range(200):
        turn(load, watch, works=0, waits=0.001)
    assert load.rest == 0


def test_one_long_pause_is_enough_to_forget_a_load(watch):
    load = Load()
    for _ in range(1_000):
        turn(load, watch, works=0.001, waits=0)
    turn(load, watch, works=0, waits=1.0)
    assert load.rest == 0


def test_a_moment_of_work_is_no_load(watch):
    load = Load()
    turn(load, watch, works=0, waits=1.0)
    turn(load, watch, works=0.05, waits=0.001)
    assert load.rest == 0


@given(st.lists(st.tuples(st.floats(LOOK, 10), st.floats(0, 20)), max_size=50))
def test_whatever_is_observed_the_wait_stays_in_its_bounds_and_follows_the_share(observed):
    load = Load()
    for passed, idle in observed:
        load.observe(passed, idle)
        assert 0 <= load.busy <= 1
        assert 0 <= load.rest <= LONGEST
        assert (load.rest == 0) == (load.busy <= SPARE)
        assert load.rest < LONGEST or load.busy >= FULL - 1e-9


async def test_the_loop_of_the_block_is_measured():
    load = Load()
    with load.measured():
        while load.busy < FULL:
            await trio.lowlevel.checkpoint()
        assert load.rest == LONGEST
        await trio.sleep(0.2)
        assert load.rest == 0
    await trio.sleep(0.05)
    assert load._since < perf_counter() - 0.04, "nothing is measured outside of it"

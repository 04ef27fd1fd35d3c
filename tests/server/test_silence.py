"""Who counts as silent, at which looks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wegent.core.config import build
from wegent.core.errors import ConfigError
from wegent.server.owners import Lapses, device_owner, host_owner
from wegent.server.plugin import ChatConfig
from wegent.server.silence import LATE, Silences

HOST, DEVICE, WORKER = host_owner("h", 1, 1), device_owner(1, "d"), "w"


def looks(silences, times, beats, *, took=0.0):
    """Looks that find the same, each of so many seconds; when something was lost first, and what."""
    for at in times:
        if lost := silences.look(at, at + took, beats):
            return at, lost
    return None


def test_an_owner_is_lost_once_its_beat_was_the_same_over_its_lapse():
    silences = Silences(Lapses(host=15))
    assert looks(silences, range(100), {HOST: 7}) == (15, [(HOST, 7)])


def test_only_time_between_two_looks_counts_not_that_within_one():
    """Nobody knows at which moment of a look the beat was read."""
    assert looks(Silences(Lapses(host=15)), range(100), {HOST: 7}, took=0.5) == (16, [(HOST, 7)])


def test_an_owner_that_never_beat_has_a_clock_too():
    assert looks(Silences(), range(100), {HOST: None}) == (15, [(HOST, None)])


def test_each_kind_of_owner_has_its_lapse():
    lapses = Lapses(worker=10, host=20, device=30)
    for owner, lapse in ((WORKER, 10), (HOST, 20), (DEVICE, 30)):
        assert looks(Silences(lapses), range(100), {owner: 1}) == (lapse, [(owner, 1)])


@pytest.mark.parametrize("then", [8, 6, None])
def test_any_other_beat_starts_the_clock_anew(then):
    silences = Silences()
    assert looks(silences, range(15), {HOST: 7, DEVICE: 1}) is None
    assert looks(silences, range(15, 100), {HOST: then, DEVICE: 1}) == (30, [(HOST, then)])


def test_who_was_gone_for_one_look_begins_anew():
    silences = Silences()
    looks(silences, range(14), {HOST: 7})
    looks(silences, [14], {})
    assert looks(silences, range(15, 100), {HOST: 7}) == (30, [(HOST, 7)])


def test_a_look_that_failed_starts_all_clocks_anew():
    silences = Silences()
    looks(silences, range(14), {HOST: 7})
    silences.restart()
    assert looks(silences, range(14, 100), {HOST: 7}) == (29, [(HOST, 7)])


def test_a_look_that_comes_late_starts_all_clocks_anew():
    """A server that was stopped has not seen the beats of those who could not reach it."""
    silences = Silences()
    looks(silences, range(14), {HOST: 7})
    assert looks(silences, range(60, 100), {HOST: 7}) == (75, [(HOST, 7)])


def test_a_look_that_takes_long_starts_all_clocks_anew():
    silences = Silences()
    looks(silences, range(14), {HOST: 7})
    assert silences.look(14, 14.1 + LATE, {HOST: 7}) == []
    assert looks(silences, range(18, 100), {HOST: 7}) == (33, [(HOST, 7)])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.5, 1.0, 1.0, 1.0, 2.5, 4.0]),
            st.sampled_from([0.0, 0.0, 0.2, 3.5]),
            st.sampled_from(["look", "look", "look", "look", "beat", "fail"]),
        ),
        max_size=80,
    )
)
def test_nobody_is_lost_who_was_not_seen_silent_all_the_while(steps):
    lapse = 6.0
    silences, beat, now = Silences(Lapses(host=lapse)), 0, 0.0
    seen: list[tuple[float, float, int]] = []
    for pause, took, what in steps:
        now += pause
        if what == "beat":
            beat += 1
        elif what == "fail":
            silences.restart()
            seen = []
        else:
            lost = silences.look(now, now + took, {HOST: beat})
            if took > LATE or (seen and now - seen[-1][1] > LATE):
                seen = []
            seen.append((now, now + took, beat))
            same = [each for each in seen if each[2] == beat]
            assert bool(lost) == (now - same[0][1] >= lapse)
            now += took


@pytest.mark.parametrize(("kind", "least"), [("worker", 5), ("host", 2.5), ("device", 5)])
def test_a_lapse_shorter_than_the_time_between_beats_is_refused(kind, least):
    with pytest.raises(ConfigError, match=f"{kind} takes more than {least:g} s"):
        build(ChatConfig, {"lapses": {kind: least}}, "chat")
    assert getattr(build(ChatConfig, {"lapses": {kind: least + 1}}, "chat").lapses, kind) == least + 1

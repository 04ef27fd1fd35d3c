"""Cron times where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wegent.server.schedule import next_time

BERLIN = "Europe/Berlin"


def times(cron: str, zone: str | None, after: str, count: int) -> list[str]:
    """The next so many times, in UTC."""
    moment, found = datetime.fromisoformat(after).replace(tzinfo=UTC), []
    for _ in range(count):
        moment = next_time(cron, zone, moment)
        found.append(moment.strftime("%m-%d %H:%M"))
    return found


def test_a_time_of_day_is_that_of_the_zone_in_winter_and_in_summer():
    assert times("30 7 * * *", BERLIN, "2026-03-28T00:00", 3) == ["03-28 06:30", "03-29 05:30", "03-30 05:30"]


def test_a_time_that_the_clocks_skip_is_made_up_for_after_the_gap():
    # On 2026-03-29 there is no time from 02:00 to 03:00 (01:00 UTC).
    assert times("30 2 * * *", BERLIN, "2026-03-28T12:00", 2) == ["03-29 01:00", "03-30 00:30"]


def test_a_time_that_comes_twice_runs_once():
    # On 2026-10-25 the time from 02:00 to 03:00 comes at 00:00 and at 01:00 UTC.
    assert times("30 2 * * *", BERLIN, "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]


def test_each_hour_that_there_is_is_run():
    assert times("0 * * * *", BERLIN, "2026-10-24T23:30", 4) == [f"10-25 {hour:02}:00" for hour in range(4)]
    assert times("0 * * * *", BERLIN, "2026-03-29T00:30", 2) == ["03-29 01:00", "03-29 02:00"]


def test_without_a_zone_it_is_utc():
    assert times("0 12 * * *", None, "2026-01-01T00:00", 1) == ["01-01 12:00"]


@given(
    st.integers(1_580_000_000, 2_050_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 0 1 * *", "15 1-4 * * 0", "0 12 29 2 *", "0 */3 * * 1-5"]),
    st.sampled_from([None, BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago"]),
)
def test_the_next_time_is_always_later(after, cron, zone):
    found = next_time(cron, zone, after)
    assert found > after
    assert found.utcoffset() == timedelta(0)
    assert found.second == found.microsecond == 0


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Australia/Lord_Howe"])
def test_a_daily_job_runs_once_each_day_of_a_year(zone):
    moment, days = datetime(2026, 1, 1, 12, tzinfo=UTC), []
    for _ in range(365):
        moment = next_time("30 2 * * *", zone, moment)
        days.append(moment.toordinal())
    assert len(set(days)) == 365

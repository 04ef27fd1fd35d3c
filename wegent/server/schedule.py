"""When something happens again: cron expressions in a time zone, as Debian's cron understands them.

A job at a fixed time of day that the clocks skip runs at the first moment after the gap, one whose time comes twice
runs the first time. A job with `*` for minutes or hours goes by real time: each hour that there is, once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from wegent.core.errors import InvalidPayload

FIELDS = 5
YEARS = range(2000, 9000)


def next_time(cron: str, timezone: str | None, after: datetime) -> datetime | None:
    """The first moment later than `after` that the expression names, in UTC; None if there is none.

    Raises:
        InvalidPayload: no cron expression, or no time zone.
    """
    zone = zone_of(timezone)
    if len(cron.split()) != FIELDS or not cron.isascii():
        raise InvalidPayload("`cron`: expected five fields (minute hour day month weekday), such as `30 7 * * 1-5`")
    try:
        for found in CronSim(cron, after.astimezone(zone)):
            # Where the clocks are set back, wall time may lead to a moment that has been.
            if (moment := found.astimezone(UTC)) > after:
                return moment
    except CronSimError as error:
        raise InvalidPayload(f"`cron`: {str(error).lower()}; such as `30 7 * * 1-5`") from error
    return None


def zone_of(name: str | None) -> ZoneInfo:
    """The zone of that name, UTC where None.

    Raises:
        InvalidPayload: there is none.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidPayload("`timezone`: expected a name of the IANA database, such as `Europe/Berlin`") from error


def in_utc(moment: datetime) -> datetime:
    """An aware time that was asked for, in UTC.

    Raises:
        InvalidPayload: nobody will be there.
    """
    if moment.year not in YEARS:
        raise InvalidPayload(f"`run_at`: expected a time from {YEARS.start} to {YEARS.stop - 1}")
    return moment.astimezone(UTC)

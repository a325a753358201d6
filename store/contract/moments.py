"""Points in time as a person writes them: ISO 8601, in UTC where no zone is named."""

from __future__ import annotations

import datetime
import re

_TIME_OF_DAY = re.compile(r"[T ]\d\d(?P<minute>:?\d\d(?P<second>:?\d\d(?P<part>[.,]\d+)?)?)?(Z|[+-][\d:]+)?", re.I)


def moment_of(text: str) -> datetime.datetime | None:
    """The instant that a text names, or None where it names none.

    A day, a minute or a second that is written without its parts means its end, so that what was done in it counts.

    >>> moment_of("2026-11-26T12:00:05").isoformat(), moment_of("2026-11-26T12:00:05.5").isoformat()
    ('2026-11-26T12:00:05.999999+00:00', '2026-11-26T12:00:05.500000+00:00')
    >>> moment_of("2026-11-26T12:00").isoformat(), moment_of("2026-11-26").isoformat(), moment_of("a-tag")
    ('2026-11-26T12:00:59.999999+00:00', '2026-11-26T23:59:59.999999+00:00', None)
    """
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        pass
    else:
        return datetime.datetime.combine(day, datetime.time.max, datetime.UTC)
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = _end_of_what_is_written(moment, text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _end_of_what_is_written(moment: datetime.datetime, text: str) -> datetime.datetime:
    """The last microsecond of the hour, minute or second that a text stops at."""
    written = _TIME_OF_DAY.search(text)
    if written is None or written["part"]:
        return moment
    if written["second"]:
        return moment.replace(microsecond=999_999)
    if written["minute"]:
        return moment.replace(second=59, microsecond=999_999)
    return moment.replace(minute=59, second=59, microsecond=999_999)

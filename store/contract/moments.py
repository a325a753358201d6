"""Points in time as a person writes them: ISO 8601, in UTC where no zone is named."""

from __future__ import annotations

import datetime


def moment_of(text: str) -> datetime.datetime | None:
    """The instant that a text names, or None where it names none.

    A date alone means the end of that day, so that what was done on it counts.

    >>> moment_of("2026-11-26T12:00").isoformat(), moment_of("2026-11-26").isoformat(), moment_of("a-tag")
    ('2026-11-26T12:00:00+00:00', '2026-11-26T23:59:59.999999+00:00', None)
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
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
